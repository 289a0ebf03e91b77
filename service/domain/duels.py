"""Duels: one question, two answers without names, one choice. Knows no HTTP and never commits.

Who answers, on which side and with which seeds is drawn and written before anything is asked. The answers are
shown when both are complete; a choice is taken once, and only before the names are told. It becomes feedback of
type `preference`, so it trains and leads back like any other.
"""

import itertools
import random
import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.chat import ChatRequest
from service.contract.duels import Choice, Duel, DuelCreate, DuelStatus, Names, Pairing, Vote
from service.contract.feedback import FeedbackCreate
from service.db import tables
from service.domain import assistants, feedback, house_rules, stored
from service.domain.identity import new_id
from service.domain.keys import Caller
from service.errors import BadInput, Conflict, NotAllowed, NotFound

BASE = 0
"""The base model's number among the releases, as in `name@0`."""
LIVELY = 0.9
"""Temperature at which one model, asked twice, gives two answers (both sides get it)."""


@dataclass(frozen=True)
class Draw:
    """What chance decided: numbers of releases and the seeds of their answers, side `a` first."""

    pairing: Pairing
    releases: tuple[int, int]
    seeds: tuple[int, int]


def drawn(seed: str, contestants: list[int], pairing: Pairing | None) -> Draw:
    """The draw of `seed`: first the pairing, then the pair, then the sides. The same for the same values.

    Raises `BadInput` when the assistant has too few releases for the pairing that is wanted.
    """
    possible = _possible(contestants)
    if pairing is not None and pairing not in possible:
        raise BadInput(
            "This pairing needs more releases than the assistant has. Leave 'pairing' out, or publish one more.",
            param="pairing",
            code="too_few_releases",
        )
    chance = random.Random(seed)
    kind = pairing or chance.choice(sorted(possible))
    pair = list(chance.choice(possible[kind]))
    chance.shuffle(pair)
    return Draw(kind, (pair[0], pair[1]), (chance.getrandbits(31), chance.getrandbits(31)))


async def begin(session: AsyncSession, caller: Caller, wanted: DuelCreate) -> tables.Duel:
    """Draw a duel and write it down, before anybody is asked. Raises `NotAllowed` where the house's rules say so."""
    if not await house_rules.may_compare(session, caller):
        raise NotAllowed(
            "Comparing is not open to the role 'user' here. Ask an administrator to open it.",
            code="compare_closed",
        )
    await assistants.get_assistant(session, wanted.assistant)
    seed, contestants = secrets.token_hex(16), await _contestants(session, wanted.assistant)
    draw = drawn(seed, contestants, wanted.pairing)
    row = tables.Duel(
        id=new_id("duel_"), user_id=caller.user_id, assistant=wanted.assistant, question=wanted.question.strip(),
        seed=seed, contestants=contestants, wanted_pairing=wanted.pairing, pairing=draw.pairing,
        a_release=draw.releases[0], b_release=draw.releases[1], a_completion_id=None, b_completion_id=None,
        status="writing", choice=None, strength=None, feedback_id=None, created_at=time.time(), ready_at=None,
        decided_at=None,
    )  # fmt: skip
    session.add(row)
    await session.flush()
    return row


async def requests(session: AsyncSession, row: tables.Duel) -> list[ChatRequest]:
    """What the two sides are asked: the same question with the same settings, each with its own seed."""
    assistant = await assistants.get_assistant(session, row.assistant)
    draw = drawn(row.seed, row.contestants, cast(Pairing | None, row.wanted_pairing))
    settings: dict[str, Any] = {"messages": [{"role": "user", "content": row.question}]}
    if row.pairing == "same":
        settings["temperature"] = max(assistant.temperature, LIVELY)
    return [
        ChatRequest(model=f"{row.assistant}@{number}", seed=seed, **settings)
        for number, seed in zip(draw.releases, draw.seeds, strict=True)
    ]


async def end(session: AsyncSession, duel_id: str, completion_ids: list[str] | None) -> tables.Duel:
    """Both answers are complete, or (`None`) at least one never will be."""
    row = await session.get_one(tables.Duel, duel_id)
    if completion_ids is None:
        row.status = "failed"
    else:
        row.a_completion_id, row.b_completion_id = completion_ids
        row.status, row.ready_at = "ready", time.time()
    return row


async def end_abandoned(session: AsyncSession) -> None:
    """At start: what an earlier process was writing will never be complete."""
    await session.execute(update(tables.Duel).where(tables.Duel.status == "writing").values(status="failed"))


async def vote(session: AsyncSession, caller: Caller, duel_id: str, given: Vote) -> tables.Duel:
    """Choose, once, between two complete answers whose names were not told. The choice is saved as feedback."""
    row = await _open(session, caller, duel_id)
    better, other = row.a_completion_id, row.b_completion_id
    if given.choice == "b":
        better, other = other, better
    said = await feedback.give(
        session, caller,
        FeedbackCreate(
            completion_id=str(other), type="preference", preferred_completion_id=better, reasons=given.reasons,
            comment=given.comment, preference=given.choice if given.choice in ("tie", "both_bad") else "better",
            left_completion_id=row.a_completion_id,
        ),
    )  # fmt: skip
    row.choice, row.strength, row.feedback_id = given.choice, given.strength, said.id
    row.status, row.decided_at = "decided", time.time()
    await session.flush()
    return row


