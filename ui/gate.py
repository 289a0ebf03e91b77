"""Why a gate passes or holds a release, in the reader's language.

Owns how a reason's code and figures become a sentence. What has no code, or one without a sentence, is said as it
was sent.
"""

from typing import Any

from service.contract.evaluations import Gate, Reason
from ui.words import Words

MINUS = "\N{MINUS SIGN}"


def reasons(w: Words, gate: Gate) -> list[tuple[str, bool]]:
    """Each reason, and whether it is in the reader's language; else it is in English."""
    if len(gate.coded) != len(gate.reasons):
        return [(sentence, False) for sentence in gate.reasons]
    return [_spoken(w, sentence, reason) for sentence, reason in zip(gate.reasons, gate.coded, strict=True)]


def language_name(w: Words, code: str) -> str:
    """In the reader's language, or the code itself where we have no word for it."""
    return w(f"language_{code}") if w.has(f"language_{code}") else code


def _spoken(w: Words, sentence: str, reason: Reason) -> tuple[str, bool]:
    if not w.has(f"gate_{reason.code}"):
        return sentence, False
    try:
        return _said(w, reason), True
    except KeyError:  # a value that the sentence needs and another version did not send
        return sentence, False


def _said(w: Words, reason: Reason) -> str:
    values: dict[str, Any] = dict(reason.values)
    if "mean" in values:
        low, mean, high = (_points(w, values[name]) for name in ("low", "mean", "high"))
        values["difference"] = w("gate_difference", mean=mean, low=low, high=high, n=values["cases"])
    if "needed" in values:
        values["more"] = _more(w, values["needed"])
    for name in ("candidate", "rival"):
        if name in values:
            values[name] = w("percent", n=_number(w, values[name]))
    for name in ("who", "against"):
        if name in values:
            values[name] = w(f"gate_of_{values[name]}")
    if "allowed" in values:
        values["allowed"] = _number(w, values["allowed"])
    if "language" in values:
        values["language"] = language_name(w, values["language"])
    return w(f"gate_{reason.code}", n=values.get("cases", values.get("failed")), **values)


def _more(w: Words, needed: int) -> str:
    """What more questions would settle: -1 when none would, 0 when a few may do."""
    if needed < 0:
        return w("gate_more_useless")
    return w("gate_more_many", n=needed) if needed else w("gate_more_few")


def _points(w: Words, share: float) -> str:
    """A difference in points of a hundred, with its sign."""
    number = _number(w, abs(share))
    return number if number == "0" else f"{MINUS if share < 0 else '+'}{number}"


def _number(w: Words, share: float) -> str:
    """A share as so many of a hundred, with one digit where there is one."""
    text = f"{share * 100:.1f}".removesuffix(".0")
    return text.replace(".", ",") if w.language == "fr" else text
