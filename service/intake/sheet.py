"""Gathers a data sheet, row by row: figures that grow with what is different in a file, not with its length."""

import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

from service.contract.datasets import Kind
from service.contract.sheets import Bin, DataSheet, Lengths
from service.contract.words import words
from service.intake import rows
from service.intake.languages import language
from service.intake.spool import SLICE, Beside

MAX_LABELS = 500
"""Different answers up to which they count as labels of a classification."""
LABEL = 60
"""Characters a label has at most."""
MAX_SOURCES = 5000
"""Different sources that are counted; further ones count as `others`."""
SHOWN = 50
BINS = 24
"""Of a plot of lengths."""
BATCH = 256
"""Texts that the tokenizer takes at once."""


class Tally:
    """Lengths, counted: three figures of each are kept, so that there are few different ones."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._total = self._count = 0

    def add(self, length: int) -> None:
        self._total += length
        self._count += 1
        step = 10 ** max(0, len(str(length)) - 3)
        self._counts[length // step * step] += 1

    def lengths(self) -> Lengths:
        return Lengths(
            mean=round(self._total / max(1, self._count), 1), least=min(self._counts, default=0),
            median=self._quantile(0.5), p95=self._quantile(0.95), most=max(self._counts, default=0),
            total=self._total, bins=self._bins(),
        )  # fmt: skip

    def _bins(self) -> list[Bin]:
        """19 rows of 20 fill most of the plot, however long the longest is."""
        if not self._counts:
            return []
        width, longest = self._quantile(0.95) * 5 // (4 * BINS) + 1, max(self._counts)
        rows = Counter[int]()
        for length, count in self._counts.items():
            rows[min(length // width, BINS - 1)] += count
        return [
            Bin(least=at * width, most=longest if at == max(rows) else (at + 1) * width - 1, rows=rows[at])
            for at in range(max(rows) + 1)
        ]

    def _quantile(self, share: float) -> int:
        left = share * self._count
        for length in sorted(self._counts):
            left -= self._counts[length]
            if left <= 0:
                return length
        return 0


class Tokens:
    """Counts tokens with the base model's own tokenizer, many texts at once; without one it counts nothing."""

    def __init__(self, path: str | None) -> None:
        self._tokenizer: Any = None
        self._waiting: list[str] = []
        self.tally = Tally()
        if path is not None and Path(path).is_file():
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(path)

    def add(self, text: str) -> None:
        if self._tokenizer is not None:
            self._waiting.append(text)
            if len(self._waiting) >= BATCH:
                self._count()

    def lengths(self) -> Lengths | None:
        if self._tokenizer is None:
            return None
        self._count()
        return self.tally.lengths()

    def _count(self) -> None:
        for encoded in self._tokenizer.encode_batch_fast(self._waiting, add_special_tokens=False):
            self.tally.add(len(encoded))
        self._waiting.clear()


class People:
    """Whose rows they are, by a number of eight bytes each: there may be as many people as rows."""

    def __init__(self) -> None:
        self._numbers = array("Q")

    def add(self, person: str) -> None:
        self._numbers.append(rows.number(person))

    def counted(self) -> tuple[int, int]:
        """How many they are, and the rows of whoever has most."""
        people = largest = 0
        slices = 1 + len(self._numbers) // SLICE
        for part in range(slices):
            counts = Counter(number for number in self._numbers if number % slices == part)
            people, largest = people + len(counts), max(largest, *counts.values(), 0)
        return people, largest


class Gathering:
    """Fed every row that stays."""

    def __init__(self, kind: Kind, tokenizer: str | None) -> None:
        self.kind: Kind = kind
        self.rows = 0
        self._prompt, self._answer = Tally(), Tally()
        self._tokens = Tokens(tokenizer)
        self._languages: Counter[str] = Counter()
        self._labels: Counter[str] | None = Counter()
        self._sources: Counter[str] = Counter()
        self._people = People()
        self._longer = 0

    def add(self, row: dict[str, Any], beside: Beside) -> None:
        self.rows += 1
        prompt, answers = rows.prompt(row, self.kind), rows.answers(row, self.kind)
        asked = [word for one in prompt if one["role"] == "user" for word in words(rows.text(one))]
        said = [words(rows.text(one)) for one in answers]
        self._prompt.add(len(asked))
        self._answer.add(len(said[0]))
        self._tokens.add("\n".join(rows.text(one) for one in [*prompt, *answers]))
        self._languages[language(asked + said[0])] += 1
        self._longer += self.kind == "dpo" and len(said[0]) > len(said[1])
        self._label(
            "desirable" if row.get("label") else "undesirable"
        ) if self.kind == "kto" else self._label(rows.text(answers[0]).strip())
        if beside.person:
            self._people.add(beside.person)
        if source := beside.source:
            name = source if source in self._sources or len(self._sources) < MAX_SOURCES else "others"
            self._sources[name] += 1

    def sheet(self, **more: Any) -> DataSheet:
        """The sheet; `more` is what the rows do not tell."""
        people, largest = self._people.counted()
        return DataSheet(
            kind=self.kind, rows=self.rows, prompt_words=self._prompt.lengths(), answer_words=self._answer.lengths(),
            tokens=self._tokens.lengths(), languages=dict(self._languages.most_common()), labels=self._balance(),
            longer_chosen=self._longer if self.kind == "dpo" else None,
            people=people or None, largest_share=round(largest / self.rows, 4) if people else None,
            sources=dict(self._sources.most_common(SHOWN)), created_at=int(time.time()), **more,
        )  # fmt: skip

    def _label(self, answer: str) -> None:
        if self._labels is None:
            return
        if len(answer) > LABEL or (answer not in self._labels and len(self._labels) >= MAX_LABELS):
            self._labels = None
            return
        self._labels[answer] += 1

    def _balance(self) -> dict[str, int]:
        """Labels, where the answers are some: in a classification each comes again and again."""
        if not self._labels or (self.kind != "kto" and self.rows < 3 * len(self._labels)):
            return {}
        return dict(self._labels.most_common())
