"""Starting a round of training in four steps: what it learns from, how, what that will take, and the start.

Owns the section's events and what was chosen so far; going back keeps it. One look is taken for the steps in the
middle, and taken anew only when what was chosen has changed.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from service.contract.assistants import Assistant, Readiness
from service.contract.datasets import Dataset
from service.contract.estimates import Estimate
from service.contract.files import File
from service.contract.jobs import MIN_REASON
from service.contract.signal import Signal
from ui import datasets, estimates, events, hyperparameters, jobs
from ui.acts import Act
from ui.client import Refused
from ui.pages import render
from ui.panel import panel, read
from ui.screens import MANY, Screen
from ui.words import Words, refusal

SOURCES = ("dpo", "sft", "kto", "file")
"""What can be learned from: corrections as preferences, corrections as examples, thumbs, a file."""
STEPS = (1, 2, 3, 4)
SETTING = "setting_"
"""How the name of a setting's field begins."""
UNSEEN = ("conflict", "no_checkpoint", "look_too_slow")
"""Refusals of a look that stand in nobody's way: the job itself checks its rows."""


@dataclass(frozen=True)
class Choices:
    """What was chosen so far, and what was seen of it."""

    step: int = 1
    source: str = ""
    file: str = ""
    aside: bool = True
    """Whether some of a file's rows are held out to measure by."""
    settings: tuple[tuple[str, str], ...] = ()
    """What a specialist typed, by the setting's name; what is left empty is chosen by the service."""
    reason: str = ""
    seen: tuple[Any, ...] = ()
    """What the look was taken of."""
    estimate: Estimate | None = None
    lines_of: str = ""
    """The file whose lines the look names, where that is a part of the one that was chosen."""
    unseen: str = ""
    """Why no look could be taken, as the service said it."""
    problem: str = ""
    once: str = ""
    """New for each press, so that the heading gets the focus once."""
    after: str = ""
    """New for each start, so that a reason is for one round."""

    @property
    def arrived(self) -> bool:
        """Whether a step was come to by the page's address, so that no look was taken yet."""
        return self.step > 1 and not self.seen and not self.problem

    def of(self, assistant: Assistant) -> tuple[Any, ...]:
        """What a look is taken of: also of the release that a training goes on from."""
        file = (self.file, self.aside) if self.source == "file" else ""
        return assistant.name, assistant.live_release, self.source, file, self.settings


@dataclass(frozen=True)
class Material:
    """What there is to learn from, as the gateway says it."""

    assistant: Assistant
    ready: Readiness
    every_file: list[File]
    frozen: list[Dataset]

    @property
    def files(self) -> list[File]:
        """Those that are learned from; what is held out goes along with them."""
        return [one for one in self.every_file if one.parted is None]

    def held_out(self, file: File) -> File | None:
        return datasets.held_out_of(file, self.every_file)

    def count(self, source: str) -> int:
        """Rows that feedback gives, or files."""
        counts = {"kto": self.ready.rated, "sft": self.ready.examples, "file": len(self.files)}
        return counts.get(source, self.ready.pairs)

    def signal(self, source: str) -> Signal | None:
        return next((one for kind, one in self.ready.signals.items() if kind == source), None)

    def held(self, source: str) -> bool:
        found = self.signal(source)
        return found is not None and found.verdict == "bad" and self.count(source) > 0

    def file(self, id_: str) -> File:
        """A file of these. Raises `Refused` for any other."""
        found = next((one for one in self.files if one.id == id_), None)
        if found is None:
            raise Refused(400, "no_file", "Choose a file first.")
        return found

    def first_choice(self) -> str:
        """What is ready to be learned from, else what there is at all."""
        if self.ready.ready or (self.ready.pairs and not self.files):
            return "dpo"
        return next((one for one in ("file", "sft", "kto") if self.count(one)), "")


