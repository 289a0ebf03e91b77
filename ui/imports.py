"""Bringing in training data from elsewhere: the file, what its first rows become, the columns, what came of it.

Owns the section's events and how an import is drawn. Reads no file: the gateway has it looked at.
"""

from pathlib import Path
from typing import Any, cast, get_args

import gradio as gr

from service.contract.assistants import Assistant
from service.contract.imports import BESIDE, Column, Format, Import, ImportPlan, Preview
from service.contract.splits import Wish
from ui import sheets
from ui.acts import Act
from ui.client import Refused
from ui.pages import render
from ui.panel import panel, read
from ui.screens import MANY, Screen
from ui.words import Words

FORMATS: tuple[Format, ...] = get_args(Format)
COLUMNS: tuple[Column, ...] = get_args(Column)
WISHES: tuple[Wish, ...] = get_args(Wish)
LIST = 8
"""Earlier imports that are listed."""
LOOK_EVERY = 1.0
"""Seconds between two looks at one that runs."""
TYPES = [".jsonl", ".json", ".csv", ".tsv", ".txt", ".xlsx"]


class ImportSection:
    """A part of a screen, in the screen's language."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.w, self.gateway = screen, screen.w, screen.gateway

    def build(self) -> gr.UploadButton:
        """The section's components. Returns the button for a file that is to stay as it is."""
        w = self.w
        with gr.Column(elem_classes="box", elem_id="import-file"):
            gr.HTML(
                f"<h2>{w('import_title')}</h2><p class='soft'>{w('import_text')}</p>", apply_default_css=False
            )
            with gr.Row(elem_id="import-buttons"):
                upload = gr.UploadButton(
                    w("import_bring"), file_types=TYPES, file_count="single", elem_id="import-upload"
                )
                as_it_is = gr.UploadButton(
                    w("upload"), file_types=[".jsonl"], file_count="single", elem_id="upload"
                )
        self._upload, self._here = upload, gr.Textbox(visible=False)
        self._shown, self._clock = panel("import"), gr.Timer(LOOK_EVERY, active=False)
        return as_it_is

    def wire(self, page: gr.Blocks, brought: gr.Textbox) -> None:
        """The section's events. The id of the file of what was read in goes to `brought` at once."""
        here = self._here
        self._drawn_on = drawn = [self._shown, self._clock, brought]
        page.load(self.look, here, drawn, **MANY)
        self._upload.upload(self.bring, self._upload, [here, self._shown, self._upload], **MANY)
        self._shown.click(self.act, here, [here, *drawn], trigger_mode="multiple", **MANY)
        self._clock.tick(self.look, here, drawn, **MANY)

    def follow(self, begun: gr.Textbox) -> None:
        """An import that was begun elsewhere on the screen is opened here; `begun` holds its id."""
        begun.change(self.open, begun, [self._here, *self._drawn_on], **MANY)

    async def open(self, request: gr.Request, import_id: str) -> tuple[Any, ...]:
        return import_id, *await self.look(request, import_id)

    async def bring(self, request: gr.Request, path: str | None) -> tuple[Any, Any, Any]:
        with self.screen.spoken():
            token, _ = await self.screen.person(request)
            if path is None:
                return gr.skip(), gr.skip(), gr.skip()
            try:
                brought = await self.gateway.bring(token, Path(path))
            finally:
                Path(path).unlink(missing_ok=True)
            drawn, *_ = await self._drawn(token, brought.id)
            return brought.id, drawn, gr.UploadButton(value=None)

    async def act(self, event: gr.EventData, request: gr.Request, here: str) -> tuple[Any, ...]:
        """What was pressed: another look, the start, the end, an earlier import."""
        act = read(event)
        with self.screen.spoken():
            token, _ = await self.screen.person(request)
            if act.act == "open":
                here = act.id
            elif act.act == "look":
                await self.gateway.preview_import(token, act.id, await self._plan(token, act))
            elif act.act == "start":
                await self.gateway.start_import(token, act.id, await self._plan(token, act))
            elif act.act == "cancel":
                await self.gateway.cancel_import(token, act.id)
            return here, *await self._drawn(token, here)

    async def look(self, request: gr.Request, here: str) -> tuple[Any, ...]:
        """How far it is. A passing failure of the timer leaves the section as it is."""
        try:
            token, _ = await self.screen.person(request)
            return await self._drawn(token, here)
        except Refused:
            return gr.skip(), gr.skip(), gr.skip()

    async def _drawn(self, token: str, here: str) -> tuple[Any, ...]:
        """The panel, the timer, and the file that came of it where there is one."""
        listed = await self.gateway.imports(token, LIST)
        one = await self.gateway.one_import(token, here) if here else None
        everyone = await self.gateway.assistants(token)
        drawn = draw(self.w, one, [other for other in listed if other.id != here], everyone)
        runs = one is not None and one.status == "running"
        return drawn, gr.Timer(active=runs), gr.skip() if one is None or one.file_id is None else one.file_id

    async def _plan(self, token: str, act: Act) -> ImportPlan:
        everyone = {one.name: one for one in await self.gateway.assistants(token)}
        return plan_of(act, everyone)


