"""Which answers wait for a verdict, why, and for whom; and who is judging which now. Never commits.

- Waits: an answer that somebody corrected, rated down or held to be worse than another, on which people disagree,
  or one in a few of those rated up. An answer whose verdict is agreed on (golden) waits for everybody.
- One verdict is enough; one answer in a few gets two, so that agreement can be measured. Where two differ, a third
  person decides. A verdict counts for the feedback it saw: what is said later is judged anew.
- Nobody judges what they said themselves, nor one answer twice.

What waits is kept as feedback is sorted (`keep`), so that to find the next answer costs the same however much waits.
What is shown is looked at again before, and so is what a verdict is given on: a row that is a moment old misleads
nobody.
"""

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, Table, bindparam, delete, insert, or_, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.reviews import Outcome, Why
from service.db import bulk, tables
from service.domain import feedback
from service.domain.keys import Caller

HOLD = 900.0
"""Seconds that an answer is one person's to judge."""
TWICE = 4
"""One answer in so many is judged by two people."""
AUDIT = 5
"""One answer in so many of those rated up is judged."""
GOLDEN_EVERY = 5
"""A golden answer comes after so many others, where there is one left."""
FEW = 10
"""The next answers that are looked at: more than people who ask at the same moment."""
PAGE = 200
"""Waiting answers of which it is asked at once whether this person may judge them, and counted up to."""
ORDER: tuple[Why, ...] = ("disagreement", "correction", "low_rated", "preference", "audit", "golden")


@dataclass
class Item:
    """One answer with all that was said of it and all verdicts on it. Gathered first, then asked."""

    completion_id: str
    said: list[tables.Feedback] = field(default_factory=list)
    """In force, without the corrections that reviewers wrote."""
    reviews: list[tables.Review] = field(default_factory=list)
    """Not undone, oldest first."""
    undone_by: set[str] = field(default_factory=set)
    golden: tables.GoldenItem | None = None
    hidden: bool = False
    """What its owner deleted or keeps from training, as far as somebody said something of it."""

    @cached_property
    def at(self) -> float:
        """When the last word on it was said."""
        return max((one.at for one in self.said), default=0.0)

    @cached_property
    def verdicts(self) -> list[tables.Review]:
        """Those that saw everything that is said now; one that skipped gave none."""
        return [one for one in self.reviews if one.verdict != "skip" and one.at >= self.at]

    @property
    def personal(self) -> bool:
        return any(one.personal_data for one in self.reviews)

    @property
    def outcome(self) -> Outcome | None:
        """The verdict; of two that differ none yet; of three the majority's, or else the last."""
        given: list[Outcome] = [cast(Outcome, one.verdict) for one in self.verdicts]
        if len(given) == 2 and given[0] != given[1]:
            return "disputed"
        return max(reversed(given), key=given.count, default=None)

    def why(self) -> Why | None:
        """Why it waits for somebody; none when it does not."""
        if self.golden is not None:
            return "golden"
        if self.personal or not self.said:
            return None
        if self.outcome == "disputed":
            return "disagreement"
        if self.verdicts and len(self.verdicts) >= (2 if _one_in(TWICE, "twice", self.completion_id) else 1):
            return None
        kinds = {one.type for one in self.said if one.preference in (None, "better")}
        ratings = {one.rating for one in self.said if one.type == "rating"}
        if ratings == {1, -1}:
            return "disagreement"
        if "correction" in kinds:
            return "correction"
        if -1 in ratings:
            return "low_rated"
        if "preference" in kinds:
            return "preference"
        return "audit" if ratings and _one_in(AUDIT, "audit", self.completion_id) else None

    def spoke(self, user_id: str) -> bool:
        """Whether this person said something of it, or fixed its verdict."""
        fixed = self.golden is not None and self.golden.user_id == user_id
        return fixed or any(one.user_id == user_id for one in self.said)

    def judged(self, user_id: str) -> bool:
        """Whether this person's verdict is in, or was and the others' were read then."""
        seen = self.golden is not None or any(one.user_id != user_id for one in self.verdicts)
        since = 0.0 if self.golden else self.at
        mine = any(one.user_id == user_id and one.at >= since for one in self.reviews)
        return mine or (seen and user_id in self.undone_by)


@dataclass
class Waiting:
    items: list[tuple[Item, Why]]
    """The next few that this person may judge, in order; what they have reserved is among them."""
    count: int
    """How many there are of them, as far as was looked."""
    own: int
    """What waits for somebody else, as this person said something of it, as far as was looked."""
    more: bool
    """Whether there is more than was looked at."""


