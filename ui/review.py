"""Reviewing: one answer at a time, what was said of it, one's verdict, and then what the others decided.

Owns the page's events. Keeps nothing but the assistants' titles, asked for anew with each page: what waits and for whom
the gateway decides.
"""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from service.contract.reviews import Review
from ui import reviews
from ui.client import Refused
from ui.panel import panel, read
from ui.screens import MANY, Screen


class Reviewing(Screen):
    name = "review"
    _titles: Mapping[str, str] = {}

    def build(self) -> gr.Blocks:
        title = f"{self.w('review_title')} · Tailorbird"
        with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
            header = panel("header")
            with gr.Column(elem_id="review"):
                item, agreement = panel("item"), panel("agreement")
            page.load(self.load, None, [header, item, agreement], **MANY)
            item.click(self.act, None, [item, agreement], trigger_mode="multiple", **MANY)
        return page

    async def load(self, request: gr.Request) -> tuple[str, str, str]:
        with self.spoken():
            token, user = await self.person(request)
            self._titles = {one.name: one.title for one in await self.gateway.assistants(token)}
            return self.header(user), await self._item(token), await self._agreement(token)

    async def act(self, event: gr.EventData, request: gr.Request) -> tuple[Any, Any]:
        """A verdict, one taken back, a check for all, or a look at what waits."""
        act = read(event)
        with self.spoken():
            token, _ = await self.person(request)
            last, note = None, ""
            if act.act == "judge":
                try:
                    last = await self.gateway.give_review(token, reviews.review_of(act), once=act.once[:64])
                except Refused as refused:
                    if refused.code != "review_not_waiting":
                        raise
                    note = "error_review_not_waiting"
            elif act.act == "undo":
                await self.gateway.undo_review(token, act.id)
                note = "review_undone"
            elif act.act == "golden":
                await self.gateway.make_golden(token, act.id, act.value)
                note = "review_made_golden"
            return await self._item(token, last, note, act.once), await self._agreement(token)

    async def _item(self, token: str, last: Review | None = None, note: str = "", once: str = "") -> str:
        queue = await self.gateway.next_review(token)
        return reviews.drawn(self.w, queue, last, note, once, titles=self._titles)

    async def _agreement(self, token: str) -> str:
        return reviews.figures(self.w, await self.gateway.agreement(token))
