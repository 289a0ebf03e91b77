"""Every sentence on the screens, in each language, by name.

Owns the lookup and how a refusal of the gateway is said. The sentences are in `en` and `fr`, a file for each page.
"""

import re
from functools import cache
from typing import Any

from ui.client import Refused
from ui.words.en import ENGLISH
from ui.words.fr import FRENCH

LANGUAGES: dict[str, dict[str, str]] = {"en": ENGLISH, "fr": FRENCH}


class Words:
    """`w("name", n=3)` gives the sentence; `n=1` (in French also 0) takes `name_one` where there is one."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._sentences = LANGUAGES[language]

    def __call__(self, name: str, /, **values: Any) -> str:
        n = values.get("n")
        single = n == 1 or (n == 0 and self.language == "fr")
        sentence = self._sentences.get(f"{name}_one") if single else None
        figures = {
            key: number(self.language, value) if type(value) is int else value
            for key, value in values.items()
        }
        text = (sentence or self._sentences[name]).format(**figures)
        return _spaced(text) if self.language == "fr" else text

    def has(self, name: str) -> bool:
        return name in self._sentences


@cache
def words(language: str) -> Words:
    """The words of a language; raises `KeyError` for one we do not speak."""
    return Words(language)


def number(language: str, value: int) -> str:
    """A count with its thousands apart."""
    return f"{value:,}" if language == "en" else f"{value:,}".replace(",", "\u202f")


def figure(w: Words, value: Any, digits: int | None = None) -> str:
    """A value as people write it: yes and no, and the signs of the language; `digits` after the decimal one, or few."""
    if isinstance(value, bool):
        return w("yes") if value else w("no")
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}".replace(",", "\u202f" if w.language == "fr" else ",")
    if not isinstance(value, float) and digits is None:
        return str(value)
    text = f"{value:.3g}" if digits is None else f"{value:.{digits}f}"
    return text.replace(".", ",") if w.language == "fr" else text


def refusal(w: Words, refused: Refused) -> str:
    """The fact and the next step. Ours where the code has a sentence of its own, else the gateway's."""
    if refused.line is not None and (said := at_line(w, refused.code, refused.line, refused.message)):
        return said
    if w.has(f"error_{refused.code}"):
        return w(f"error_{refused.code}", message=refused.message)
    return w("error_other", message=refused.message) if refused.message else w("error_unknown")


def at_line(w: Words, code: str, line: int, message: str) -> str | None:
    """Why a whole file is refused for one of its lines; none for a code without a sentence."""
    name = f"at_line_{code}"
    return w(name, line=line, message=message) if w.has(name) else None


def _spaced(text: str) -> str:
    """French typography: a space that does not break before `? ! : ;` and inside guillemets."""
    return re.sub(r" ([?!:;»%])", "\u00a0\\1", text).replace("« ", "«\u00a0")
