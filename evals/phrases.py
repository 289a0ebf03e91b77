"""How an evaluation speaks: sentences in the language of who reads, and figures as people there write them.

Owns the wording of figures, names and languages, for the gate's reasons, the page and its plots alike. A sentence is
named by its English text; `french` has the others. Knows no rule.
"""

import re
from functools import cache
from typing import Any

from evals.french import FRENCH
from service.contract.evaluations import Contestant, Difference

MINUS = "\N{MINUS SIGN}"
NAMES: dict[Contestant, str] = {
    "candidate": "the candidate",
    "live": "the live release",
    "base": "the base model",
}
LABELS: dict[Contestant, str] = {"candidate": "Candidate", "live": "Live", "base": "Base"}
LANGUAGES = {
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "nl": "Dutch",
    "pt": "Portuguese",
}


class Phrases:
    """`say("{n} questions", n=3)` gives the sentence in the language. Raises `KeyError` for one it has no words for."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._sentences = {"en": None, "fr": FRENCH}[language]

    def __call__(self, sentence: str, /, **values: Any) -> str:
        return self.pattern(sentence).format(**values)

    def pattern(self, sentence: str) -> str:
        """The sentence with its values still open."""
        return sentence if self._sentences is None else _spaced(self._sentences[sentence])

    def name(self, who: Contestant) -> str:
        return self(NAMES[who])

    def label(self, who: Contestant) -> str:
        return self(LABELS[who])

    def percent(self, share: float) -> str:
        """0.8125 is '81.2 %', 0.5 is '50 %'."""
        return self._short(share * 100) + " %"

    def points(self, share: float) -> str:
        """A difference in points of a hundred, with its sign: 0.12 is '+12', -0.034 is '−3.4'."""
        text = self._short(share * 100)
        return text if text.startswith(MINUS) or text == "0" else "+" + text

    def size(self, share: float) -> str:
        """Points without a sign."""
        return self._short(abs(share) * 100)

    def decimals(self, value: float, digits: int, *, signed: bool = False) -> str:
        """So many digits after the sign of the language."""
        return self._decimal(f"{value:{'+' if signed else ''}.{digits}f}")

    def interval(self, found: Difference) -> str:
        low, high = self.points(found.low), self.points(found.high)
        return self(
            "(95 % interval {low} to {high}, {questions})",
            low=low,
            high=high,
            questions=self.questions(found.cases),
        )

    def questions(self, count: int) -> str:
        return self("1 question") if count == 1 else self("{n} questions", n=count)

    def language_name(self, code: str) -> str:
        return self(LANGUAGES[code]) if code in LANGUAGES else code

    def _short(self, value: float) -> str:
        text = f"{value:.1f}".removesuffix(".0").replace("-", MINUS)
        return "0" if text == MINUS + "0" else self._decimal(text)

    def _decimal(self, text: str) -> str:
        return text.replace(".", ",") if self.language == "fr" else text


@cache
def phrases(language: str) -> Phrases:
    """What says it in a language; raises `KeyError` for one we do not speak."""
    return Phrases(language)


def _spaced(text: str) -> str:
    """French typography: a space that does not break before `? ! : ;` and inside guillemets."""
    return re.sub(r" ([?!:;»%])", "\N{NO-BREAK SPACE}\\1", text).replace("« ", "«\N{NO-BREAK SPACE}")
