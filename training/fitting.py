"""Rows of feedback that cannot be learned from as they are: left out and counted.

Whoever owns a file is told which row to mend. A round's file is frozen from what people said, and nobody could shorten
a row of it: one long conversation would stop every round. Owns which refusals are meant. Knows no trainer.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from service.contract.chat import Message, Role
from service.contract.datasets import Origin, Row
from service.contract.jobs import TrainingSpec
from training import data
from training.data import Chat, RatedTokens
from training.refusal import Refused
from training.rows import NamedRow, Rows, parts, talks

UNFIT = {"row_too_long", "end_of_turn_inside", "not_a_prefix", "template_refuses"}
"""Codes of refusals of a row for its text alone."""
AROUND = 32
"""Tokens that a chat template puts around a message, at the very most: a token holds at least one byte of its text."""


def fitting(chat: Chat, found: Rows, spec: TrainingSpec, say: Callable[..., None]) -> Rows:
    """The rows without those of feedback that do not fit, which is said. Raises `Refused` when nothing is left."""
    sides = [
        [row for row in rows if unfit(chat, row, spec) is None] for rows in (found.train, found.held_out)
    ]
    if not sides[0] and (refused := unfit(chat, found.train[0], spec)) is not None:
        raise refused
    left = len(found.train) + len(found.held_out) - sum(map(len, sides))
    if left:
        say(
            f"{left} rows of feedback are longer than {spec.settings.max_length} tokens, hold what ends an answer, or "
            "take turns as the base model's template does not, and are left out.",
            "unfit", n=left, most=spec.settings.max_length,
        )  # fmt: skip
    return replace(found, train=sides[0], held_out=sides[1])


def matched(
    found: Rows,
    learned: list[RatedTokens],
    held_out: list[RatedTokens],
    spec: TrainingSpec,
    say: Callable[..., None],
) -> tuple[Rows, list[RatedTokens], list[RatedTokens]]:
    """Rated completions without those of feedback behind whose prompt no other answer fits, which is said; all of them
    where that would leave nothing."""
    feedback = {
        named.name for named in (*found.train, *found.held_out) if isinstance(named.row.tailorbird, Origin)
    }
    most, alone, kept = spec.settings.max_length, set[str](), [learned, held_out]
    # One that is left out may have been the only one behind whose prompt another's answer fitted.
    while fresh := feedback & (
        data.unmatched(kept[0], kept[0], most) | data.unmatched(kept[1], kept[1] + kept[0], most)
    ):
        alone |= fresh
        kept = [[row for row in side if row.name not in fresh] for side in kept]
    if not alone or not kept[0]:
        return found, learned, held_out
    say(f"{len(alone)} rated answers of feedback are left out: their question is so long that no other answer fits "
        f"behind it in {most} tokens.", "unmatched", n=len(alone), most=most)  # fmt: skip
    sides = [[named for named in side if named.name not in alone] for side in (found.train, found.held_out)]
    return replace(found, train=sides[0], held_out=sides[1]), kept[0], kept[1]


def unfit(chat: Chat, named: NamedRow, spec: TrainingSpec) -> Refused | None:
    """Why a row of feedback is left out; none for one that fits, or that somebody can mend."""
    if not isinstance(named.row.tailorbird, Origin):
        return None
    for part in talks(named.row):
        if (refused := _template_refuses(chat, tuple(message.role for message in part))) is not None:
            return refused
    if _surely_fits(chat, named.row, spec.settings.max_length):
        return None
    try:
        data.MAKE[spec.kind](chat, [named], spec.settings.max_length)
    except Refused as error:
        return error if error.code in UNFIT else None
    return None


@lru_cache(maxsize=256)
def _template_refuses(chat: Chat, roles: tuple[Role, ...]) -> Refused | None:
    """Why the base model's template takes no conversation of these turns; the same for any words."""
    try:
        chat.ids([Message(role=role, content="?") for role in roles])
    except Refused as error:
        return error
    return None


def _surely_fits(chat: Chat, row: Row, most: int) -> bool:
    """Told without a tokenizer, for most rows."""
    texts = [message.text() for part in parts(row) for message in part]
    if sum(len(text.encode()) for text in texts) + AROUND * (len(texts) + 2) > most:
        return False
    return not any(end in text or text[:1].isspace() for text in texts for end in chat.ends)
