"""Bringing an adapter that PEFT trained elsewhere: the file, whose it becomes, its proof, and what came of it.

Owns the section's events and how a refusal of an adapter is said. Reads no file: the gateway has it looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError

from service.contract.adapters import AdapterCreate
from service.contract.assistants import Assistant
from service.contract.jobs import ENDED, Job, JobEvent
from ui.acts import Act
from ui.client import Refused
from ui.events import said
from ui.failures import failure
from ui.pages import render
from ui.panel import panel, read
from ui.screens import MANY, Screen
from ui.sessions import may
from ui.words import Words, refusal

LIST = 8
"""Those sent earlier that are listed."""
LOOK_EVERY = 1.0
"""Seconds between two looks at one that is being proved."""
MOST_QUESTIONS = 12


@dataclass(frozen=True)
class Brought:
    """How far the bringing is."""

    file: str = ""
    """Id of the ZIP that was uploaded, and its name."""
    name: str = ""
    assistant: str = ""
    job: str = ""
    """What proves it."""
    adapter: str = ""
    """Its digest, once it came in."""
    problem: tuple[str, str] = ("", "")
    """Why it was refused, and how the service said it where that is something else."""
    once: str = ""
    """New for each press, so that what came of it gets the focus once."""


@dataclass(frozen=True)
class Sent:
    """One that was sent to be proved, now or earlier."""

    job: Job
    name: str
    """The ZIP's."""

    def again(self, assistant: str, once: str = "") -> Brought:
        return Brought(
            file=self.job.training_file, name=self.name, assistant=assistant, job=self.job.id, once=once
        )


class AdapterSection:
    """A part of a screen, in the screen's language, for administrators."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.w, self.gateway = screen, screen.w, screen.gateway

    def build(self) -> None:
        """The section's components."""
        w = self.w
        with gr.Column(elem_classes="box", elem_id="bring-file", visible=False) as self._box:
            gr.HTML(
                f"<h2>{w('bring_title')}</h2><p class='soft'>{w('bring_text')}</p>", apply_default_css=False
            )
            self._upload = gr.UploadButton(
                w("bring_choose"), file_types=[".zip"], file_count="single", elem_id="bring-upload"
            )
        self._brought, self._shown = gr.State(Brought()), panel("brought")
        self._clock = gr.Timer(LOOK_EVERY, active=False)

    def wire(self, page: gr.Blocks, assistant: gr.Dropdown) -> Any:
        """The section's events. Returns that of a press, after which the lists beside it have news."""
        drawn = [self._brought, self._shown, self._clock]
        known = [self._brought, assistant]
        page.load(self.load, None, self._box, **MANY)
        assistant.change(self.find, known, drawn, **MANY)
        self._upload.upload(self.upload, [self._upload, assistant], [*drawn, self._upload], **MANY)
        self._clock.tick(self.look, known, drawn, **MANY)
        return self._shown.click(self.act, known, drawn, trigger_mode="multiple", **MANY)

    async def load(self, request: gr.Request) -> gr.Column:
        with self.screen.spoken():
            _, user = await self.screen.person(request)
            return gr.Column(visible=may(user, "administrator"))

    async def find(self, request: gr.Request, brought: Brought, assistant: str | None) -> tuple[Any, ...]:
        """What was sent before, also before a reload: what is still being proved is opened."""
        with self.screen.spoken():
            token, user = await self.screen.person(request)
            if not may(user, "administrator"):
                return (gr.skip(),) * 3
            sent = await self._sent(token, assistant)
            under_way = next((one for one in sent if one.job.status not in ENDED), None)
            if not brought.name and under_way is not None:
                brought = under_way.again(assistant or "")
            return await self._drawn(token, brought, sent)

    async def upload(self, request: gr.Request, path: str | None, assistant: str | None) -> tuple[Any, ...]:
        """Hand the ZIP on. What is no adapter is refused at once."""
        with self.screen.spoken():
            token, _ = await self.screen.person(request)
            if path is None:
                return (gr.skip(),) * 4
            name = Path(path).name
            try:
                file = await self.gateway.upload_adapter(token, Path(path))
                brought = Brought(file=file.id, name=name, assistant=assistant or "", once=file.id)
            except Refused as refused:
                brought = Brought(name=name, problem=why(self.w, refused), once=name)
            finally:
                Path(path).unlink(missing_ok=True)
            drawn = await self._drawn(token, brought, await self._sent(token, assistant))
            return *drawn, gr.UploadButton(value=None)

    async def act(
        self, event: gr.EventData, request: gr.Request, brought: Brought, assistant: str | None
    ) -> tuple[Any, ...]:
        """Have it checked and proved, put it away, or open one that was sent earlier."""
        act = read(event)
        with self.screen.spoken():
            token, _ = await self.screen.person(request)
            if act.act == "bring":
                brought = await self._bring(token, brought, act)
            sent = await self._sent(token, assistant)
            if act.act == "open":
                chosen = (one.again(assistant or "", act.once) for one in sent if one.job.id == act.id)
                brought = next(chosen, brought)
            return await self._drawn(token, Brought() if act.act == "close" else brought, sent)

    async def look(self, request: gr.Request, brought: Brought, assistant: str | None) -> tuple[Any, ...]:
        """How far the proof is. A passing failure of the timer leaves the section as it is."""
        try:
            token, _ = await self.screen.person(request)
            return await self._drawn(token, replace(brought, once=""), await self._sent(token, assistant))
        except Refused:
            return gr.skip(), gr.skip(), gr.skip()

    async def _bring(self, token: str, brought: Brought, act: Act) -> Brought:
        brought = replace(brought, once=act.once, assistant=act.text("assistant"), problem=("", ""))
        try:
            made = await self.gateway.bring_adapter(token, wanted(brought.file, act))
        except Refused as refused:
            return replace(brought, problem=why(self.w, refused))
        return replace(brought, adapter=made.adapter, job=made.job.id if made.job else "")

    async def _sent(self, token: str, assistant: str | None) -> list[Sent]:
        """Newest first."""
        jobs = await self.gateway.jobs(token, assistant) if assistant else []
        jobs = [one for one in jobs if one.method is not None and one.method["type"] == "import"]
        files = await self.gateway.files(token, "adapter") if jobs else []
        names = {one.id: one.filename for one in files}
        return [Sent(one, names.get(one.training_file, one.id)) for one in jobs[:LIST]]

    async def _drawn(self, token: str, brought: Brought, sent: list[Sent]) -> tuple[Any, ...]:
        everyone = await self.gateway.assistants(token)
        job = await self.gateway.job(token, brought.job) if brought.job else None
        events = await self.gateway.job_events(token, brought.job, limit=9) if brought.job else []
        number = await self._release(token, brought, job)
        earlier = [one for one in sent if one.job.id != brought.job]
        page = draw(self.w, brought, everyone, job, events, number, earlier)
        return brought, page, gr.Timer(active=job is not None and job.status not in ENDED)

    async def _release(self, token: str, brought: Brought, job: Job | None) -> int | None:
        """The number of its release, where it has one already."""
        came_in = job.status == "succeeded" if job else brought.adapter
        if not came_in:
            return None
        found = await self.gateway.releases(token, brought.assistant)
        ours = (one.number for one in found if (one.job == job.id if job else one.adapter == brought.adapter))
        return next(ours, None)


