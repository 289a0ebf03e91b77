"""Which texts repeat a held-out question: the one rule of the import, of the dataset build and of the trainer.

A text holds a question when it is the same, white space, case and punctuation aside; when more than half of the
question's runs of eight words stand in it, after the 8-grams by which Tülu 3 was decontaminated (arXiv 2411.15124,
section 3.2); or when it is nearly the same: four fifths of the words of both are common to them, in any order. A
question of fewer than eight words has to be the same: with one word changed it often asks something else.
Knows no files.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from service.contract.datasets import read_objects
from service.contract.evaluations import Case
from service.contract.words import Near, words

GRAM = 8
"""Words of a run, and of a question that may be nearly the same as another."""


class Match(NamedTuple):
    """A held-out question that a text repeats, and how."""

    name: str
    how: Literal["same", "runs", "near"]
    share: float
    """Of the question's runs, so many stand in the text; of both texts' words, so many are common."""


class Blocklist:
    """The held-out questions of an assistant, ready to be looked for."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self.questions: list[tuple[str, str]] = []
        """Name and text of each."""
        self._sizes: list[int] = []
        """Runs of eight words of each question."""
        several: list[set[str]] = []
        self._whole: dict[str, int] = {}
        self._grams: dict[tuple[str, ...], list[int]] = {}
        for at, case in enumerate(cases):
            question = case.messages[-1].text() if case.messages else case.question or ""
            asked = words(question)
            several.append(_several(asked))
            grams = _grams(asked)
            self.questions.append((case.id or f"line {at + 1}", question))
            self._sizes.append(len(grams))
            self._whole.setdefault(" ".join(asked), at)
            for gram in grams:
                self._grams.setdefault(gram, []).append(at)
        self._near = Near(several)

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
        found = words(text)
        at = self._whole.get(" ".join(found))
        if at is not None:
            return Match(self.questions[at][0], "same", 1.0)
        if self._grams:
            shared = Counter(case for gram in _grams(found) for case in self._grams.get(gram, ()))
            for case, count in shared.items():
                if 2 * count > self._sizes[case]:
                    return Match(self.questions[case][0], "runs", round(count / self._sizes[case], 3))
        near = next(iter(self._near.find(_several(found)).items()), None)
        return Match(self.questions[near[0]][0], "near", round(near[1], 3)) if near is not None else None


def _several(found: list[str]) -> set[str]:
    """Its words, where it has enough of them that a text may be nearly the same."""
    return set(found) if len(found) >= GRAM else set()


def _grams(found: list[str]) -> set[tuple[str, ...]]:
    return {tuple(found[at : at + GRAM]) for at in range(len(found) - GRAM + 1)}
