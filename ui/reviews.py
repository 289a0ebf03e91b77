"""Reviewing: one answer at a time, what was said of it, one's verdict, and then what the others decided.

Owns the page's events. Keeps nothing: what waits and for whom the gateway decides.
"""

from typing import Any, cast, get_args

import gradio as gr
from pydantic import ValidationError

from service.contract.reviews import (
    Agreement,
    Criterion,
    Mark,
    Review,
    ReviewCreate,
    ReviewQueue,
    SkipReason,
    Verdict,
)
from ui.acts import Act
from ui.client import Refused
from ui.differences import difference
from ui.pages import render
from ui.panel import panel, read
from ui.screens import AT_ONCE, Screen
from ui.words import Words


class Reviews(Screen):
    name = "review"

    def build(self) -> gr.Blocks:
        title = f"{self.w('review_title')} · Tailorbird"
        many: dict[str, Any] = {
            "concurrency_limit": AT_ONCE, "show_progress": "hidden", "api_visibility": "private"
        }  # fmt: skip
        with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
            header = panel("header")
            with gr.Column(elem_id="review"):
                item, agreement = panel("item"), panel("agreement")
            page.load(self.load, None, [header, item, agreement], **many)
            item.click(self.act, None, [item, agreement], trigger_mode="multiple", **many)
        return page

    async def load(self, request: gr.Request) -> tuple[str, str, str]:
        with self.spoken():
            token, user = await self.person(request)
            return self.header(user), await self._item(token), await self._agreement(token)

    async def act(self, event: gr.EventData, request: gr.Request) -> tuple[Any, Any]:
        """A verdict, one taken back, a check for all, or a look at what waits."""
        act = read(event)
        with self.spoken():
            token, _ = await self.person(request)
            last, note = None, ""
            if act.act == "judge":
                try:
                    last = await self.gateway.give_review(token, review_of(act), once=act.once[:64])
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
        return drawn(self.w, await self.gateway.next_review(token), last, note, once)

    async def _agreement(self, token: str) -> str:
        return figures(self.w, await self.gateway.agreement(token))


def drawn(w: Words, queue: ReviewQueue, last: Review | None = None, note: str = "", once: str = "") -> str:
    """What was just decided, and the next answer or that nothing waits, as HTML. `once` is new for each press."""
    item = queue.item
    corrections = [one.correction for one in item.said if one.correction] if item else []
    return render(
        "review", w, queue=queue, item=item, last=last, note=note, once=once, verdicts=get_args(Verdict),
        criteria=get_args(Criterion), marks=get_args(Mark), skip_reasons=get_args(SkipReason),
        draft=corrections[-1] if corrections else item.answer if item else "",
        changes=[difference(w, item.answer, text) for text in corrections] if item else [],
    )  # fmt: skip


def figures(w: Words, agreement: Agreement) -> str:
    """How alike people judge, as HTML; nothing before anybody has judged."""
    return render("agreement", w, agreement=agreement) if agreement.people else ""


def review_of(act: Act) -> ReviewCreate:
    """The verdict in a form; what belongs to another verdict, and was hidden, is left out. Raises `Refused`."""
    verdict = act.text("verdict")
    rubric = {name: act.text(f"rubric-{name}") for name in get_args(Criterion)}
    try:
        return ReviewCreate(
            completion_id=act.id, verdict=cast(Verdict, verdict),
            correction=act.text("correction") if verdict == "correct" else None,
            skip_reason=cast(SkipReason, act.text("skip_reason")) if verdict == "skip" else None,
            rubric={name: cast(Mark, mark) for name, mark in rubric.items() if mark},
            comment=act.text("comment") or None, personal_data=bool(act.text("personal_data")),
        )  # fmt: skip
    except ValidationError:
        raise Refused(400, "review_incomplete", "Choose a verdict first.") from None