async def items_of(
    session: AsyncSession, completion_ids: Collection[str], *, deleted: bool = False
) -> dict[str, Item]:
    """Those of these answers on which feedback stands, or that are golden, by id.

    What its owner deleted or keeps from training is nobody's to read, and left out unless `deleted`.
    """
    query, judged, fixed = _of_items(deleted)
    these = {"ids": list(completion_ids)}
    reviews = list(await session.scalars(judged, these))
    written = {one.feedback_id for one in reviews if one.feedback_id}
    found: dict[str, Item] = {}
    for row in feedback.in_force(cast(list[tables.Feedback], list(await session.execute(query, these)))):
        if row.id not in written:
            item = found.setdefault(row.completion_id, Item(row.completion_id))
            item.said.append(row)
            item.hidden = cast(Any, row).hidden
    for row in await session.scalars(fixed, these):
        found.setdefault(row.completion_id, Item(row.completion_id)).golden = row
    for row in reviews:
        item = found.setdefault(row.completion_id, Item(row.completion_id))
        if row.undone_at is None:
            item.reviews.append(row)
        else:
            item.undone_by.add(row.user_id)
    return found


@lru_cache
def _of_items(
    deleted: bool,
) -> tuple[Select[*tuple[Any, ...]], Select[tables.Review], Select[tables.GoldenItem]]:
    """What is asked of feedback, of reviews and of golden items; made once, which takes longer than to answer it."""
    completion, given = tables.Completion, tables.Feedback
    # Plain rows: nobody needs the texts nor objects.
    query = (
        select(
            given.id, given.completion_id, given.user_id, given.type, given.rating, given.supersedes, given.at,
            given.preference, or_(completion.deleted_at.is_not(None), _kept_private()).label("hidden"),
        )
        .join(completion, completion.id == given.completion_id)
        # By the database: two answers may be compared again the other way round, which is a word on the other answer.
        .where(completion.status == "complete", completion.assistant.is_not(None), feedback.is_standing())
    )  # fmt: skip
    judged = select(tables.Review).join(completion).order_by(tables.Review.at)
    fixed = select(tables.GoldenItem).join(completion)
    these = [completion.id.in_(bindparam("ids", expanding=True))]
    if not deleted:
        these += [completion.deleted_at.is_(None), ~_kept_private()]
    return query.where(*these), judged.where(*these), fixed.where(*these)


def _kept_private() -> ColumnElement[bool]:
    """Of a completion: its conversation was deleted, or is kept from training."""
    talk = tables.Conversation
    private = (talk.id == tables.Completion.conversation_id) & (
        talk.deleted_at.is_not(None) | talk.training.is_(False)
    )
    return select(talk.id).where(private).exists()


async def keep(session: AsyncSession, completion_ids: Collection[str], found: dict[str, Item]) -> None:
    """Bring up to date which of these answers wait; `found` are the items of them, deleted ones too. Golden ones are
    few, and are found without it."""
    row = cast(Table, tables.WaitingAnswer.__table__)
    reasons = [(item, item.why()) for item in found.values() if not item.hidden]
    rows = [
        {"completion_id": item.completion_id, "rank": ORDER.index(why), "at": item.at}
        for item, why in reasons
        if why not in (None, "golden")
    ]
    await session.execute(delete(row).where(row.c.completion_id.in_(completion_ids)))
    await bulk.run(session, insert(row), rows)


async def waiting_for(session: AsyncSession, caller: Caller) -> Waiting:
    """What waits for this person, and how much must wait for others: looked at in pages, until there are a few that
    this person may judge. So it costs the same however much waits."""
    held = tables.ReviewReservation
    reserved = set(await session.scalars(select(held.completion_id).where(held.user_id == caller.user_id)))
    golden = set(await session.scalars(select(tables.GoldenItem.completion_id)))
    taken, looked = await _taken(session, caller), golden | reserved
    found = await _to_judge(session, caller, looked, taken)
    count, own, rows, more = len(found), 0, await _page(session, caller, None), False
    while rows:
        page, more = rows[:PAGE], len(rows) > PAGE
        own += sum(one.own for one in page)
        left = [one for one in page if not (one.own or one.done) and one.completion_id not in looked | taken]
        # One that this person judged and somebody spoke of since, or whose verdict was taken back: its rows decide.
        free, unsure = [one for one in left if not one.judged], [one for one in left if one.judged]
        shown = await _to_judge(session, caller, [one.completion_id for one in (*unsure, *free[:FEW])], taken)
        found |= shown
        count += len(shown) + len(free[FEW:])
        rows = [] if len(found) >= FEW or not more else await _page(session, caller, page[-1])
    due = await _golden_is_due(session, caller)
    items = sorted(
        found.values(), key=lambda one: (-1 if due and one[1] == "golden" else ORDER.index(one[1]), one[0].at)
    )
    return Waiting(items, count, own, more)