def draw(w: Words, one: Import | None, earlier: list[Import], assistants: list[Assistant]) -> str:
    """The open import and the earlier ones."""
    return render(
        "imports", w, one=one, earlier=earlier, assistants=assistants, formats=FORMATS, columns=COLUMNS,
        wishes=WISHES, sheet=sheets.drawn(w, one.report.sheet) if one is not None and one.report is not None else "",
        table=_table(one.preview) if one is not None and one.preview is not None else [],
    )  # fmt: skip


def plan_of(act: Act, assistants: dict[str, Assistant]) -> ImportPlan:
    """The plan that a form says; what is not known in it is left out."""
    form = act.text("format")
    chosen: Format | None = form if form in FORMATS else None
    mapping: dict[Column, str] = {}
    for column in COLUMNS if chosen == "columns" else BESIDE:
        if name := act.text(f"column_{column}"):
            mapping[column] = name
    assistant = assistants.get(act.text("assistant"))
    instructions = assistant.instructions if assistant is not None and "instructions" in act.fields else None
    return ImportPlan(
        format=chosen, mapping=mapping, sheet=act.text("sheet") or None,
        instructions=instructions or None,
        assistant=assistant.name if assistant is not None else None, source=act.text("source")[:500] or None,
        licence=act.text("licence")[:200] or None, near_duplicates="leave_out" if "near" in act.fields else "keep",
        bad_rows="refuse" if "strict" in act.fields else "leave_out",
        split_by=next((wish for wish in WISHES if wish == act.text("split_by")), None),
    )  # fmt: skip


def _table(preview: Preview) -> list[list[tuple[str, str]]]:
    """The first rows as cells: what each is called, and its text."""
    rows: list[list[tuple[str, str]]] = []
    for row in cast(list[dict[str, Any]], preview.rows):
        if "messages" in row:
            cells = [
                ("import_prompt", _said(row["messages"][:-1])),
                ("import_answer", _said(row["messages"][-1:])),
            ]
        elif "input" in row:
            cells = [
                ("import_prompt", _said(row["input"]["messages"])),
                ("import_chosen", _said(row["preferred_output"])),
                ("import_rejected", _said(row["non_preferred_output"])),
            ]
        else:
            cells = [("import_prompt", _said(row["prompt"])), ("import_answer", _said(row["completion"]))]
            cells.append(("import_label", "👍" if row["label"] else "👎"))
        rows.append(cells)
    return rows


def _said(messages: list[dict[str, Any]]) -> str:
    texts = [
        str(one.get("content") or "") for one in messages if one.get("role") not in ("system", "developer")
    ]
    text = " … ".join(texts)
    return text if len(text) <= 280 else f"{text[:280]}…"