def wanted(file: str, act: Act) -> AdapterCreate:
    """What the form asks for. Raises `Refused` for what cannot be."""
    questions = [line.strip() for line in act.text("questions").splitlines() if line.strip()]
    if not act.text("assistant"):
        raise Refused(400, "no_assistant", "Choose the assistant first.")
    try:
        return AdapterCreate(
            file=file, assistant=act.text("assistant"), suffix=None, prompts=questions,
            same_base_model="same" in act.fields,
        )  # fmt: skip
    except ValidationError:
        raise Refused(400, "too_many_questions", f"At most {MOST_QUESTIONS} questions.") from None


def why(w: Words, refused: Refused) -> tuple[str, str]:
    """Why an adapter is refused, in the reader's language, and the service's own words where they tell more."""
    name = f"bring_refused_{refused.code}"
    if w.has(name):
        return w(name, most=MOST_QUESTIONS), refused.message
    return refusal(w, refused), ""


def draw(
    w: Words, brought: Brought, assistants: list[Assistant], job: Job | None, events: Sequence[JobEvent],
    release: int | None, earlier: Sequence[Sent] = (),
) -> str:  # fmt: skip
    """What was brought, as HTML: a form, how far its proof is, or what came of it; and what was brought earlier."""
    newest = next((one for one in events if one.type == "message"), None)
    title = next((one.title for one in assistants if one.name == brought.assistant), brought.assistant)
    return render(
        "adapters", w, brought=brought, assistants=assistants, job=job, release=release, title=title,
        news=said(w, newest) if newest else None, why=failure(w, job.error) if job and job.error else None,
        most=MOST_QUESTIONS, earlier=earlier,
    )  # fmt: skip
