"""An estimate as people read it: settings and their reasons, time and memory, faults and their mend, rows by token.

Owns how codes and figures become sentences, and which settings are said without a specialist's words. Asks nobody.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from service.contract import folder
from service.contract.estimates import Estimate, Finding, Range, ShownSequence, ShownToken
from ui.words import Words, figure

PLAIN = (
    "n_epochs", "batch_size", "learning_rate_multiplier", "beta", "sft_weight", "desirable_weight",
    "early_stopping_patience", "replay",
)  # fmt: skip
"""Settings that everybody is told of; the others mean something to specialists alone."""
UNNAMED = ("learning_rate_multiplier", "beta", "sft_weight", "desirable_weight")
"""Settings whose sentence is that of the usual value: another one is told as it was typed."""
LESS_OFTEN = ("non_preferred", "undesirable")
UNITS = (("seconds", 1.0, 90.0), ("minutes", 60.0, 5400.0), ("hours", 3600.0, float("inf")))
"""Of a length of time: its name, its seconds, and up to how many seconds it is used."""


@dataclass(frozen=True)
class Setting:
    """What was settled, and why, in plain words."""

    name: str
    what: str
    why: str


@dataclass(frozen=True)
class Extent:
    """How much of something it takes, how sure that is, and on what it rests."""

    text: str
    confidence: str
    sure: str
    why: str


@dataclass(frozen=True)
class Fault:
    """What is wrong, where, and how to mend it; `sent` is as the service said it, in English."""

    code: str
    title: str
    mend: str
    where: str
    sent: str


@dataclass(frozen=True)
class Run:
    """Tokens next to each other that are learned alike; without tokens, where the middle was left out."""

    learned: bool
    tokens: list[ShownToken]


def settings(w: Words, estimate: Estimate) -> list[Setting]:
    """The settings that everybody is told of, in the order in which they are understood."""
    found: list[Setting] = []
    for name in PLAIN:
        if name not in estimate.hyperparameters:
            continue
        value = estimate.hyperparameters[name]
        sentence = f"how_{name}" if value or not w.has(f"how_{name}_off") else f"how_{name}_off"
        chosen = estimate.chosen.get(name)
        why = w("because_you") if chosen is None else ""
        if chosen is not None and w.has(f"because_{chosen.code}"):
            values = {**chosen.values, "n": estimate.look.rows, "held_out": estimate.held_out}
            why = w(f"because_{chosen.code}", **values)
        what = w(sentence, n=value, replayed=estimate.look.replay_rows)
        if chosen is None and name in UNNAMED:
            what = w("how_given", setting=w(f"setting_{name}"), value=figure(w, value))
        found.append(Setting(name, what, why))
    return found


def seconds(w: Words, estimate: Estimate) -> Extent:
    """How long it may take."""
    return _extent(w, "time", estimate.seconds, _length)


def memory(w: Words, estimate: Estimate) -> Extent:
    """What it may take of the machine's memory."""
    return _extent(w, "memory", estimate.memory_bytes, _size)


def faults(w: Words, estimate: Estimate) -> list[Fault]:
    """Everything that stands in the way of a start."""
    found = [_fault(w, one) for one in estimate.look.findings]
    able = estimate.servable
    if not able.rank:
        found.append(Fault("rank", w("fault_rank"), w("mend_fault_rank", most=able.max_rank), "", ""))
    if able.modules is False:
        found.append(
            Fault("modules", w("fault_modules"), w("mend_fault_modules"), "", ", ".join(able.not_served))
        )
    return found


def where(w: Words, row: str | None, rows: int = 1) -> str:
    """A row's name in the reader's language; one that is none of ours as it is, and a field's not at all."""
    if row is None:
        return ""
    line = re.search(r"line (\d+)", row)
    at = "at_line_held_out" if row.startswith(folder.VALIDATION) else "at_line"
    told = w(at, line=line[1]) if line else row if " " in row else ""
    return told if rows == 1 else w("at_first", where=told, rows=rows)


def runs(sequence: ShownSequence) -> list[Run]:
    """A sequence's tokens, those that are learned apart from those that are only read."""
    found: list[Run] = []
    middle = len(sequence.tokens) // 2 if sequence.omitted else None
    for at, token in enumerate(sequence.tokens):
        if at == middle:
            found.append(Run(False, []))
        if not found or not found[-1].tokens or found[-1].learned != token.loss:
            found.append(Run(token.loss, []))
        found[-1].tokens.append(token)
    return found


def _extent(w: Words, name: str, found: Range, said: Callable[[Words, float, float], str]) -> Extent:
    text = w("not_known")
    if found.low is not None and found.high is not None:
        text = said(w, found.low, found.high)
    sure, why = w(f"sure_{found.confidence}", n=found.jobs), w(f"because_{name}_{found.basis}", n=found.jobs)
    return Extent(text, found.confidence, sure, why)


def _fault(w: Words, one: Finding) -> Fault:
    known = w.has(f"fault_{one.code}")
    return Fault(
        one.code, w(f"fault_{one.code}") if known else "", w(f"mend_fault_{one.code}") if known else "",
        where(w, one.row, one.rows), one.message,
    )  # fmt: skip


def _length(w: Words, low: float, high: float) -> str:
    """A length of time; its unit is said once where both ends have the same."""
    (one, less), (other, more) = _rounded(low), _rounded(high)
    if one != other:
        less_said = w(f"span_{one}", n=less, count=less)
        return w("from_to", low=less_said, high=w(f"span_{other}", n=more, count=more))
    count = str(more) if less == more else w("from_to", low=less, high=more)
    return w(f"span_{one}", n=more, count=count)


def _rounded(found: float) -> tuple[str, int]:
    """The unit in which a length is said, and how many of it."""
    name, unit, _ = next(one for one in UNITS if found < one[2])
    count = max(1, round(found / unit))
    return name, round(count, -1) if name == "seconds" and count > 10 else count


def _size(w: Words, low: float, high: float) -> str:
    less, more = (figure(w, size / 1e9, 1) for size in (low, high))
    return w("size_gb", size=less if less == more else w("from_to", low=less, high=more))
