"""Which branches a turn has, and what was said of two answers to one question.

Owns how the tree of a conversation becomes arrows on the screen. Draws nothing and keeps nothing.
"""

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from service.contract.conversations import START, ConversationTurns, Turn
from ui.attachments import Attachment, parted
from ui.difference import difference
from ui.words import Words

Said = Literal["better", "same", "worse"]


@dataclass(frozen=True)
class Choice:
    """The `number`-th of `of` branches, and the turns that open the ones beside it."""

    number: int
    of: int
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Verdict:
    """What its reader said of an answer beside the one before it."""

    said: Said
    feedback_id: str


@dataclass(frozen=True)
class Drawn:
    """One turn and everything beside it that the screen shows."""

    turn: Turn
    question: str
    attachments: list[Attachment]
    questions: Choice | None
    answers: Choice | None
    rival: Turn | None
    """The answer to the very same prompt that came before this one."""
    verdict: Verdict | None
    changes: Markup | None
    """What the reader's better answer changed."""


def path_of(found: ConversationTurns) -> list[Turn]:
    """The turns that are shown, from the first to the last."""
    turns = {turn.completion_id: turn for turn in found.turns}
    return [turns[completion_id] for completion_id in found.path]


def before(found: ConversationTurns, follows: str) -> list[Turn]:
    """The shown turns up to the one that a new question follows; `START` for none of them."""
    path = path_of(found)
    ids = [turn.completion_id for turn in path]
    return path[: ids.index(follows) + 1] if follows in ids else [] if follows == START else path


def next_follows(found: ConversationTurns) -> str:
    """What a question typed now follows: the last turn that has an answer."""
    answered = [turn for turn in path_of(found) if not _is_nothing(turn)]
    return answered[-1].completion_id if answered else START


def drawn(w: Words, found: ConversationTurns, turn: Turn) -> Drawn:
    twins = [
        other
        for other in found.turns
        if other.follows == turn.follows and (other is turn or not _is_nothing(other))
    ]
    same = [other for other in twins if other.question == turn.question]
    newest = {other.question: other for other in twins} | {turn.question: turn}
    rivals = [other for other in same[: same.index(turn)] if _comparable(other, turn)]
    rival = rivals[-1] if rivals else None
    question, attachments = parted(turn.question)
    correction = turn.feedback.correction
    return Drawn(
        turn, question, attachments, questions=_choice(list(newest.values()), turn), answers=_choice(same, turn),
        rival=rival, verdict=_verdict(rival, turn) if rival else None,
        changes=difference(w, turn.answer, correction) if correction else None,
    )  # fmt: skip


def _is_nothing(turn: Turn) -> bool:
    """A question that failed without a word of an answer."""
    return turn.status == "failed" and not turn.answer


def _choice(branches: list[Turn], turn: Turn) -> Choice | None:
    if len(branches) < 2:
        return None
    ids = [branch.completion_id for branch in branches]
    at = ids.index(turn.completion_id)
    return Choice(at + 1, len(ids), ids[at - 1] if at else None, ids[at + 1] if at + 1 < len(ids) else None)


def _comparable(other: Turn, turn: Turn) -> bool:
    whole = other.status == turn.status == "complete"
    return whole and other.prompt == turn.prompt != "" and other.answer != turn.answer


def _verdict(rival: Turn, turn: Turn) -> Verdict | None:
    sides: tuple[tuple[Turn, Turn, Said], ...] = ((rival, turn, "better"), (turn, rival, "worse"))
    for one, preferred, said in sides:
        for preference in one.feedback.preferences:
            if preference.preferred_completion_id == preferred.completion_id:
                return Verdict(said if preference.preference == "better" else "same", preference.feedback_id)
    return None
