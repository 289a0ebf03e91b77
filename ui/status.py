"""The state of the service in words: what is served, what is under way, and what is wrong."""

from dataclasses import dataclass

from service.contract.jobs import JobError
from service.contract.status import Status, Wrong
from ui.client import Gateway
from ui.failures import failure
from ui.jobs import METHODS
from ui.pages import render
from ui.words import Words


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong."""

    said: str
    ours: bool = True
    """Whether it is said in the reader's language; else it is in English."""
    sent: str = ""
    """The engine's or the job's own words, for specialists."""
    at: int | None = None
    """When it happened, where that was told."""


async def shown(gateway: Gateway, token: str, w: Words) -> str:
    """As HTML. Raises `Refused`."""
    told = await gateway.status(token)
    return render("status", w, told=told, wrong=wrong(w, told))


def wrong(w: Words, told: Status) -> list[Fault]:
    """All that is wrong."""
    if len(told.coded) != len(told.wrong):
        return [Fault(sentence, ours=False) for sentence in told.wrong]
    return [_fault(w, sentence, one) for sentence, one in zip(told.wrong, told.coded, strict=True)]


def _fault(w: Words, sentence: str, one: Wrong) -> Fault:
    sent, values, at = "", one.values, one.values.get("finished_at")
    kind = str(values.get("kind"))
    if w.has(method := f"method_{METHODS.get(kind, kind)}"):
        values = values | {"kind": w(method)}
    if w.has(cause := f"cause_{values.get('cause')}"):
        sent, values = str(values.get("why", "")), values | {"why": w(cause)}
    elif "error" in values:
        sent = str(values.get("message", ""))
        why, ours = failure(w, JobError(code=str(values["error"]), message=sent))
        sent, values = sent if ours else "", values | {"message": why}
    try:
        return Fault(w(f"wrong_{one.code}", **values), sent=sent, at=at if isinstance(at, int) else None)
    except KeyError:  # a code of another version, or a value that the sentence needs and it did not send
        return Fault(sentence, ours=False)
