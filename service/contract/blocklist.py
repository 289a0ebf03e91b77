"""Which texts repeat a held-out question: the one rule of the import, of the dataset build and of the trainer.

A text holds a question when it is the same, white space, case and punctuation aside, or when more than half
of the question's runs of eight words stand in it, after the 8-grams by which Tülu 3 was decontaminated
(arXiv 2411.15124, section 3.2). A question of fewer than eight words has to be the same. Knows no files.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from service.contract.datasets import read_objects
from service.contract.evaluations import Case

GRAM = 8
"""Words of a run."""
_WORD = re.compile(r"\w+")


class Match(NamedTuple):
    """A held-out question that a text repeats, and how."""

    name: str
    how: Literal["same", "runs"]
    share: float
    """Of the question's runs, so many stand in the text."""


class Blocklist:
    """The held-out questions of an assistant, ready to be looked for."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self.questions: list[tuple[str, str]] = []
        """Name and text of each."""
        self._sizes: list[int] = []
        """Runs of eight words of each question."""
        self._whole: dict[str, int] = {}
        self._grams: dict[tuple[str, ...], list[int]] = {}
        for at, case in enumerate(cases):
            question = case.messages[-1].text() if case.messages else case.question or ""
            asked = _words(question)
            grams = _grams(asked)
            self.questions.append((case.id or f"line {at + 1}", question))
            self._sizes.append(len(grams))
            self._whole.setdefault(" ".join(asked), at)
            for gram in grams:
                self._grams.setdefault(gram, []).append(at)

    @classmethod
    def read(cls, lines: Iterable[bytes]) -> "Blocklist":
        """Of a file of cases. Raises `BadRow`, or pydantic's `ValidationError`, for a line that is none."""
        return cls(Case.model_validate(value) for _, value in read_objects(lines))

    def asked(self, texts: Iterable[str]) -> Match | None:
        """The held-out question that one of the texts repeats, or none."""
        if not self.questions:
            return None
        return next((found for text in texts if (found := self.match(text)) is not None), None)

    def match(self, text: str) -> Match | None:
        """The held-out question that `text` repeats, or none. Time: proportional to the text."""
        found = _words(text)
        at = self._whole.get(" ".join(found))
        if at is not None:
            return Match(self.questions[at][0], "same", 1.0)
        if self._grams:
            shared = Counter(case for gram in _grams(found) for case in self._grams.get(gram, ()))
            for case, count in shared.items():
                if 2 * count > self._sizes[case]:
                    return Match(self.questions[case][0], "runs", round(count / self._sizes[case], 3))
        return None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _grams(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + GRAM]) for at in range(len(words) - GRAM + 1)}
