"""Held-out questions, and whether a row comes too near to one: what is measured on must not be learnt.

A row touches a case when a question or an answer in it repeats the case's question, by the rule of the trainer
(`service.contract.blocklist`); or when its last question and the case's share 0.8 of their runs of three words.
Only questions are compared: the facts of a good answer are what training is for.
"""

from collections import defaultdict
from collections.abc import Iterable

from service.contract.blocklist import Blocklist
from service.contract.sheets import Touch
from service.intake import minhash
from service.intake.words import alike, runs, words


class HeldOut:
    def __init__(self, paths: Iterable[str]) -> None:
        """Raises `BadRow`, or pydantic's `ValidationError`, for a file that holds no cases."""
        self._lists: list[Blocklist] = []
        self._bands: dict[int, list[int]] = defaultdict(list)
        self._near: list[tuple[str, set[str]]] = []
        """Name and runs of three of each case."""
        for path in paths:
            with open(path, "rb") as lines:
                self._lists.append(Blocklist.read(lines))
            for name, question in self._lists[-1].questions:
                self._add(name, runs(words(question), minhash.RUN))

    def __len__(self) -> int:
        return len(self._near)

    def touch(self, line: int, questions: list[str], spoken: str) -> Touch | None:
        """The first case that a row comes too near to, by what is asked in it, and by all that is said."""
        for one in self._lists:
            if (found := one.asked([*questions, spoken])) is not None:
                return Touch(line=line, case=found.name, how=found.how, share=found.share)
        return self._by_bands(line, words(questions[-1])) if self._near and questions else None

    def _by_bands(self, line: int, asked: list[str]) -> Touch | None:
        mine = runs(asked, minhash.RUN)
        for band in minhash.bands(mine):
            for case in self._bands.get(band, ()):
                name, theirs = self._near[case]
                if (share := alike(mine, theirs)) >= minhash.LIKE:
                    return Touch(line=line, case=name, how="near", share=round(share, 3))
        return None

    def _add(self, name: str, short: set[str]) -> None:
        self._near.append((name, short))
        for band in minhash.bands(short):
            self._bands[band].append(len(self._near) - 1)