async def waits_for(session: AsyncSession, caller: Caller, completion_id: str) -> tuple[Item, Why] | None:
    """This answer and why it waits; none when it does not wait for this person."""
    item = (await items_of(session, [completion_id])).get(completion_id)
    why = item.why() if item is not None else None
    if item is None or why is None or not _may_judge(item, caller, await _taken(session, caller)):
        return None
    return item, why


async def reserve(session: AsyncSession, caller: Caller, waiting: Waiting) -> tables.ReviewReservation | None:
    """The caller's answer to judge: the one they have already, for a while more, or the next that is free."""
    row = tables.ReviewReservation
    await session.execute(delete(row).where(row.expires_at <= time.time()))
    reasons = {item.completion_id: why for item, why in waiting.items}
    for held in list(await session.scalars(select(row).where(row.user_id == caller.user_id))):
        if held.completion_id in reasons:
            held.expires_at = time.time() + HOLD
            return held
        await session.delete(held)
    for item, why in waiting.items:
        wanted = row(
            completion_id=item.completion_id, user_id=caller.user_id, why=why, expires_at=time.time() + HOLD
        )
        try:
            async with session.begin_nested():
                session.add(wanted)
            return wanted
        except IntegrityError:
            continue  # somebody took it a moment ago
    return None


async def let_go(session: AsyncSession, completion_id: str) -> None:
    """It has been judged."""
    row = tables.ReviewReservation
    await session.execute(delete(row).where(row.completion_id == completion_id))


async def _taken(session: AsyncSession, caller: Caller) -> set[str]:
    """What others are judging now."""
    row = tables.ReviewReservation
    query = select(row.completion_id).where(row.expires_at > time.time(), row.user_id != caller.user_id)
    return set(await session.scalars(query))


def _may_judge(item: Item, caller: Caller, taken: set[str]) -> bool:
    return not (item.spoke(caller.user_id) or item.judged(caller.user_id) or item.completion_id in taken)


async def _to_judge(
    session: AsyncSession, caller: Caller, completion_ids: Collection[str], taken: set[str]
) -> dict[str, tuple[Item, Why]]:
    """Those of these that wait and that this person may judge."""
    found = await items_of(session, completion_ids) if completion_ids else {}
    return {
        id_: (item, why)
        for id_, item in found.items()
        if (why := item.why()) is not None and _may_judge(item, caller, taken)
    }


async def _page(session: AsyncSession, caller: Caller, after: Any) -> Sequence[Any]:
    """The waiting answers after this one, in order; whether this person said something of each (`own`), judged it ever
    (`judged`), or gave a verdict that saw all that was said (`done`). One more than a page, where there is one."""
    values: dict[str, Any] = {"user": caller.user_id, "most": PAGE + 1}
    if after is not None:
        values |= {"rank": after.rank, "at": after.at, "id": after.completion_id}
    return (await session.execute(_of_page(after is None), values)).all()


@lru_cache
def _of_page(first: bool) -> Select[int, float, str, bool, bool, bool]:
    """Of the first page, or of one that comes after a place; made once."""
    row, given, review, user = tables.WaitingAnswer, tables.Feedback, tables.Review, bindparam("user")
    written = select(review.feedback_id).where(review.user_id == user, review.feedback_id.is_not(None))
    own = select(given.id).where(
        given.completion_id == row.completion_id, given.user_id == user, feedback.is_standing(),
        given.id.not_in(written),
    )  # fmt: skip
    judged = select(review.id).where(review.completion_id == row.completion_id, review.user_id == user)
    done = judged.where(review.undone_at.is_(None), review.at >= row.at)
    place = (row.rank, row.at, row.completion_id)
    query = select(
        *place, own.exists().label("own"), judged.exists().label("judged"), done.exists().label("done")
    )
    if not first:
        query = query.where(tuple_(*place) > tuple_(bindparam("rank"), bindparam("at"), bindparam("id")))
    return query.order_by(*place).limit(bindparam("most"))


async def _golden_is_due(session: AsyncSession, caller: Caller) -> bool:
    """Whether the last few that this person judged were none of them golden."""
    row = tables.Review
    mine = select(row.why).where(row.user_id == caller.user_id, row.undone_at.is_(None))
    last = list(await session.scalars(mine.order_by(row.at.desc()).limit(GOLDEN_EVERY - 1)))
    return len(last) == GOLDEN_EVERY - 1 and "golden" not in last


def _one_in(many: int, what: str, completion_id: str) -> bool:
    """Decided for good by the id alone, so that nobody chooses what is judged."""
    return hashlib.sha256(f"{what}:{completion_id}".encode()).digest()[0] % many == 0
