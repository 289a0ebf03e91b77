"""What a person says of an answer, from a press of a button to the gateway. A confirmation follows only its 2xx.

Owns which press becomes which feedback. Keeps nothing: what stands is read back from the gateway.
"""

from typing import cast, get_args

from pydantic import ValidationError

from service.contract.feedback import FeedbackCreate, Reason
from ui.acts import Act
from ui.client import Gateway, Refused

PRAISE: tuple[Reason, ...] = ("helpful", "accurate", "clear", "other")
BLAME: tuple[Reason, ...] = (
    "wrong", "incomplete", "outdated", "off_topic", "too_long", "too_short", "tone", "language", "unsafe", "other",
)  # fmt: skip
SAID = {
    "rate": "said_rated", "explain": "said_explained", "correct": "said_corrected", "compare": "said_compared",
}  # fmt: skip
ACTS = (*SAID, "retract")


async def give(gateway: Gateway, token: str, act: Act) -> tuple[str, str]:
    """Do what was pressed; the completion's id and the key of the confirming sentence. Raises `Refused`."""
    if act.act == "retract":
        return (await gateway.retract_feedback(token, act.id)).completion_id, "said_retracted"
    try:
        wanted = _wanted(act)
    except ValidationError:
        raise Refused(400, "not_understood", "This could not be understood. Reload the page.") from None
    saved = await gateway.give_feedback(token, wanted, once=act.once[:64])
    return act.id if act.act == "compare" else saved.completion_id, SAID[act.act]


def _wanted(act: Act) -> FeedbackCreate:
    if act.act == "compare":
        return _compared(act.id, act.text("earlier"), act.value)
    if act.act == "correct":
        text = act.text("correction")
        if not text:
            raise Refused(400, "empty_correction", "Write the better answer first.")
        return FeedbackCreate(completion_id=act.id, type="correction", correction=text)
    reasons: list[Reason] = [
        cast(Reason, reason) for reason in act.fields.get("reasons", []) if reason in get_args(Reason)
    ]
    return FeedbackCreate(
        completion_id=act.id, type="rating", rating=1 if act.value == "1" else -1, reasons=reasons,
        comment=act.text("comment") or None,
    )  # fmt: skip


def _compared(later: str, earlier: str, value: str) -> FeedbackCreate:
    """Is the later answer better, the same or worse? The better one is preferred; of two alike, the later is named."""
    worse, preferred = (later, earlier) if value == "worse" else (earlier, later)
    return FeedbackCreate(
        completion_id=worse, type="preference", preferred_completion_id=preferred,
        preference="tie" if value == "same" else None,
    )  # fmt: skip
