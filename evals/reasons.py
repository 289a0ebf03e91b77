"""Why a candidate passes or is held, in full sentences with figures, in the language of who reads.

Owns how a reason's code and figures become a sentence. Knows no rule.
"""

from typing import Any, cast

from evals.phrases import Phrases
from service.contract.evaluations import Contestant, Difference, Reason

SENTENCES = {
    "no_rival": "There is no live release and no base model to compare the candidate with. Name one.",
    "learned": "Of the {planned} questions the candidate was taught {learned}, itself or by what it went on from: its "
    "answers to them show memory. Take them out of the questions, or train without the rows that ask them, and "
    "evaluate again.",
    "unanswered": "{failed} of the {planned} planned questions got no valid answer or score for {who}: nothing can "
    "pass before every planned question counts. Remove the cause, listed with the failed questions, and evaluate "
    "again.",
    "too_few_cases": "Only {questions} can be scored on '{title}', and below {fewest} even a clean sweep may be "
    "chance. Add cases and evaluate again.",
    "worse_than_live": "The candidate is worse than the live release: {mean} points on '{title}' {interval}, where a "
    "loss of at most {allowed} points is allowed.",
    "maybe_worse_than_live": "It cannot be ruled out that the candidate is worse than the live release by more than "
    "{allowed} points: the difference on '{title}' is {mean} points {interval}. {more}",
    "worse_than_base": "The candidate is worse than the base model: {mean} points on '{title}' {interval}. Look at "
    "what it was trained on.",
    "not_better_than_base": "The candidate is not shown to be better than the base model: the difference on "
    "'{title}' is {mean} points {interval}. {more}",
    "worse_in_language": "In {language} ({questions}) the candidate is {loss} points worse than {against} on "
    "'{title}'; a loss of at most {allowed} points is allowed in any one language.",
    "found": "On '{title}' the candidate scores {candidate} and {against} {rival}: {mean} points {interval}.",
    "better": "That is better than {against}, beyond chance.",
    "not_worse": "That shows no difference from {against}, and rules out one of more than the {allowed} points "
    "allowed.",
    "small_loss": "That shows a small loss against {against}, and rules out one of more than the {allowed} points "
    "allowed.",
}
USELESS = "More questions of this kind would not change that; better training data might."
FEW = "A few more questions may settle it."
MANY = "About {n} questions like these would be needed to settle it."


def said(say: Phrases, reason: Reason, title: str) -> str:
    """The sentence of a reason; `title` is the deciding metric's, in English."""
    values: dict[str, Any] = {**reason.values, "title": say(title)}
    if "cases" in values:
        values["questions"] = say.questions(values["cases"])
    if "mean" in values:
        values["interval"] = say.interval(_difference(values))
        values |= {"loss": say.size(values["mean"]), "mean": say.points(values["mean"])}
    if "needed" in values:
        values["more"] = _more(say, values["needed"])
    values |= {name: say.percent(values[name]) for name in ("candidate", "rival") if name in values}
    values |= {
        name: say.name(cast(Contestant, values[name])) for name in ("who", "against") if name in values
    }
    if "allowed" in values:
        values["allowed"] = say.size(values["allowed"])
    if "language" in values:
        values["language"] = say.language_name(values["language"])
    return say(SENTENCES[reason.code], **values)


def _more(say: Phrases, needed: int) -> str:
    """What more cases would settle: -1 when none would, 0 when a few may do."""
    if needed < 0:
        return say(USELESS)
    return say(MANY, n=needed) if needed else say(FEW)


def _difference(values: dict[str, Any]) -> Difference:
    figures = {name: values[name] for name in ("mean", "low", "high", "cases")}
    return Difference(metric="", against="live", slice="all", **figures)
