"""Which texts repeat a held-out question: the one rule of the dataset build and of the trainer.

A text holds a question when it is the same, white space, case and punctuation aside, or when more than half
of the question's runs of eight words stand in it, after the 8-grams by which Tülu 3 was decontaminated
(arXiv 2411.15124, section 3.2). A question of fewer than eight words has to be the same. Knows no files.
"""

import re
from collections import Counter
from collections.abc import Iterable

from service.contract.evaluations import Case

GRAM = 8
"""Words of a run."""
_WORD = re.compile(r"\w+")


class Blocklist:
    """The held-out questions of an assistant, ready to be looked for."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self._names: list[str] = []
        self._sizes: list[int] = []
        """Runs of eight words of each question."""
        self._whole: dict[str, int] = {}
        self._grams: dict[tuple[str, ...], list[int]] = {}
        for at, case in enumerate(cases):
            asked = _words(_question(case))
            grams = _grams(asked)
            self._names.append(case.id or f"line {at + 1}")
            self._sizes.append(len(grams))
            self._whole.setdefault(" ".join(asked), at)
            for gram in grams:
                self._grams.setdefault(gram, []).append(at)

    def asked(self, texts: Iterable[str]) -> str | None:
        """The name of the held-out question that one of the texts repeats, or none."""
        if not self._names:
            return None
        return next((name for text in texts if (name := self.holding(text)) is not None), None)

    def holding(self, text: str) -> str | None:
        """The name of the held-out question that `text` repeats, or none. Time: proportional to the text."""
        found = _words(text)
        at = self._whole.get(" ".join(found))
        if at is None and self._grams:
            shared = Counter(case for gram in _grams(found) for case in self._grams.get(gram, ()))
            at = next((case for case, n in shared.items() if 2 * n > self._sizes[case]), None)
        return None if at is None else self._names[at]


def _question(case: Case) -> str:
    if case.messages:
        return case.messages[-1].text()
    return case.question or ""


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _grams(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + GRAM]) for at in range(len(words) - GRAM + 1)}