class RoundSection:
    """A part of a screen, in the screen's language."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.w, self.gateway = screen, screen.w, screen.gateway

    def build(self) -> None:
        """The section's components."""
        self.shown, self.choices = panel("round"), gr.State(Choices())

    def wire(self, assistant: gr.Dropdown, brought: gr.Textbox, started: list[Any]) -> tuple[list[Any], Any]:
        """The section's events; a start gives the job's id and the tab, twice, to `started`. Returns those of its steps
        and that of a start."""
        here, drawn = [assistant, self.choices], [self.shown, self.choices]
        gone = self.shown.click(self.go, here, drawn, **MANY)
        given = brought.change(self.take_file, [assistant, brought, self.choices], drawn, **MANY)
        return [gone, given], self.shown.submit(self.start, here, [*drawn, *started], **MANY)

    async def go(
        self, event: gr.EventData, request: gr.Request, assistant: str, choices: Choices
    ) -> AsyncIterator[tuple[Any, Any]]:
        """To another step, with a look at the rows where one is needed."""
        act = read(event)
        with self.screen.spoken():
            token, _ = await self.screen.person(request)
            choices = taken(choices, act)
            step = int(act.value) if act.value.isdecimal() and int(act.value) in STEPS else 1
            material = await self._material(token, assistant)
            if step > 1 and choices.seen != choices.of(material.assistant):
                # From here on nothing may fail: the screen would stay as it is while it waits.
                yield looking(self.w, step, act.once), gr.skip()
                choices = await self._looked(token, material, choices)
            back = 2 if choices.settings and step > 2 else 1  # where what was refused may stand
            choices = replace(choices, step=back if choices.problem else step)
            yield draw(self.w, choices, material), choices

    async def arrive(self, request: gr.Request, assistant: str, choices: Choices) -> tuple[Any, Any]:
        """The look at the rows for a step that the page's address names, while the screen says that it looks."""
        if not choices.arrived:
            return gr.skip(), gr.skip()
        with self.screen.spoken():
            token, _ = await self.screen.person(request)
            material = await self._material(token, assistant)
            found = await self._looked(token, material, choices)
            found = replace(found, step=1 if found.problem else found.step)
            return draw(self.w, found, material), found

    async def take_file(
        self, request: gr.Request, assistant: str, file: str, choices: Choices
    ) -> tuple[Any, Any]:
        """A file that was just brought is what is chosen, unless somebody is past choosing."""
        with self.screen.spoken():
            token, _ = await self.screen.person(request)
            if file and choices.step == 1:
                choices = replace(choices, source="file", file=file, once="", problem="")
            return await self.drawn(token, assistant, choices), choices

    async def start(
        self, event: gr.EventData, request: gr.Request, assistant: str, choices: Choices
    ) -> tuple[Any, ...]:
        """Queue the job. A refusal is said where the button is."""
        act = read(event)
        with self.screen.spoken():
            token, _ = await self.screen.person(request)
            choices = taken(choices, act)
            try:
                job = await self._started(token, assistant, choices)
            except Refused as refused:
                choices = replace(choices, problem=refusal(self.w, refused))
                return await self.drawn(token, assistant, choices), choices, gr.skip(), gr.skip(), gr.skip()
            gr.Success(self.w("job_started"), duration=6, title=self.w("done_title"))
            fresh = Choices(after=act.once)
            shown = await self.drawn(token, assistant, fresh)
            return shown, fresh, job, "training", gr.Tabs(selected="training")

    async def drawn(self, token: str, assistant: str, choices: Choices) -> str:
        """The step that is open, as HTML."""
        if not assistant:
            return f"<p class='soft'>{self.w('no_assistant_text')}</p>"
        if choices.arrived:
            return looking(self.w, choices.step)
        return draw(self.w, choices, await self._material(token, assistant))

    async def _material(self, token: str, name: str) -> Material:
        everyone = {one.name: one for one in await self.gateway.assistants(token)}
        if name not in everyone:
            raise Refused(404, "not_found", f"No assistant '{name}'.")
        ready = await self.gateway.readiness(token, name)
        files = await datasets.files(self.gateway, token)
        return Material(everyone[name], ready, files, await self.gateway.datasets(token, name))

    async def _looked(self, token: str, material: Material, choices: Choices) -> Choices:
        """The choices with what a look says of them, or with why there is none."""
        blank = replace(choices, seen=(), estimate=None, lines_of="", unseen="", problem="")
        try:
            estimate, lines_of = await self._estimate(token, material, choices)
        except Refused as refused:
            if refused.code in UNSEEN:
                return replace(blank, seen=choices.of(material.assistant), unseen=refusal(self.w, refused))
            return replace(blank, problem=refusal(self.w, refused))
        return replace(blank, seen=choices.of(material.assistant), estimate=estimate, lines_of=lines_of)

    async def _estimate(self, token: str, material: Material, choices: Choices) -> tuple[Estimate, str]:
        """What a look says, and the name of the file whose lines it names, where that is not the chosen one."""
        name = material.assistant.name
        if choices.source == "file":
            file, held_out = await self._parts(token, material, choices)
            wanted = jobs.wanted(name, file, held_out, _given(choices, material))
            part = "" if file.id == choices.file else file.filename
            return await self.gateway.estimate_job(token, wanted), part
        method = _feedback(choices)
        return await self.gateway.estimate_round(token, name, method, _given(choices, material)), ""

    async def _parts(self, token: str, material: Material, choices: Choices) -> tuple[File, File | None]:
        """What is learned of the chosen file and what is held out, which is parted first where nothing is yet."""
        chosen = material.file(choices.file)
        return await datasets.parts(self.gateway, token, chosen, material.every_file, aside=choices.aside)

    async def _started(self, token: str, assistant: str, choices: Choices) -> str:
        """The new job's id. Raises `Refused`, also for what the look found."""
        material = await self._material(token, assistant)
        if choices.seen != choices.of(material.assistant):
            raise Refused(400, "not_looked", "Look at the rows first.")
        if choices.estimate is not None and estimates.faults(self.w, choices.estimate):
            raise Refused(400, "faults_first", "Mend what was found first.")
        held = material.held(choices.source) or (
            choices.estimate is not None and choices.estimate.held is not None
        )
        if held and len(choices.reason) < MIN_REASON:
            raise Refused(400, "reason_needed", "Say why, in at least ten characters.")
        reason = choices.reason if held else None
        if choices.source == "file":
            file, held_out = await self._parts(token, material, choices)
            wanted = jobs.wanted(assistant, file, held_out, _given(choices, material), reason)
            return (await self.gateway.create_job(token, wanted)).id
        method = _feedback(choices)
        given = _given(choices, material)
        return (await self.gateway.start_round(token, assistant, method, given, reason)).id


