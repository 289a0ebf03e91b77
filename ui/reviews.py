"""A review as people see it: an answer with what was said of it, the form of a verdict, and how alike people judge.

Owns how a form becomes a verdict. Keeps nothing.
"""

from collections.abc import Mapping
from typing import cast, get_args

from pydantic import ValidationError

from service.contract.reviews import (
    LAST_VERDICTS,
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
from ui.difference import difference
from ui.pages import render
from ui.words import Words


def drawn(
    w: Words, queue: ReviewQueue, last: Review | None = None, note: str = "", once: str = "", *,
    titles: Mapping[str, str] = {},
) -> str:  # fmt: skip
    """What was just decided, and the next answer or that nothing waits, as HTML. `once` is new for each press;
    `titles` are the assistants' by name."""
    item = queue.item
    corrections = [one.correction for one in item.said if one.correction] if item else []
    return render(
        "review", w, queue=queue, item=item, last=last, note=note, once=once, verdicts=get_args(Verdict),
        criteria=get_args(Criterion), marks=get_args(Mark), skip_reasons=get_args(SkipReason), titles=titles,
        draft=corrections[-1] if corrections else item.answer if item else "",
        changes=[difference(w, item.answer, text) for text in corrections] if item else [],
    )  # fmt: skip


def figures(w: Words, agreement: Agreement) -> str:
    """How alike people judge, as HTML; nothing before anybody has judged."""
    return render("agreement", w, agreement=agreement, last=LAST_VERDICTS) if agreement.people else ""


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
            comment=act.text("comment") or None, topic=act.text("topic") or None,
            personal_data=bool(act.text("personal_data")),
        )  # fmt: skip
    except ValidationError:
        raise Refused(400, "review_incomplete", "Choose a verdict first.") from None
