"""Replay against forgetting: what a base model answered to general questions, and how far from it a tuned model went.

Owns the shape of a line of `replay.jsonl` and of the figures that reports tell. Knows no question and no trainer.
"""

from typing import Literal

from service.contract.base import Strict


class ReplayRow(Strict):
    """One line of `replay.jsonl`: a general question, and the base model's own greedy answer."""

    use: Literal["replayed", "measured"]
    """`measured`: never trained on; it says how much was forgotten."""
    question: str
    answer: str
    prompt_tokens: list[int]
    answer_tokens: list[int]
    """As they were generated, the end among them where it came in time."""
    base_sha256: str
    """Of the base model that answered, as an adapter's manifest names it."""


class Replayed(Strict):
    """What was replayed beside a job's own rows."""

    rows: int
    """Different general questions, written for Tailorbird and answered by the base model."""
    reads: int
    """How often one of them was read, over all steps."""
    sha256: str
    """Of `replay.jsonl`."""


class Forgetting(Strict):
    """How far the tuned model is from the base model where it was taught nothing: 0 and 1 for the base model."""

    questions: int
    """General questions that were never trained on, each with the base model's own answer."""
    tokens: int
    """Of these answers; the figures are means over them."""
    distance: float
    """Kullback-Leibler divergence of the tuned model from the base model for the next token, in nats."""
    distance_before: float
    """The same before the first step: 0 where the job did not go on from an adapter."""
    same: float
    """The share of tokens of which the tuned model finds the same one likeliest as the base model does."""
    same_before: float
