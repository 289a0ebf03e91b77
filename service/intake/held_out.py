"""Held-out questions, and whether a row comes too near to one: what is measured on must not be learnt.

A row touches a case when its question is the case's; when at least half of the case's runs of eight words stand in
the row; or when the two questions share 0.8 of their runs of three words. Only questions are compared: the facts
of a good answer are what training is for.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from service.contract.datasets import BadRow, read_objects
from service.contract.sheets import Touch
from service.intake import minhash
from service.intake.words import alike, runs, words

RUN = 8
"""Words of a run: long enough that two texts do not share one by chance."""
HALF = 0.5


class HeldOut:
    def __init__(self, paths: Iterable[str]) -> None:
        self._same: dict[str, str] = {}
        self._runs: dict[str, list[int]] = defaultdict(list)
        self._bands: dict[int, list[int]] = defaultdict(list)
        self._cases: list[tuple[str, int, set[str]]] = []
        """Name, number of runs of eight, runs of three."""
        for path in paths:
            self._read(Path(path))

    def __len__(self) -> int:
        return len(self._cases)

    def touch(self, line: int, question: str, spoken: list[str]) -> Touch | None:
        """The first case that a row comes too near to, by its question and by all its words."""
        if not self._cases:
            return None
        asked = words(question)
        if (name := self._same.get(" ".join(asked))) is not None:
            return Touch(line=line, case=name, how="same", share=1.0)
        return self._by_runs(line, spoken) or self._by_bands(line, asked)

    def _by_runs(self, line: int, spoken: list[str]) -> Touch | None:
        if len(spoken) < RUN:
            return None
        met: Counter[int] = Counter()
        for run in runs(spoken, RUN):
            for case in self._runs.get(run, ()):
                met[case] += 1
        for case, count in met.most_common(1):
            name, total, _ = self._cases[case]
            if count >= total * HALF:
                return Touch(line=line, case=name, how="runs", share=round(count / total, 3))
        return None

    def _by_bands(self, line: int, asked: list[str]) -> Touch | None:
        mine = runs(asked, minhash.RUN)
        for band in minhash.bands(mine):
            for case in self._bands.get(band, ()):
                share = alike(mine, self._cases[case][2])
                if share >= minhash.LIKE:
                    return Touch(line=line, case=self._cases[case][0], how="near", share=round(share, 3))
        return None

    def _read(self, path: Path) -> None:
        with open(path, "rb") as lines:
            try:
                for number, case in read_objects(lines):
                    asked = case.get("messages") or [{"role": "user", "content": case.get("question")}]
                    self._add(str(case.get("id") or f"case {number}"), words(_text(asked[-1].get("content"))))
            except BadRow:
                return  # a case that cannot be read is not asked either

    def _add(self, name: str, asked: list[str]) -> None:
        if not asked:
            return
        at = len(self._cases)
        self._same[" ".join(asked)] = name
        long = runs(asked, RUN) if len(asked) >= RUN else set()
        short = runs(asked, minhash.RUN)
        self._cases.append((name, max(1, len(long)), short))
        for run in long:
            self._runs[run].append(at)
        for band in minhash.bands(short):
            self._bands[band].append(at)


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
