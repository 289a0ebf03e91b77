"""What the rows of a dataset are worth: what was measured of them, and what is wrong with it.

A finding that blocks holds a training round until somebody gives a reason to start all the same.
"""

from typing import Literal

from service.contract.base import Strict

ENOUGH = 20
"""Rows from which on a share of them says something."""
ONE_PERSON = 0.8
"""Share of preferences from which on they are one person's taste."""
FindingCode = Literal[
    "one_person", "longer_answers", "shorter_answers", "disagreement", "off_policy", "one_side", "one_label",
]  # fmt: skip


class Finding(Strict):
    code: FindingCode
    blocks: bool
    message: str
    """The fact, then what to do about it."""


class Signal(Strict):
    """Of the rows that the rules let through, before one person's share is capped. None: nothing to measure."""

    rows: int
    people: int
    length_ratio: float | None
    """Median of the preferred answer's characters / the other's, to within 3 %."""
    agreement: float | None
    """Of what several people judged: the share of pairs of them who said the same, on average."""
    compared: int
    """How many answers, or pairs of answers, several people judged."""
    off_policy_share: float | None
    """Share of rows in which no answer came from what is live now and would be trained further."""
    largest_share: float | None
    largest_person: str | None
    """Pseudonym of who gave the most rows."""
    left_share: float | None
    """Of preferences whose sides are known: how often the answer on the left was preferred."""
    sides_known: int
    findings: list[Finding]
    verdict: Literal["good", "weak", "bad"]
    """`bad` when a finding blocks, `weak` when there is one at all."""
