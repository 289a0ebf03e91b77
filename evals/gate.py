"""The rule that passes or holds a candidate. It is decided on one metric, named before the answers came.

A candidate is held when, in this order:

1. there is nothing to compare it with;
2. any planned question has no valid answer or score, of the candidate or of what it is compared with
   (a rival's failures would flatter the candidate);
3. fewer than six cases count: with five, even a clean sweep is chance once in 32, and a 95 %
   interval allows once in 40 (sign test);
4. against the live release: the lower bound of the paired difference is below minus the margin, so
   that "worse by more than the margin" is not ruled out (non-inferiority);
5. against the base, when nothing else is live: the lower bound is not above 0 (superiority);
6. a language with at least ten cases is worse on average by more than twice the margin.

Otherwise it passes. Every rule that holds is told, the first one first. Knows no file and no answer.
"""

from dataclasses import dataclass

from evals.phrases import NAMES, interval, language_name, percent, points, questions, size
from evals.statistics import cases_needed
from service.contract.evaluations import Contestant, Difference, Gate

FEWEST_CASES = 6
FEWEST_IN_A_LANGUAGE = 10


@dataclass(frozen=True)
class Evidence:
    """All that the verdict rests on."""

    title: str
    """The primary metric as people call it."""
    margin: float
    planned: int
    failed: int
    """Planned questions without a valid answer or primary score, of the candidate."""
    rival_failed: int = 0
    candidate: float = 0.0
    """Mean of the candidate, 0 to 1."""
    rival: float = 0.0
    deviation: float = 0.0
    """Sample standard deviation of the paired differences."""
    overall: Difference | None = None
    """Candidate minus rival over all cases; `None` when there is no rival."""
    languages: tuple[Difference, ...] = ()


def decide(evidence: Evidence) -> Gate:
    """Hold with every reason, or pass with what was found. Reasons are full sentences with figures."""
    overall = evidence.overall
    if overall is None:
        nobody = "There is no live release and no base model to compare the candidate with. Name one."
        return Gate(verdict="hold", reasons=[nobody])
    compared = _against_live if overall.against == "live" else _against_base
    reasons = [
        *_coverage(evidence, overall.against),
        *_too_few(evidence, overall),
        *compared(evidence, overall),
        *_languages(evidence),
    ]
    if reasons:
        return Gate(verdict="hold", reasons=[*reasons, _found(evidence, overall)])
    return Gate(verdict="pass", reasons=[_found(evidence, overall), _why_pass(evidence, overall)])


def _coverage(evidence: Evidence, against: Contestant) -> list[str]:
    counts: tuple[tuple[int, Contestant], ...] = (
        (evidence.failed, "candidate"),
        (evidence.rival_failed, against),
    )
    return [
        f"{failed} of the {evidence.planned} planned questions got no valid answer or score "
        f"for {NAMES[who]}: nothing can pass before every planned question counts. "
        "Remove the cause, listed with the failed questions, and evaluate again."
        for failed, who in counts
        if failed
    ]


def _too_few(evidence: Evidence, overall: Difference) -> list[str]:
    if overall.cases >= FEWEST_CASES:
        return []
    return [
        f"Only {questions(overall.cases)} can be scored on '{evidence.title}', "
        f"and below {FEWEST_CASES} even a clean sweep may be chance. Add cases and evaluate again."
    ]


def _against_live(evidence: Evidence, overall: Difference) -> list[str]:
    if overall.low >= -evidence.margin:
        return []
    allowed = f"{size(evidence.margin)} points"
    if overall.high < 0:
        return [
            f"The candidate is worse than the live release: {points(overall.mean)} points "
            f"on '{evidence.title}' {interval(overall)}, where a loss of at most {allowed} is allowed."
        ]
    return [
        f"It cannot be ruled out that the candidate is worse than the live release by more than {allowed}: "
        f"the difference on '{evidence.title}' is {points(overall.mean)} points {interval(overall)}. "
        + _more_cases(evidence, overall, overall.mean + evidence.margin)
    ]


def _against_base(evidence: Evidence, overall: Difference) -> list[str]:
    if overall.low > 0:
        return []
    if overall.high < 0:
        return [
            f"The candidate is worse than the base model: {points(overall.mean)} points "
            f"on '{evidence.title}' {interval(overall)}. Look at what it was trained on."
        ]
    return [
        "The candidate is not shown to be better than the base model: "
        f"the difference on '{evidence.title}' is {points(overall.mean)} points {interval(overall)}. "
        + _more_cases(evidence, overall, overall.mean)
    ]


def _more_cases(evidence: Evidence, overall: Difference, distance: float) -> str:
    """What more cases would settle, if the true difference is the one found."""
    needed = cases_needed(evidence.deviation, distance)
    if needed is None:
        return "More questions of this kind would not change that; better training data might."
    if needed <= overall.cases:
        return "A few more questions may settle it."
    return f"About {needed} questions like these would be needed to settle it."


def _languages(evidence: Evidence) -> list[str]:
    allowed = 2 * evidence.margin
    return [
        f"In {language_name(part.slice.partition(':')[2])} ({questions(part.cases)}) the candidate is "
        f"{size(part.mean)} points worse than {NAMES[part.against]} on '{evidence.title}'; "
        f"a loss of at most {size(allowed)} points is allowed in any one language."
        for part in sorted(evidence.languages, key=lambda part: part.mean)
        if part.cases >= FEWEST_IN_A_LANGUAGE and part.mean < -allowed
    ]


def _found(evidence: Evidence, overall: Difference) -> str:
    return (
        f"On '{evidence.title}' the candidate scores {percent(evidence.candidate)} "
        f"and {NAMES[overall.against]} {percent(evidence.rival)}: "
        f"{points(overall.mean)} points {interval(overall)}."
    )


def _why_pass(evidence: Evidence, overall: Difference) -> str:
    rival = NAMES[overall.against]
    if overall.low > 0:
        return f"That is better than {rival}, beyond chance."
    shown = f"no difference from {rival}" if overall.high >= 0 else f"a small loss against {rival}"
    return f"That shows {shown}, and rules out one of more than the {size(evidence.margin)} points allowed."
