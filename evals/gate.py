"""The rule that passes or holds a candidate. It is decided on one metric, named before the answers came.

A candidate is held when, in this order:

1. there is nothing to compare it with;
2. it was taught one of the questions, or what it went on from was: its answer shows memory and no skill;
3. any planned question has no valid answer or score, of the candidate or of what it is compared with
   (a rival's failures would flatter the candidate);
4. fewer than six cases count: with five, even a clean sweep is chance once in 32, and a 95 %
   interval allows once in 40 (sign test);
5. against the live release: the lower bound of the paired difference is below minus the margin, so
   that "worse by more than the margin" is not ruled out (non-inferiority);
6. against the base, when nothing else is live: the lower bound is not above 0 (superiority);
7. a language with at least ten cases is worse on average by more than twice the margin.

Otherwise it passes. Every rule that holds is told, the first one first. Knows no file, no answer and no
sentence.
"""

from dataclasses import dataclass
from typing import Literal

from evals.phrases import phrases
from evals.reasons import said
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
    learned: int = 0
    """Planned questions that the candidate was taught."""
    candidate: float = 0.0
    """Mean of the candidate, 0 to 1."""
    rival: float = 0.0
    deviation: float = 0.0
    """Sample standard deviation of the paired differences."""
    overall: Difference | None = None
    """Candidate minus rival over all cases; `None` when there is no rival."""
    languages: tuple[Difference, ...] = ()


def decide(evidence: Evidence) -> Gate:
    """Hold with every reason, or pass with what was found."""
    overall = evidence.overall
    if overall is None:
        return _gate("hold", [_reason("no_rival")], evidence.title)
    compared = _against_live if overall.against == "live" else _against_base
    reasons = [
        *_learned(evidence),
        *_coverage(evidence, overall.against),
        *_too_few(overall),
        *compared(evidence, overall),
        *_languages(evidence),
    ]
    if reasons:
        return _gate("hold", [*reasons, _found(evidence, overall)], evidence.title)
    found = [_found(evidence, overall), _why_pass(evidence, overall)]
    return _gate("pass", found, evidence.title)


def _gate(verdict: Literal["pass", "hold"], reasons: list[Reason], title: str) -> Gate:
    return Gate(verdict=verdict, reasons=[said(phrases("en"), one, title) for one in reasons], coded=reasons)


def _reason(code: GateCode, **values: str | int | float) -> Reason:
    return Reason(code=code, values=values)


def _figures(found: Difference) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high, "cases": found.cases}


def _learned(evidence: Evidence) -> list[Reason]:
    if not evidence.learned:
        return []
    return [_reason("learned", learned=evidence.learned, planned=evidence.planned)]


def _coverage(evidence: Evidence, against: Contestant) -> list[Reason]:
    counts: tuple[tuple[int, Contestant], ...] = (
        (evidence.failed, "candidate"),
        (evidence.rival_failed, against),
    )
    return [
        _reason("unanswered", failed=failed, planned=evidence.planned, who=who)
        for failed, who in counts
        if failed
    ]


def _too_few(overall: Difference) -> list[Reason]:
    if overall.cases >= FEWEST_CASES:
        return []
    return [_reason("too_few_cases", cases=overall.cases, fewest=FEWEST_CASES)]


def _against_live(evidence: Evidence, overall: Difference) -> list[Reason]:
    if overall.low >= -evidence.margin:
        return []
    allowed, figures = evidence.margin, _figures(overall)
    if overall.high < 0:
        return [_reason("worse_than_live", allowed=allowed, **figures)]
    needed = _more_cases(evidence, overall, overall.mean + evidence.margin)
    return [_reason("maybe_worse_than_live", allowed=allowed, needed=needed, **figures)]


def _against_base(evidence: Evidence, overall: Difference) -> list[Reason]:
    if overall.low > 0:
        return []
    if overall.high < 0:
        return [_reason("worse_than_base", **_figures(overall))]
    needed = _more_cases(evidence, overall, overall.mean)
    return [_reason("not_better_than_base", needed=needed, **_figures(overall))]


def _more_cases(evidence: Evidence, overall: Difference, distance: float) -> int:
    """How many cases would settle it, if the true difference is the one found: 0 when a few more may do, -1 when
    none would."""
    needed = cases_needed(evidence.deviation, distance)
    if needed is None:
        return -1
    return 0 if needed <= overall.cases else needed


def _languages(evidence: Evidence) -> list[Reason]:
    allowed = 2 * evidence.margin
    held = [
        (part.slice.partition(":")[2], part)
        for part in sorted(evidence.languages, key=lambda part: part.mean)
        if part.cases >= FEWEST_IN_A_LANGUAGE and part.mean < -allowed
    ]
    return [
        _reason("worse_in_language", language=name, against=part.against, allowed=allowed, **_figures(part))
        for name, part in held
    ]


def _found(evidence: Evidence, overall: Difference) -> Reason:
    return _reason(
        "found", candidate=evidence.candidate, rival=evidence.rival, against=overall.against, **_figures(overall)
    )  # fmt: skip


def _why_pass(evidence: Evidence, overall: Difference) -> Reason:
    if overall.low > 0:
        return _reason("better", against=overall.against)
    code: GateCode = "not_worse" if overall.high >= 0 else "small_loss"
    return _reason(code, against=overall.against, allowed=evidence.margin)
