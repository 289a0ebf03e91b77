"""What a job said of itself, in the reader's language.

Owns how a message's code and values become a sentence. What has no code, or one without a sentence, is said as it
was sent.
"""

from collections.abc import Mapping
from typing import Any

from service.contract.jobs import Chosen, JobError, JobEvent
from ui.failures import failure
from ui.words import Words, figure

UNSAYABLE = (KeyError, TypeError, AttributeError)
"""What a sentence needs was not sent, or not as we know it."""


def said(w: Words, event: JobEvent) -> tuple[str, bool]:
    """The message, and whether it is in the reader's language; else it is in English."""
    code, error = event.data.get("code"), event.data.get("error")
    if code == "failed" and isinstance(error, str):
        param = event.data.get("param")
        return failure(w, JobError(code=error, message=event.message, param=param))
    name = f"event_{code}"
    if not w.has(name):
        return event.message, False
    try:
        return w(name, **_values(w, event.data)), True
    except UNSAYABLE:
        return event.message, False


def reason(w: Words, chosen: Chosen | None, sent: str) -> tuple[str, bool]:
    """Why a setting that was left to the service is what it is, in a specialist's words, and whether these are in the
    reader's language; else as it was sent, in English."""
    try:
        return (_why(w, chosen.code, chosen.values), True) if chosen else (sent, w.language == "en")
    except UNSAYABLE:
        return sent, w.language == "en"


def _values(w: Words, data: dict[str, Any]) -> dict[str, Any]:
    values = {name: told(w, value) for name, value in data.items() if name != "code"}
    if "chosen" in data:
        values["choices"] = " ".join(_choice(w, name, one) for name, one in data["chosen"].items())
    if "finding" in data:
        values["finding"] = w(f"finding_{data['finding']}", **values)
    if "metric" in data:
        values["metric"] = _named(w, "metric", data["metric"])
    if "who" in data:
        values["who"] = ", ".join(_named(w, "gate_of", one) for one in data["who"].split())
    return values


def _choice(w: Words, name: str, one: dict[str, Any]) -> str:
    """One setting that was left to the service, and why it is what it is."""
    why = _why(w, one["code"], one["values"])
    return w("chosen_setting", name=_named(w, "setting", name), value=figure(w, one["value"]), why=why)


def _why(w: Words, code: str, values: Mapping[str, Any]) -> str:
    return w(f"chosen_{code}", **{key: told(w, value) for key, value in values.items()})


def _named(w: Words, family: str, code: str) -> str:
    return w(f"{family}_{code}") if w.has(f"{family}_{code}") else code


def told(w: Words, value: Any) -> Any:
    """A value as a sentence takes it. A whole number stays one: it chooses between singular and plural."""
    return figure(w, value) if isinstance(value, bool | float) else value
