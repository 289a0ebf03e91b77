"""The state of the service in words: what is served, what is under way, and what is wrong."""

from service.contract.status import Status
from ui.client import Gateway
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
            said.append((w(name, **one.values), True) if w.has(name) else (sentence, False))
        except KeyError:  # a value that the sentence needs and another version did not send
            said.append((sentence, False))
    return said