def taken(choices: Choices, act: Act) -> Choices:
    """The choices with what the form says; what a form does not hold stays."""
    news: dict[str, Any] = {"once": act.once, "problem": ""}
    if (source := act.text("source")) in SOURCES:
        news["source"] = source
    if "file" in act.fields:
        news["file"], news["aside"] = act.text("file"), "aside" in act.fields
    typed = {name.removeprefix(SETTING): act.text(name) for name in act.fields if name.startswith(SETTING)}
    if typed:
        kept = dict(choices.settings) | typed
        news["settings"] = tuple(sorted((name, text) for name, text in kept.items() if text))
    if "reason" in act.fields:
        news["reason"] = act.text("reason")
    return replace(choices, **news)


def looking(w: Words, step: int, once: str = "") -> str:
    """That the rows are looked at, as HTML."""
    return render("round_looking", w, step=step, steps=STEPS, once=once)


def draw(w: Words, choices: Choices, material: Material) -> str:
    """One step as HTML."""
    if not choices.source:
        choices = replace(choices, source=material.first_choice())
    if not choices.file and material.files:
        choices = replace(choices, file=material.files[0].id)
    found = choices.estimate
    return render(
        "round", w, chosen=choices, steps=STEPS, material=material, ready=material.ready, frozen=material.frozen[:6],
        sources=SOURCES, estimate=found, fields=hyperparameters.fields(_kind(choices, material)),
        typed=dict(choices.settings),
        settings=estimates.settings(w, found) if found else [],
        faults=estimates.faults(w, found) if found else [],
        seconds=estimates.seconds(w, found) if found else None,
        memory=estimates.memory(w, found) if found else None,
        reason=lambda chosen: events.reason(w, chosen, "")[0], runs=estimates.runs,
        where=lambda row: estimates.where(w, row),
        less_often=estimates.LESS_OFTEN,
        file=next((one.filename for one in material.files if one.id == choices.file), ""),
    )  # fmt: skip


def _kind(choices: Choices, material: Material) -> str:
    """The method: of a file it is told by its rows."""
    if choices.source != "file":
        return choices.source
    return next((one.kind or "" for one in material.files if one.id == choices.file), "")


def _given(choices: Choices, material: Material) -> dict[str, Any]:
    return hyperparameters.given(_kind(choices, material), dict(choices.settings))


def _feedback(choices: Choices) -> str:
    if choices.source not in datasets.KINDS:
        raise Refused(400, "no_source", "Choose first what it learns from.")
    return choices.source
