"""Documents and their drafts: one is brought, its passages are confirmed or rejected one by one, a file is made.

Owns the section's events and how drafts are drawn. Reads no document: the gateway has it read.
"""

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from service.contract.assistants import Assistant
from service.contract.documents import LONGEST, Document, Draft, DraftChange, DraftFile, DraftStatus
from service.contract.users import User
from ui.acts import Act
from ui.client import Refused
from ui.imports import ImportSection
from ui.pages import render
from ui.panel import panel, read
from ui.screens import MANY, Screen
from ui.words import Words

AT_ONCE = 5
"""Drafts on the screen: few enough to be read."""
LIST, COUNTED = 12, 100
"""Documents that are listed, and that are looked at."""
TYPES = [".md", ".markdown", ".txt", ".pdf", ".docx"]
STATUSES: tuple[DraftStatus, ...] = get_args(DraftStatus)
DECISIONS: dict[str, DraftStatus] = {
    "confirm": "confirmed", "reject": "rejected", "save": "waiting", "reopen": "waiting"
}  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """What lies open: which document, which of its drafts, behind which one."""

    document: str = ""
    status: DraftStatus = "waiting"
    after: str = ""


class DocumentSection:
    """A part of a screen, in the screen's language."""

    def __init__(self, screen: Screen, imports: ImportSection) -> None:
        self.screen, self.w, self.gateway = screen, screen.w, screen.gateway
        self._imports = imports

    def build(self) -> None:
        w = self.w
        with gr.Column(elem_classes="box", elem_id="document-file"):
            gr.HTML(
                f"<h2>{w('document_title')}</h2><p class='soft'>{w('document_text')}</p>",
                apply_default_css=False,
            )
            self._upload = gr.UploadButton(
                w("document_bring"), file_types=TYPES, file_count="single", elem_id="document-upload"
            )
        self._desk, self._filed = gr.State(Desk()), gr.Textbox(visible=False)
        self._shown = panel("documents")

    def wire(self, page: gr.Blocks) -> None:
        """The section's events. The file of what was confirmed is followed in the section of imports."""
        page.load(self.look, self._desk, self._shown, **MANY)
        self._upload.upload(self.bring, self._upload, [self._desk, self._shown, self._upload], **MANY)
        out = [self._desk, self._shown, self._filed]
        self._shown.click(self.act, self._desk, out, trigger_mode="multiple", **MANY)
        self._imports.follow(self._filed)

    async def look(self, request: gr.Request, desk: Desk) -> Any:
        try:
            token, user = await self.screen.person(request)
            return await self._drawn(token, user, desk)
        except Refused:
            return gr.skip()

    async def bring(self, request: gr.Request, path: str | None) -> tuple[Any, Any, Any]:
        with self.screen.spoken():
            token, user = await self.screen.person(request)
            if path is None:
                return gr.skip(), gr.skip(), gr.skip()
            try:
                brought = await self.gateway.bring_document(token, Path(path))
            finally:
                Path(path).unlink(missing_ok=True)
            desk = Desk(brought.id)
            return desk, await self._drawn(token, user, desk, focus=brought.id), gr.UploadButton(value=None)

    async def act(self, event: gr.EventData, request: gr.Request, desk: Desk) -> tuple[Any, Any, Any]:
        """What was pressed: a decision on a draft, a wish for a question, another page, the making of the file."""
        act = read(event)
        with self.screen.spoken():
            token, user = await self.screen.person(request)
            filed = gr.skip()
            if act.act in DECISIONS:
                await self.gateway.decide_draft(token, desk.document, act.id, change_of(act))
            elif act.act == "propose":
                await self.gateway.decide_draft(token, desk.document, act.id, change_of(act))
                await self.gateway.propose_question(token, desk.document, act.id, act.text("model"))
            elif act.act == "file":
                filed = await self._file(token, act, desk)
            elif act.act == "delete":
                await self.gateway.delete_document(token, act.id)
            desk = moved(desk, act)
            place = int(act.value) if act.act in (*DECISIONS, "propose") and act.value.isdecimal() else 0
            drawn = await self._drawn(token, user, desk, place=place, focus=act.once)
            return desk, drawn, filed

    async def _file(self, token: str, act: Act, desk: Desk) -> str:
        everyone = {one.name: one for one in await self.gateway.assistants(token)}
        made = await self.gateway.file_drafts(token, file_of(act, desk, everyone))
        gr.Success(
            escape(self.w("document_filed", name=made.filename)), duration=8, title=self.w("done_title")
        )
        return made.id

    async def _drawn(self, token: str, user: User, desk: Desk, *, place: int = 0, focus: str = "") -> str:
        listed = await self.gateway.documents(token, COUNTED)
        here = next((one for one in listed if one.id == desk.document), None)
        if here is None and desk.document:
            here = await self.gateway.document(token, desk.document)
        drafts, more = (
            await self.gateway.drafts(token, desk.document, desk.status, desk.after, AT_ONCE)
            if here
            else ([], False)
        )
        everyone = await self.gateway.assistants(token)
        return draw(
            self.w, user, desk, here, listed, drafts, more=more, assistants=everyone,
            focus=(min(place, len(drafts) - 1), focus),
        )  # fmt: skip


def draw(
    w: Words, user: User, desk: Desk, here: Document | None, listed: list[Document], drafts: list[Draft], *,
    more: bool, assistants: list[Assistant], focus: tuple[int, str],
) -> str:  # fmt: skip
    """The open document with some of its drafts, and the others. `focus`: which draft gets it, and for which press."""
    return render(
        "documents", w, desk=desk, one=here, earlier=[other for other in listed if other.id != desk.document][:LIST],
        drafts=drafts, more=more, assistants=assistants, statuses=STATUSES, place=focus[0], once=focus[1],
        longest=LONGEST, elsewhere=sum(other.confirmed for other in listed if other.id != desk.document),
        counts={} if here is None else {
            "waiting": here.drafts - here.confirmed - here.rejected, "confirmed": here.confirmed,
            "rejected": here.rejected,
        },
        may_delete=here is not None and (user.role == "administrator" or user.name == here.created_by),
    )  # fmt: skip


def moved(desk: Desk, act: Act) -> Desk:
    """What lies open after a press."""
    if act.act == "open":
        return Desk(act.id)
    if act.act == "delete":
        return Desk()
    if act.act == "show" and act.value in STATUSES:
        return Desk(desk.document, act.value)
    if act.act in ("later", "first"):
        return replace(desk, after=act.id)
    return desk


def change_of(act: Act) -> DraftChange:
    """A decision with the words that stood on the screen."""
    return DraftChange(
        status=DECISIONS.get(act.act, "waiting"), question=act.text("question")[:LONGEST],
        answer=act.text("answer")[:LONGEST],
    )  # fmt: skip


def file_of(act: Act, desk: Desk, assistants: dict[str, Assistant]) -> DraftFile:
    """What the form of the file says; what is not known in it is left out."""
    assistant = assistants.get(act.text("assistant"))
    instructions = assistant.instructions if assistant is not None and "instructions" in act.fields else None
    return DraftFile(
        documents=None if "all" in act.fields else [desk.document],
        assistant=assistant.name if assistant is not None else None, instructions=instructions or None,
        licence=act.text("licence")[:200] or None,
    )  # fmt: skip
