"""How figures are said to people: shares, points, intervals, counts, languages.

Owns the wording of a figure, for the gate's reasons and the page alike. Knows no rule.
"""

from service.contract.evaluations import Contestant, Difference

MINUS = "\N{MINUS SIGN}"
NAMES: dict[Contestant, str] = {
    "candidate": "the candidate",
    "live": "the live release",
    "base": "the base model",
}
LABELS: dict[Contestant, str] = {"candidate": "Candidate", "live": "Live", "base": "Base"}
_LANGUAGES = {
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "nl": "Dutch",
    "pt": "Portuguese",
}


def percent(share: float) -> str:
    """0.8125 is '81.2 %', 0.5 is '50 %'."""
    return _short(share * 100) + " %"


def points(share: float) -> str:
    """A difference in points of a hundred, with its sign: 0.12 is '+12', -0.034 is '−3.4'."""
    text = _short(share * 100)
    return text if text.startswith(MINUS) or text == "0" else "+" + text


def size(share: float) -> str:
    """Points without a sign."""
    return _short(abs(share) * 100)


def interval(found: Difference) -> str:
    low_to_high = f"{points(found.low)} to {points(found.high)}"
    return f"(95 % interval {low_to_high}, {questions(found.cases)})"


def questions(count: int) -> str:
    return "1 question" if count == 1 else f"{count} questions"


def language_name(code: str) -> str:
    return _LANGUAGES.get(code, code)


def _short(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0").replace("-", MINUS)
    return "0" if text == MINUS + "0" else text
