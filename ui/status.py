"""The state of the service in words: what is served, what is under way, and what is wrong."""

from service.contract.jobs import JobError
from service.contract.status import Status
from ui.client import Gateway
from ui.failures import failure
from ui.pages import render
from ui.words import Words


async def shown(gateway: Gateway, token: str, w: Words) -> str:
    """As HTML. Raises `Refused`."""
    told = await gateway.status(token)
    return render("status", w, told=told, wrong=wrong(w, told))


def wrong(w: Words, told: Status) -> list[tuple[str, bool]]:
    """All that is wrong, and whether it is said in the reader's language; else it is in English."""
    if len(told.coded) != len(told.wrong):
        return [(sentence, False) for sentence in told.wrong]
    said: list[tuple[str, bool]] = []
    for sentence, one in zip(told.wrong, told.coded, strict=True):
        name = f"wrong_{one.code}"
        try:
            said.append((w(name, **_values(w, one.values)), True) if w.has(name) else (sentence, False))
        except KeyError:  # a value that the sentence needs and another version did not send
            said.append((sentence, False))
    return said


def _values(w: Words, values: dict[str, str | int]) -> dict[str, str | int]:
    """Why a job failed is said in the reader's language too."""
    if "error" not in values:
        return values
    error = JobError(code=str(values["error"]), message=str(values.get("message", "")))
    return values | {"message": failure(w, error)[0]}