async def reveal(session: AsyncSession, caller: Caller, duel_id: str) -> tables.Duel:
    """Tell the names without a choice; after that there is none."""
    row = await _open(session, caller, duel_id)
    row.status, row.decided_at = "revealed", time.time()
    return row


async def own_duel(session: AsyncSession, caller: Caller, duel_id: str) -> tables.Duel:
    """The caller's own; another's is not found, whatever the caller's role."""
    row = await session.get(tables.Duel, duel_id)
    if row is None or row.user_id != caller.user_id:
        raise NotFound(f"No duel '{duel_id}' of yours.")
    return row


async def list_duels(session: AsyncSession, caller: Caller, *, limit: int) -> list[tables.Duel]:
    """The caller's own, newest first."""
    query = select(tables.Duel).where(tables.Duel.user_id == caller.user_id)
    return list(await session.scalars(query.order_by(tables.Duel.created_at.desc()).limit(limit)))


async def delete(session: AsyncSession, caller: Caller, duel_id: str) -> None:
    """The question and both answers, as a stored completion is deleted; what a choice leads back to stays for it."""
    row = await own_duel(session, caller, duel_id)
    if row.status == "writing":
        raise Conflict("Both answers must be complete first. Try again in a moment.", code="duel_not_ready")
    for completion_id in (row.a_completion_id, row.b_completion_id):
        if completion_id is not None:
            await stored.erase(session, await session.get_one(tables.Completion, completion_id))
    await session.delete(row)


async def shown(session: AsyncSession, row: tables.Duel) -> Duel:
    """As its owner may see it now: no answers before both are complete, no names before it is over."""
    written = row.status in ("ready", "decided", "revealed")
    over = row.status in ("decided", "revealed")
    ids = (row.a_completion_id, row.b_completion_id) if written else ()
    answers = [await session.get_one(tables.Completion, str(id_)) for id_ in ids]
    a, b = (one.output for one in answers) if written else (None, None)
    sides: tuple[Literal["a", "b"], ...] = ("a", "b")
    cut_off = [side for side, one in zip(sides, answers, strict=False) if one.finish_reason == "length"]
    said = await session.get(tables.Feedback, row.feedback_id) if row.feedback_id else None
    names = Names(
        pairing=cast(Pairing, row.pairing), a=row.a_release, b=row.b_release,
        a_completion_id=str(row.a_completion_id), b_completion_id=str(row.b_completion_id),
    )  # fmt: skip
    return Duel(
        id=row.id, assistant=row.assistant, question=row.question, status=cast(DuelStatus, row.status),
        a=a, b=b, cut_off=cut_off, choice=cast(Choice | None, row.choice), strength=row.strength,
        reasons=said.reasons if said else [], comment=said.comment if said else None,
        names=names if over else None, feedback_id=row.feedback_id, created_at=int(row.created_at),
    )  # fmt: skip


def _possible(contestants: list[int]) -> dict[Pairing, list[tuple[int, int]]]:
    """The pairs of each pairing that these numbers allow."""
    releases = [number for number in contestants if number != BASE]
    found: dict[Pairing, list[tuple[int, int]]] = {
        "releases": list(itertools.combinations(releases, 2)),
        "base": [(BASE, number) for number in releases],
        "same": [(contestants[-1], contestants[-1])],
    }
    return {kind: pairs for kind, pairs in found.items() if pairs}


async def _contestants(session: AsyncSession, assistant: str) -> list[int]:
    """The base model and every release that can still answer, the newest last."""
    query = (
        select(tables.Release.number)
        .join(tables.Adapter, tables.Adapter.digest == tables.Release.adapter)
        .where(tables.Release.assistant == assistant, tables.Adapter.deleted_at.is_(None))
        .order_by(tables.Release.number)
    )
    return [BASE, *await session.scalars(query)]


async def _open(session: AsyncSession, caller: Caller, duel_id: str) -> tables.Duel:
    """A duel that can be decided. Locked where the database can, so that two choices cannot both be taken."""
    query = select(tables.Duel).where(tables.Duel.id == duel_id, tables.Duel.user_id == caller.user_id)
    row = await session.scalar(query.with_for_update())
    if row is None:
        raise NotFound(f"No duel '{duel_id}' of yours.")
    if row.status == "writing":
        raise Conflict("Both answers must be complete first. Try again in a moment.", code="duel_not_ready")
    if row.status == "failed":
        raise Conflict("An answer of this duel was never completed. Start another.", code="duel_failed")
    if row.status != "ready":
        raise Conflict("The names are told already, so nothing can be chosen any more.", code="duel_over")
    return row
