"""The metrics that need no judge: small pure functions of an answer and a case, 0 to 1.

Owns what each figure means and what it needs of a case. An empty answer scores 0 on all of them.
Knows no gateway, no file and no statistics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from evals.cases import has_reference
from evals.wording import normalise, says, words
from service.contract.evaluations import Case

Need = Literal["facts", "reference", "either"]


@dataclass(frozen=True)
class Metric:
    """One figure: its name in `report.json`, its title and meaning for people, what a case must hold."""

    name: str
    title: str
    meaning: str
    need: Need
    score: Callable[[str, Case], float] | None = None
    """`None` for a metric that ragas computes."""
    gated: bool = True

    def applies(self, case: Case) -> bool:
        """Decided by the case alone, before any answer: no answer can leave the denominator."""
        if self.need == "facts":
            return bool(case.facts)
        return has_reference(case) or (self.need == "either" and bool(case.facts))


def fact_recall(answer: str, facts: list[str | list[str]]) -> float:
    """Share of the required facts that the answer states; a list among the facts is a choice of wordings.

    Keyword recall over normalised text, in the manner of 'required-fact recall'.
    """
    found = facts_found(answer, facts)
    return sum(found) / len(found) if found else 0.0


def facts_found(answer: str, facts: list[str | list[str]]) -> list[bool]:
    """For each fact, whether the answer states it."""
    choices = ([fact] if isinstance(fact, str) else fact for fact in facts)
    return [any(says(answer, wording) for wording in wordings) for wordings in choices]


def exact_match(answer: str, reference: str) -> float:
    """1 when both are the same after normalisation, closing punctuation aside (SQuAD, Rajpurkar 2016)."""
    given, wanted = (normalise(text).rstrip(" .!?…").strip() for text in (answer, reference))
    return float(bool(given) and given == wanted)


def chrf(answer: str, reference: str) -> float:
    """Character n-gram F-score, order 6, beta 2 (Popović 2015, WMT), by sacrebleu's sentence score."""
    if not answer.strip() or not reference.strip():
        return 0.0
    return min(1.0, _chrf().sentence_score(answer, [reference]).score / 100)


def rouge_l(answer: str, reference: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004), by rouge-score with our own words.

    Its default tokenizer keeps only a-z and 0-9, which tears 'é' out of French words.
    """
    if not words(answer) or not words(reference):
        return 0.0
    return float(_rouge().score(reference, answer)["rougeL"].fmeasure)


def length_ratio(answer: str, reference: str) -> float:
    """Shorter over longer, in words: 1 is as long as the reference. Reported, never gated."""
    lengths = sorted((len(words(answer)), len(words(reference))))
    return lengths[0] / lengths[1] if lengths[0] else 0.0


METRICS = (
    Metric(
        "fact_recall",
        "Facts stated",
        "Share of the facts a right answer must hold that the answer states.",
        "facts",
        lambda answer, case: fact_recall(answer, case.facts),
    ),
    Metric(
        "exact_match",
        "Word for word",
        "Share of answers that are the reference, letter case and punctuation aside.",
        "reference",
        lambda answer, case: exact_match(answer, case.reference or ""),
    ),
    Metric(
        "chrf",
        "Wording (chrF)",
        "How much of the reference's wording, in pieces of up to six letters, the answer shares.",
        "reference",
        lambda answer, case: chrf(answer, case.reference or ""),
    ),
    Metric(
        "rouge_l",
        "Word order (ROUGE-L)",
        "Longest run of words, in order, that the answer shares with the reference.",
        "reference",
        lambda answer, case: rouge_l(answer, case.reference or ""),
    ),
    Metric(
        "length_ratio",
        "Length",
        "1 is as long as the reference; shorter and longer both lower it. Reported, not decided on.",
        "reference",
        lambda answer, case: length_ratio(answer, case.reference or ""),
        gated=False,
    ),
)
"""The in-house metrics, the most telling first."""


class _Words:
    """The tokenizer that rouge-score asks for."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@lru_cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


@lru_cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
