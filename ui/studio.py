"""The studio: what the feedback can support, training, evaluations, releases and the story of one assistant.

Owns the screen's events. Each section's reading and drawing lies in the module of its name; long work runs in
the service's worker and is only looked at here, by a timer.
"""

import hashlib
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from service.contract.assistants import Assistant
from service.contract.jobs import ENDED
from ui import datasets, evaluations, jobs, places, releases, runs, timeline
from ui.adapters import AdapterSection
from ui.client import Refused
from ui.documents import DocumentSection
from ui.imports import ImportSection
from ui.notices import ours
from ui.panel import panel, read
from ui.places import TABS, Place
from ui.rounds import Choices, RoundSection
from ui.screens import MANY, Parts, Screen
from ui.words import Words

LOOK_EVERY = 3.0
"""Seconds between two looks at what is under way."""
GO = "(address) => window.tailorbird.address(address)"
MOVING = ("jobs", "detail", "loss", "ranking", "messages", "evaluations", "releases", "timeline", "seen")
"""What changes by itself, and what was seen of it at the last look."""


class Studio(Screen):
    name = "studio"

    def __init__(self, parts: Parts, w: Words) -> None:
        super().__init__(parts, w)
        self._kept = releases.Kept()
        self._round, self._imports, self._adapters = (
            RoundSection(self),
            ImportSection(self),
            AdapterSection(self),
        )
        self._documents = DocumentSection(self, self._imports)

    def build(self) -> gr.Blocks:
        w = self.w
        with gr.Blocks(
            title=f"{w('studio')} · Tailorbird",
            analytics_enabled=False,
            fill_width=True,
            delete_cache=(600, 600),
        ) as page:
            parts: dict[str, Any] = {"header": panel("header")}
            parts["job"], parts["seen"] = gr.Textbox(visible=False), gr.State({})
            parts["drawn"], parts["page"] = gr.State(None), gr.State(timeline.Page())
            parts["tab"], parts["address"] = gr.Textbox(TABS[0], visible=False), gr.Textbox(visible=False)
            with gr.Column(elem_id="studio"):
                parts["assistant"] = gr.Dropdown(
                    [], label=w("assistant"), elem_id="assistant", interactive=True, filterable=False
                )
                with gr.Tabs(elem_id="tabs") as parts["tabs"]:
                    with gr.Tab(w("tab_round"), id="round"):
                        self._round_tab(parts)
                    with gr.Tab(w("tab_training"), id="training"):
                        self._training_tab(parts)
                    with gr.Tab(w("tab_evaluations"), id="evaluations"):
                        parts["evaluations"] = panel("evaluations")
                    with gr.Tab(w("tab_releases"), id="releases"):
                        parts["releases"], parts["timeline"] = panel("releases"), panel("timeline")
                        self._adapters.build()
            parts["clock"] = gr.Timer(LOOK_EVERY)
            self._wire(page, parts)
        return page

    def _round_tab(self, parts: dict[str, Any]) -> None:
        self._round.build()
        parts["upload"] = self._imports.build()
        self._documents.build()
        parts["brought"] = gr.Textbox(visible=False)

    def _training_tab(self, parts: dict[str, Any]) -> None:
        w = self.w
        parts["compared"] = panel("compared")
        with gr.Row(elem_id="training"):
            with gr.Column(scale=2, min_width=280):
                parts["jobs"] = panel("jobs")
            with gr.Column(scale=3, min_width=320):
                parts["detail"] = panel("detail")
                plot: dict[str, Any] = {
                    "x": "step", "color": "kind", "height": 320, "show_label": True, "visible": False,
                    "x_title": w("step"),
                    "color_title": "", "buttons": [], "color_map": jobs.colours(w),
                }  # fmt: skip
                parts["loss"] = gr.LinePlot(
                    y="value", label=w("loss_title"), y_title=w("loss"), elem_id="loss", **plot
                )
                parts["ranking"] = gr.LinePlot(
                    y="value", label=w("ranking_title"), y_title=w("share"), elem_id="ranking", **plot
                )
                parts["messages"] = panel("messages")

    def _wire(self, page: gr.Blocks, p: dict[str, Any]) -> None:
        place = [p["assistant"], p["job"], p["page"], p["seen"]]
        moving = [p[name] for name in MOVING]
        chosen = [*place, self._round.choices]
        everything = [*moving, self._round.shown, p["drawn"]]
        at = [p["assistant"], p["tab"], p["job"], self._round.choices]

        def told(event: Any) -> Any:
            return event.then(self.moved, at, p["address"], **MANY)

        def redrawn(event: Any) -> Any:
            told(event)
            return event.then(self.redraw, chosen, everything, **MANY).then(
                self.settle, [*chosen, p["drawn"]], everything, **MANY
            )

        arrived = [self._round.shown, self._round.choices]
        first = page.load(self.load, None, [p["header"], *at, p["tabs"]], **MANY)
        told(redrawn(first).then(self._round.arrive, [p["assistant"], self._round.choices], arrived, **MANY))
        redrawn(p["assistant"].input(self.other, None, [p["job"], p["page"], self._round.choices], **MANY))
        told(p["tabs"].select(self.opened, None, p["tab"], **MANY))
        p["address"].change(None, p["address"], None, js=GO)
        self._imports.wire(page, p["brought"])
        self._documents.wire(page)
        self._adapters.wire(page, p["assistant"]).success(self.look, place, moving, **MANY)
        p["timeline"].click(self.turn, None, p["page"], trigger_mode="multiple", **MANY).success(
            self.look, place, moving, **MANY
        )
        p["clock"].tick(self.look, place, moving, **MANY)
        p["upload"].upload(self.upload, p["upload"], [p["brought"], p["upload"]], **MANY)
        steps, started = self._round.wire(p["assistant"], p["brought"], [p["job"], p["tab"], p["tabs"]])
        for event in steps:
            told(event)
        told(started.success(self.look, place, moving, **MANY))
        for name in ("jobs", "detail"):
            pressed = p[name].click(self.job_act, p["job"], p["job"], trigger_mode="multiple", **MANY)
            told(pressed.success(self.look, place, moving, **MANY))
        p["jobs"].click(self.compare, None, p["compared"], trigger_mode="multiple", **MANY)
        p["assistant"].input(self.nothing, None, p["compared"], **MANY)
        for name in ("evaluations", "releases"):
            p[name].click(self.release_act, p["assistant"], None, trigger_mode="multiple", **MANY).success(
                self.redraw, chosen, everything, **MANY
            )

    # What is shown

    async def load(self, request: gr.Request) -> list[Any]:
        """The header, and where the page's address leads, as far as that is there for this person."""
        with self.spoken():
            token, user = await self.person(request)
            everyone = await self.gateway.assistants(token)
            there = await self._there(token, places.read(dict(request.query_params)), everyone)
            titles = [one.title for one in everyone]
            choices = [
                (one.title if titles.count(one.title) == 1 else f"{one.title} ({one.name})", one.name)
                for one in everyone
            ]
            assistant = gr.Dropdown(choices, value=there.assistant or None, visible=len(choices) != 1)
            # The tab that is open anyway is not opened again: somebody quick may be on another one by now.
            tab, tabs = (gr.skip(),) * 2 if there.tab == TABS[0] else (there.tab, gr.Tabs(selected=there.tab))
            return [self.header(user), assistant, tab, there.job, there.choices, tabs]

    async def _there(self, token: str, wanted: Place, everyone: list[Assistant]) -> Place:
        """The place that is wanted, or the first one, and a word on it."""
        names = [one.name for one in everyone]
        try:
            if wanted.assistant and wanted.assistant not in names:
                raise Refused(404, "not_found", "No such assistant.")
            if wanted.job:
                await self.gateway.job(token, wanted.job)
        except Refused as refused:
            if refused.status not in (403, 404):
                raise
            gr.Warning(ours(self.w("place_gone")), duration=12, title=self.w("notice_title"))
            wanted = Place(tab=wanted.tab)
        return wanted if wanted.assistant else replace(wanted, assistant=names[0] if names else "")

    async def opened(self, event: gr.SelectData, request: gr.Request) -> str:
        """The tab that was chosen."""
        return next((name for name in TABS if self.w(f"tab_{name}") == event.value), TABS[0])

    async def moved(
        self, request: gr.Request, assistant: str | None, tab: str, job: str, choices: Choices
    ) -> str:
        """The query of the page's address."""
        return Place(assistant or "", tab, job, choices).address

    async def other(self, request: gr.Request) -> tuple[str, timeline.Page, Choices]:
        """Another assistant was chosen: the job of the earlier one is closed, and its round begins anew."""
        return "", timeline.Page(), Choices()

    async def turn(self, event: gr.EventData, request: gr.Request) -> timeline.Page:
        """Another page of what happened."""
        act = read(event)
        return timeline.Page(after=act.id if act.act == "older" else "", once=act.once)

    async def nothing(self, request: gr.Request) -> str:
        """What was compared of the earlier assistant is taken away."""
        return ""

    async def compare(self, event: gr.EventData, request: gr.Request) -> Any:
        act = read(event)
        if act.act != "compare":
            return gr.skip()
        with self.spoken():
            token, _ = await self.person(request)
            return await runs.compared(self.gateway, token, self.w, act)

    async def redraw(
        self, request: gr.Request, assistant: str | None, job: str, page: timeline.Page, seen: dict[str, str],
        choices: Choices,
    ) -> list[Any]:  # fmt: skip
        """Everything, also what changes only when somebody acts."""
        with self.spoken():
            token, _ = await self.person(request)
            moving = await self._moving(token, assistant or "", job, page, {})
            return [*moving, await self._round.drawn(token, assistant or "", choices), assistant]

    async def settle(
        self, request: gr.Request, assistant: str | None, job: str, page: timeline.Page, seen: dict[str, str],
        choices: Choices, drawn: str | None,
    ) -> list[Any]:  # fmt: skip
        """Of two redraws at once the one that began first may end last; then the other assistant is drawn again."""
        if drawn == assistant:
            return [gr.skip()] * (len(MOVING) + 2)
        return await self.redraw(request, assistant, job, page, seen, choices)

    async def look(
        self, request: gr.Request, assistant: str | None, job: str, page: timeline.Page, seen: dict[str, str]
    ) -> list[Any]:
        """What is under way. A passing failure of the timer leaves the screen as it is."""
        try:
            token, _ = await self.person(request)
            return await self._moving(token, assistant or "", job, page, seen or {})
        except Refused:
            return [gr.skip()] * len(MOVING)

    async def _moving(
        self, token: str, assistant: str, job: str, page: timeline.Page, seen: dict[str, str]
    ) -> list[Any]:
        if not assistant:
            return ["", "", gr.skip(), gr.skip(), "", "", "", "", {}]
        listed = await self.gateway.jobs(token, assistant)
        job = job or (listed[0].id if listed else "")
        drawn: dict[str, Any] = {
            "jobs": await jobs.listing(self.gateway, token, self.w, listed, job),
            **await self._detail(token, job, ended=seen.get("ended", "")),
            "evaluations": await evaluations.listing(self.gateway, token, self.w, assistant),
            "releases": await releases.listing(self.gateway, token, self.w, assistant, self._kept),
            "timeline": await timeline.listing(self.gateway, token, self.w, assistant, page),
        }
        marks = {name: _mark(value) if value is not None else seen[name] for name, value in drawn.items()}
        # What has not changed is not sent again, so that a field being filled in is left alone.
        news = [
            gr.skip() if seen.get(name) == marks[name] else _shown(value) for name, value in drawn.items()
        ]
        over = next((one.id for one in listed if one.id == job and one.status in ENDED), "")
        return [*news, marks | {"ended": over}]

    async def _detail(self, token: str, job: str, *, ended: str) -> dict[str, Any]:
        """The open job's four parts; none each when it had ended at the last look, and so stays as it is."""
        names = ("detail", "loss", "ranking", "messages")
        if job and job == ended:
            return dict.fromkeys(names)
        return dict(zip(names, await jobs.detail(self.gateway, token, self.w, job), strict=True))

    # What is done

    async def upload(self, request: gr.Request, path: str | None) -> tuple[Any, Any]:
        with self.spoken():
            token, _ = await self.person(request)
            if path is None:
                return gr.skip(), gr.skip()
            kept = await datasets.upload(self.gateway, token, Path(path))
            gr.Success(
                self.w("uploaded", name=escape(kept.filename)),
                duration=6,
                title=self.w("done_title"),
            )
            return kept.id, gr.UploadButton(value=None)

    async def job_act(self, event: gr.EventData, request: gr.Request, job: str) -> str:
        act = read(event)
        with self.spoken():
            token, _ = await self.person(request)
            acts = {
                "cancel": self.gateway.cancel_job, "pause": self.gateway.pause_job, "resume": self.gateway.resume_job,
            }  # fmt: skip
            if act.act in acts:
                await acts[act.act](token, act.id)
                return job
            return act.id if act.act == "open" else job

    async def release_act(self, event: gr.EventData, request: gr.Request, assistant: str) -> None:
        act = read(event)
        with self.spoken():
            token, _ = await self.person(request)
            said = await releases.do(self.gateway, token, self.w, assistant, act)
            if said:
                gr.Success(said, duration=6, title=self.w("done_title"))


def _mark(value: Any) -> str:
    text = value.to_csv() if hasattr(value, "to_csv") else str(value)
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(value: Any) -> Any:
    """A curve is hidden while it has no points."""
    return gr.LinePlot(value=value, visible=len(value) > 0) if hasattr(value, "to_csv") else value
