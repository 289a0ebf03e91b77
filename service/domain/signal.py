"""What is counted of an assistant's material, and what the counts say of it: the meters before a round.

Owns the thresholds and the advice. The counts are kept by `material`, so that the meters are read without a look at
the rows: a median is read from a scale of lengths, one step of which is 6 %.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.datasets import Kind
from service.contract.signal import ENOUGH, ONE_PERSON, Finding, FindingCode, Signal
from service.db import tables
from service.domain.identity import pseudonym
from service.domain.preferences import KEPT, Piece, ratio_of

KINDS: tuple[Kind, ...] = ("dpo", "sft", "kto")
SMALL = ("reason", "adapters", "ratio", "side", "label", "compared", "distinct")
"""What has few names, however much material there is; people and conversations have many."""
FREE_ROWS = 20
"""So many rows everybody may give, however few the others gave."""
ENOUGH_COMPARED = 10
"""What several people judged, from which on their agreement says something."""
AGREED = 1000
"""What full agreement on one subject counts."""
Count = tuple[str, str, str]
"""Kind, what is counted, and its name."""


# Made once: to put a question together takes longer than to answer it.
_OF = tables.Tally.assistant == bindparam("assistant")
_SMALL = select(tables.Tally.kind, tables.Tally.what, tables.Tally.name, tables.Tally.n).where(
    _OF, tables.Tally.kind.in_((*KINDS, "any")), tables.Tally.n > 0, tables.Tally.what.in_(SMALL)
)
_LARGEST = (
    select(tables.Tally.name, tables.Tally.n)
    .where(_OF, tables.Tally.kind == bindparam("kind"), tables.Tally.what == "person")
    .order_by(tables.Tally.n.desc(), tables.Tally.name.desc())
    .limit(1)
)


@dataclass(frozen=True)
class Counts:
    """The counts of one kind of rows."""

    of: dict[str, dict[str, int]]
    """What is counted: name to number."""
    largest: tuple[str, int] | None
    """The id of who gave the most rows, and how many."""

    @property
    def kept(self) -> int:
        return self.of["reason"].get(KEPT, 0)

    def over_share(self, share: float) -> int:
        """Rows of one person that are too many, where nobody may give more than `share` of all."""
        if self.largest is None or self.largest[1] == self.kept or share >= 1:
            return 0  # a lone person's share cannot be smaller: that is said, not cut
        others = self.kept - self.largest[1]
        return max(0, self.largest[1] - max(FREE_ROWS, int(others * share / (1 - share))))


def counted(piece: Piece) -> Iterator[Count]:
    """What a row that trains adds one to."""
    kind = piece.kind
    yield kind, "person", piece.user_id
    yield kind, "adapters", piece.adapters
    if piece.topic is not None:
        yield kind, "topic", piece.topic
    if piece.ratio is not None:
        yield kind, "ratio", str(piece.ratio)
    if piece.left is not None:
        yield kind, "side", "left" if piece.left else "right"
    if kind == "kto":
        yield kind, "label", "up" if piece.side == 1 else "down"
    if kind != "sft":
        yield "any", "person", piece.user_id
        yield "any", "conversation", piece.conversation


async def counts(session: AsyncSession, assistant: str) -> dict[str, Counts]:
    """By kind of rows, and `any`: a few hundred rows of `tallies`, however much material there is."""
    found: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for kind, what, name, n in await session.execute(_SMALL, {"assistant": assistant}):
        found[kind][what][name] = n
    largest: dict[str, tuple[str, int]] = {}
    for kind in KINDS:
        first = (await session.execute(_LARGEST, {"assistant": assistant, "kind": kind})).first()
        if first is not None and first[1] > 0:
            largest[kind] = (first[0], first[1])
    return {kind: Counts(found[kind], largest.get(kind)) for kind in (*KINDS, "any")}


def measured(kind: Kind, found: Counts, *, live: str) -> Signal:
    """The meters of one kind of rows; `live` is the adapter that would be trained further, or `base`."""
    rows, ratios, sides = found.kept, found.of["ratio"], found.of["side"]
    compared = found.of["compared"].get("all", 0)
    stale = sum(n for names, n in found.of["adapters"].items() if live not in names.split(" "))
    known = sum(sides.values())
    largest = found.largest
    signal = Signal(
        rows=rows, people=found.of["distinct"].get("person", 0),
        length_ratio=round(ratio_of(_median(ratios)), 2) if ratios else None,
        agreement=found.of["compared"].get("same", 0) / AGREED / compared if compared else None, compared=compared,
        off_policy_share=stale / rows if rows else None,
        largest_share=largest[1] / rows if largest else None,
        largest_person=pseudonym(largest[0]) if largest else None,
        left_share=sides.get("left", 0) / known if known else None, sides_known=known,
        findings=[], verdict="good",
    )  # fmt: skip
    signal.findings = list(_findings(kind, signal, found))
    if signal.findings:
        signal.verdict = "bad" if any(one.blocks for one in signal.findings) else "weak"
    return signal


def _findings(kind: Kind, signal: Signal, found: Counts) -> Iterator[Finding]:
    if signal.rows >= ENOUGH:
        yield from _of_people(signal)
        if kind == "dpo":
            yield from _of_lengths(signal)
            yield from _of_policy(signal)
    if kind == "dpo" and signal.left_share is not None and signal.sides_known >= ENOUGH:
        off = abs(signal.left_share - 0.5)
        if off > 0.15:
            yield _finding(
                "one_side", off > 0.3,
                f"Of two answers side by side, the one on the left was preferred in {signal.left_share:.0%}. People "
                "may be judging the place and not the answer: ask them again with the sides drawn anew.",
            )  # fmt: skip
    if signal.agreement is not None and signal.compared >= ENOUGH_COMPARED and signal.agreement < 0.75:
        yield _finding(
            "disagreement", signal.agreement < 0.6,
            f"Where two people judged the same, they agreed in {signal.agreement:.0%}; tossing a coin gives about "
            "half. Agree on what a good answer is, and have the contested ones judged again.",
        )  # fmt: skip
    labels = found.of["label"]
    if kind == "kto" and signal.rows and len(labels) < 2:
        which = "up" if "up" in labels else "down"
        yield _finding(
            "one_label", True,
            f"Every thumb points {which}. Learning needs both: ask for the other kind as well.",
        )  # fmt: skip


def _of_people(signal: Signal) -> Iterator[Finding]:
    if signal.largest_share is not None and signal.largest_share >= ONE_PERSON:
        alone = signal.people == 1
        yield _finding(
            "one_person", False,
            f"{'All' if alone else f'{signal.largest_share:.0%}'} of the rows come from one person, "
            f"{signal.largest_person}. " + ("" if alone else "What is over that person's share does not train. ")
            + "Ask others to judge answers too, or the assistant learns one person's taste.",
        )  # fmt: skip


def _of_lengths(signal: Signal) -> Iterator[Finding]:
    ratio = signal.length_ratio
    if ratio is not None and ratio > 1.5:
        yield _finding(
            "longer_answers", ratio > 3,
            f"The preferred answer is {ratio:.1f} times as long as the other (median), so the assistant would learn to "
            "be long rather than right. Shorten corrections to what is needed, or learn them as examples (sft).",
        )  # fmt: skip
    if ratio is not None and ratio < 1 / 1.5:
        yield _finding(
            "shorter_answers", ratio < 1 / 3,
            f"The preferred answer is {ratio:.2f} times as long as the other (median), so the assistant would learn to "
            "be short rather than right. Learn the corrections as examples (sft) first, then judge its new answers.",
        )  # fmt: skip


def _of_policy(signal: Signal) -> Iterator[Finding]:
    if signal.off_policy_share is not None and signal.off_policy_share > 0.5:
        yield _finding(
            "off_policy", signal.off_policy_share > 0.95,
            f"In {signal.off_policy_share:.0%} of the pairs neither answer comes from what is live now, so they say "
            "little about its own mistakes. Judge some answers of the live release first.",
        )  # fmt: skip


def _finding(code: FindingCode, blocks: bool, message: str) -> Finding:
    return Finding(code=code, blocks=blocks, message=message)


def _median(steps: dict[str, int]) -> float:
    """The lower median of steps, each with its number of rows."""
    half, seen = (sum(steps.values()) + 1) // 2, 0
    for step, n in _in_order(steps):
        seen += n
        if seen >= half:
            return step
    raise ValueError("no median of nothing")


def _in_order(steps: dict[str, int]) -> Iterable[tuple[int, int]]:
    return sorted((int(step), n) for step, n in steps.items())
