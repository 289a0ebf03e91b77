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
        page.load(self.load, None, self._box, **MANY)
        self._upload.upload(self.upload, [self._upload, assistant], [*drawn, self._upload], **MANY)
        self._clock.tick(self.look, self._brought, drawn, **MANY)
        return self._shown.click(self.act, self._brought, drawn, trigger_mode="multiple", **MANY)

    async def load(self, request: gr.Request) -> gr.Column:
        with self.screen.spoken():
            _, user = await self.screen.person(request)
            return gr.Column(visible=may(user, "administrator"))

    async def upload(self, request: gr.Request, path: str | None, assistant: str) -> tuple[Any, ...]:
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
            return *await self._drawn(token, brought), gr.UploadButton(value=None)

    async def act(self, event: gr.EventData, request: gr.Request, brought: Brought) -> tuple[Any, ...]:
        """Have it checked and proved, or put it away."""
        act = read(event)
        with self.screen.spoken():
            token, _ = await self.screen.person(request)
            if act.act == "close":
                return await self._drawn(token, Brought())
            if act.act == "bring":
                brought = await self._bring(token, brought, act)
            return await self._drawn(token, brought)

    async def look(self, request: gr.Request, brought: Brought) -> tuple[Any, ...]:
        """How far the proof is. A passing failure of the timer leaves the section as it is."""
        try:
            token, _ = await self.screen.person(request)
            return await self._drawn(token, replace(brought, once=""))
        except Refused:
            return gr.skip(), gr.skip(), gr.skip()

    async def _bring(self, token: str, brought: Brought, act: Act) -> Brought:
        brought = replace(brought, once=act.once, assistant=act.text("assistant"), problem=("", ""))
        try:
            made = await self.gateway.bring_adapter(token, wanted(brought.file, act))
        except Refused as refused:
            return replace(brought, problem=why(self.w, refused))
        return replace(brought, adapter=made.adapter, job=made.job.id if made.job else "")

    async def _drawn(self, token: str, brought: Brought) -> tuple[Any, ...]:
        if not brought.name:
            return brought, "", gr.Timer(active=False)
        everyone = await self.gateway.assistants(token)
        job = await self.gateway.job(token, brought.job) if brought.job else None
        events = await self.gateway.job_events(token, brought.job, limit=9) if brought.job else []
        number = await self._release(token, brought, job)
        page = draw(self.w, brought, everyone, job, events, number)
        return brought, page, gr.Timer(active=job is not None and job.status not in ENDED)

    async def _release(self, token: str, brought: Brought, job: Job | None) -> int | None:
        """The number of its release, where it has one already."""
        if not brought.adapter or (job is not None and job.status != "succeeded"):
            return None
        found = await self.gateway.releases(token, brought.assistant)
        return next((one.number for one in found if one.adapter == brought.adapter), None)


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
    release: int | None,
) -> str:  # fmt: skip
    """What was brought, as HTML: a form, how far its proof is, or what came of it."""
    newest = next((one for one in events if one.type == "message"), None)
    title = next((one.title for one in assistants if one.name == brought.assistant), brought.assistant)
    return render(
        "adapters", w, brought=brought, assistants=assistants, job=job, release=release, title=title,
        news=said(w, newest) if newest else None, why=failure(w, job.error) if job and job.error else None,
        most=MOST_QUESTIONS,
    )  # fmt: skip
