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
from typing import Literal, NamedTuple

from evals.phrases import NAMES, interval, language_name, percent, points, questions, size
from evals.statistics import cases_needed
from service.contract.evaluations import Contestant, Difference, Gate, GateCode, Reason

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


class Told(NamedTuple):
    """One reason, as a sentence and by its code."""

    sentence: str
    reason: Reason


def decide(evidence: Evidence) -> Gate:
    """Hold with every reason, or pass with what was found. Reasons are full sentences with figures."""
    overall = evidence.overall
    if overall is None:
        nobody = "There is no live release and no base model to compare the candidate with. Name one."
        return _gate("hold", [_told("no_rival", nobody)])
    compared = _against_live if overall.against == "live" else _against_base
    reasons = [
        *_coverage(evidence, overall.against),
        *_too_few(evidence, overall),
        *compared(evidence, overall),
        *_languages(evidence),
    ]
    if reasons:
        return _gate("hold", [*reasons, _found(evidence, overall)])
    return _gate("pass", [_found(evidence, overall), _why_pass(evidence, overall)])


def _gate(verdict: Literal["pass", "hold"], told: list[Told]) -> Gate:
    return Gate(verdict=verdict, reasons=[one.sentence for one in told], coded=[one.reason for one in told])


def _told(code: GateCode, sentence: str, **values: str | int | float) -> Told:
    return Told(sentence, Reason(code=code, values=values))


def _figures(found: Difference) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high, "cases": found.cases}


def _coverage(evidence: Evidence, against: Contestant) -> list[Told]:
    counts: tuple[tuple[int, Contestant], ...] = (
        (evidence.failed, "candidate"),
        (evidence.rival_failed, against),
    )
    return [
        _told(
            "unanswered",
            f"{failed} of the {evidence.planned} planned questions got no valid answer or score "
            f"for {NAMES[who]}: nothing can pass before every planned question counts. "
            "Remove the cause, listed with the failed questions, and evaluate again.",
            failed=failed, planned=evidence.planned, who=who,
        )
        for failed, who in counts
        if failed
    ]  # fmt: skip


def _too_few(evidence: Evidence, overall: Difference) -> list[Told]:
    if overall.cases >= FEWEST_CASES:
        return []
    said = (
        f"Only {questions(overall.cases)} can be scored on '{evidence.title}', "
        f"and below {FEWEST_CASES} even a clean sweep may be chance. Add cases and evaluate again."
    )
    return [_told("too_few_cases", said, cases=overall.cases, fewest=FEWEST_CASES)]


def _against_live(evidence: Evidence, overall: Difference) -> list[Told]:
    if overall.low >= -evidence.margin:
        return []
    allowed, figures = f"{size(evidence.margin)} points", _figures(overall)
    if overall.high < 0:
        said = (
            f"The candidate is worse than the live release: {points(overall.mean)} points "
            f"on '{evidence.title}' {interval(overall)}, where a loss of at most {allowed} is allowed."
        )
        return [_told("worse_than_live", said, allowed=evidence.margin, **figures)]
    more, needed = _more_cases(evidence, overall, overall.mean + evidence.margin)
    said = (
        f"It cannot be ruled out that the candidate is worse than the live release by more than {allowed}: "
        f"the difference on '{evidence.title}' is {points(overall.mean)} points {interval(overall)}. {more}"
    )
    return [_told("maybe_worse_than_live", said, allowed=evidence.margin, needed=needed, **figures)]


def _against_base(evidence: Evidence, overall: Difference) -> list[Told]:
    if overall.low > 0:
        return []
    figures = _figures(overall)
    if overall.high < 0:
        said = (
            f"The candidate is worse than the base model: {points(overall.mean)} points "
            f"on '{evidence.title}' {interval(overall)}. Look at what it was trained on."
        )
        return [_told("worse_than_base", said, **figures)]
    more, needed = _more_cases(evidence, overall, overall.mean)
    said = (
        "The candidate is not shown to be better than the base model: "
        f"the difference on '{evidence.title}' is {points(overall.mean)} points {interval(overall)}. {more}"
    )
    return [_told("not_better_than_base", said, needed=needed, **figures)]


def _more_cases(evidence: Evidence, overall: Difference, distance: float) -> tuple[str, int]:
    """What more cases would settle, if the true difference is the one found; and how many: 0 when a few may do,
    -1 when none would."""
    needed = cases_needed(evidence.deviation, distance)
    if needed is None:
        return "More questions of this kind would not change that; better training data might.", -1
    if needed <= overall.cases:
        return "A few more questions may settle it.", 0
    return f"About {needed} questions like these would be needed to settle it.", needed


def _languages(evidence: Evidence) -> list[Told]:
    allowed = 2 * evidence.margin
    held = [
        (part.slice.partition(":")[2], part)
        for part in sorted(evidence.languages, key=lambda part: part.mean)
        if part.cases >= FEWEST_IN_A_LANGUAGE and part.mean < -allowed
    ]
    return [
        _told(
            "worse_in_language",
            f"In {language_name(language)} ({questions(part.cases)}) the candidate is "
            f"{size(part.mean)} points worse than {NAMES[part.against]} on '{evidence.title}'; "
            f"a loss of at most {size(allowed)} points is allowed in any one language.",
            language=language, against=part.against, allowed=allowed, **_figures(part),
        )
        for language, part in held
    ]  # fmt: skip


def _found(evidence: Evidence, overall: Difference) -> Told:
    said = (
        f"On '{evidence.title}' the candidate scores {percent(evidence.candidate)} "
        f"and {NAMES[overall.against]} {percent(evidence.rival)}: "
        f"{points(overall.mean)} points {interval(overall)}."
    )
    return _told(
        "found", said, candidate=evidence.candidate, rival=evidence.rival, against=overall.against,
        **_figures(overall),
    )  # fmt: skip


def _why_pass(evidence: Evidence, overall: Difference) -> Told:
    rival, against = NAMES[overall.against], overall.against
    if overall.low > 0:
        return _told("better", f"That is better than {rival}, beyond chance.", against=against)
    end = f", and rules out one of more than the {size(evidence.margin)} points allowed."
    if overall.high >= 0:
        said = f"That shows no difference from {rival}{end}"
        return _told("not_worse", said, against=against, allowed=evidence.margin)
    said = f"That shows a small loss against {rival}{end}"
    return _told("small_loss", said, against=against, allowed=evidence.margin)
