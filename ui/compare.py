"""Comparing: one question, two answers without names, and which of them is better.

Owns the page's events. Keeps nothing but the requests under way: what is shown is the person's newest duel as the
gateway tells it, so a reload or another device finds it again.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from service.contract.assistants import Assistant
from service.contract.duels import Duel
from ui import duels
from ui.client import Refused
from ui.pages import render
from ui.panel import panel, read
from ui.screens import MANY, Parts, Screen
from ui.words import Words, refusal

LOOK_EVERY = 2.0
"""Seconds between two looks at answers that were being written when the page was opened."""


class Compare(Screen):
    name = "compare"

    def __init__(self, parts: Parts, w: Words) -> None:
        super().__init__(parts, w)
        self._under_way: set[asyncio.Task[Duel]] = set()

    def build(self) -> gr.Blocks:
        title = f"{self.w('compare')} · Tailorbird"
        with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
            header = panel("header")
            with gr.Column(elem_id="compare"):
                duel = panel("duel")
            clock = gr.Timer(LOOK_EVERY, active=False)
            page.load(self.load, None, [header, duel, clock], **MANY)
            duel.submit(self.start, None, [duel, clock], **MANY)
            duel.click(self.decide, None, duel, trigger_mode="multiple", **MANY)
            clock.tick(self.look, None, [duel, clock], **MANY)
        return page

    async def load(self, request: gr.Request) -> tuple[str, str, gr.Timer]:
        """The duel that is open, or a new question."""
        with self.spoken():
            token, user = await self.person(request)
            newest = await self.gateway.newest_duel(token)
            shown = await self._draw(
                token, newest if newest and newest.status != "failed" else None, fresh=True
            )
            return self.header(user), shown, _clock(newest)

    async def look(self, request: gr.Request) -> tuple[Any, gr.Timer]:
        """Are both answers complete? A passing failure leaves the page as it is."""
        try:
            token, _ = await self.person(request)
            newest = await self.gateway.newest_duel(token)
        except Refused:
            return gr.skip(), gr.Timer(active=True)
        if newest is not None and newest.status == "writing":
            return gr.skip(), gr.Timer(active=True)
        return await self._draw(token, newest), gr.Timer(active=False)

    async def start(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[tuple[str, gr.Timer]]:
        """Ask. The answers are written to their end though the page may be closed meanwhile."""
        act = read(event)
        question, assistant = act.value or act.text("question"), act.text("assistant")
        with self.spoken():
            token, _ = await self.person(request)
            if not question.strip():
                raise Refused(400, "duel_no_question", "Write a question first.")
            yield render("duel_writing", self.w, question=question), gr.Timer(active=False)
            asking = asyncio.create_task(self.gateway.create_duel(token, assistant, question.strip()))
            self._under_way.add(asking)
            asking.add_done_callback(self._ended)
            try:
                shown = await self._draw(token, await asyncio.shield(asking))
            except Refused as refused:
                shown = await self._form(token, question, assistant, problem=refusal(self.w, refused))
            yield shown, gr.Timer(active=False)

    async def decide(self, event: gr.EventData, request: gr.Request) -> str:
        """A choice, the names without one, or the next question."""
        act = read(event)
        with self.spoken():
            token, _ = await self.person(request)
            if act.act == "next":
                return await self._form(token, "", act.id, once=act.once)
            if act.act == "reveal":
                return await self._draw(token, await self.gateway.reveal_duel(token, act.id))
            return await self._draw(
                token, await self.gateway.vote(token, act.id, duels.vote_of(act), once=act.once[:64])
            )

    async def _draw(self, token: str, duel: Duel | None, *, fresh: bool = False) -> str:
        """What there is to do now: wait, choose, read the names, or ask."""
        if duel is None or (fresh and duel.names is not None):
            return await self._form(token, "", duel.assistant if duel else "")
        if duel.status == "writing":
            return render("duel_writing", self.w, question=duel.question)
        if duel.status == "failed":
            return await self._form(token, duel.question, duel.assistant, problem=self.w("duel_failed"))
        return duels.drawn(self.w, duel)

    async def _form(
        self, token: str, question: str, assistant: str, *, problem: str = "", once: str = ""
    ) -> str:
        """The form of a question. `once` is another for another question, so that no earlier draft is shown."""
        everyone = await self.gateway.assistants(token)
        up = await self.gateway.ready()
        return render(
            "duel_question", self.w, assistants=everyone, chosen=_named(everyone, assistant), question=question,
            problem=problem, up=up, once=once,
        )  # fmt: skip

    def _ended(self, asking: asyncio.Task[Duel]) -> None:
        self._under_way.discard(asking)
        if not asking.cancelled():
            asking.exception()  # a refusal nobody waits for any more: the duel itself says that it failed


def _clock(duel: Duel | None) -> gr.Timer:
    return gr.Timer(active=duel is not None and duel.status == "writing")


def _named(assistants: list[Assistant], name: str) -> Assistant | None:
    first = assistants[0] if assistants else None
    return next((one for one in assistants if one.name == name), first)
