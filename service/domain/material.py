"""What the standing feedback amounts to, kept up to date: sorted in slices, each event once, in bounded memory.

An event waits with `sorted` false until a slice takes it in; so whatever wrote it, in whatever order it was
committed, it is not missed. What an event changes is found by keys: the work does not grow with what is there.
When an assistant's held-out questions change, its material is forgotten and sorted again. With each event it is told to
`review_queue` too. Never commits.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Table, bindparam, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.blocklist import Blocklist
from service.db import bulk, tables
from service.domain import assistants, conversations, files, review_queue, reviews, tallies, topics
from service.domain.preferences import KEPT, Answer, Piece, Said, Withheld, pieces, verdicts
from service.domain.signal import AGREED, Count, counted
from service.storage.local import Store

SLICE = 500
"""Events taken in at once."""
Key = tuple[str, str]
"""Kind and subject."""

_MATERIAL = cast(Table, tables.Material.__table__)
_SUBJECTS = cast(Table, tables.Subject.__table__)
_FEEDBACK = cast(Table, tables.Feedback.__table__)
_PIECE = [_MATERIAL.c[name] for name in Piece._fields]
# Made once: to put a question together takes longer than SQLite does to answer it.
_IDS, _ASSISTANT = bindparam("ids", expanding=True), bindparam("assistant")
_WAITS = select(exists().where(_FEEDBACK.c.assistant == _ASSISTANT, ~_FEEDBACK.c.sorted))
_EVENTS = (
    select(*(_FEEDBACK.c[name] for name in (
        "id", "user_id", "type", "rating", "correction", "preference", "left_completion_id", "at", "completion_id",
        "preferred_completion_id", "supersedes",
    )))
    .where(_FEEDBACK.c.assistant == _ASSISTANT, ~_FEEDBACK.c.sorted)
    .order_by(_FEEDBACK.c.at)
    .limit(bindparam("slice"))
)  # fmt: skip
_SUPERSEDED = select(_FEEDBACK.c.supersedes).where(_FEEDBACK.c.supersedes.in_(_IDS))
_ANSWERS = select(*(getattr(tables.Completion, name) for name in (
    "id", "user_id", "conversation_id", "messages", "output", "status", "finish_reason", "sampling", "adapter",
    "release_number",
))).where(tables.Completion.id.in_(_IDS))  # fmt: skip
_PIECES = select(*_PIECE).where(_MATERIAL.c.feedback_id.in_(_IDS))
_GROUPS = select(*(_SUBJECTS.c[name] for name in (
    "subject", "up", "down", "people_up", "people_down", "people_undecided", "people_torn", "first", "first_at",
))).where(
    _SUBJECTS.c.assistant == _ASSISTANT, _SUBJECTS.c.kind == bindparam("kind"), _SUBJECTS.c.subject.in_(_IDS)
)  # fmt: skip
_SAID = (
    select(_MATERIAL.c.voice, _MATERIAL.c.side)
    .where(_MATERIAL.c.assistant == _ASSISTANT, _MATERIAL.c.voice.in_(_IDS))
    .distinct()
)
_INSERT, _INSERT_SUBJECT = insert(_MATERIAL), insert(_SUBJECTS)
_UPDATE_SUBJECT = (
    update(_SUBJECTS)
    .where(*(_SUBJECTS.c[name] == bindparam(f"at_{name}") for name in ("assistant", "kind", "subject")))
    .values({column.name: bindparam(column.name) for column in _SUBJECTS.columns if not column.primary_key})
)


@dataclass(slots=True)
class Group:
    """What was said of one subject."""

    up: int = 0
    down: int = 0
    people_up: int = 0
    people_down: int = 0
    people_undecided: int = 0
    people_torn: int = 0
    first: str | None = None
    first_at: float | None = None

    def trains(self, kind: str) -> bool:
        return KEPT in verdicts(kind, self.up, self.down)

    def add_to(self, figures: Counter[Count], kind: str, sign: int) -> None:
        """Add to the tallies what it counts, its row aside, or take it away."""
        for why, n in verdicts(kind, self.up, self.down).items():
            figures[kind, "reason", why] += sign * n
        sides = (self.people_up, self.people_down, self.people_undecided)
        people = sum(sides) + self.people_torn
        if kind != "sft" and people > 1:
            same = AGREED * sum(comb(n, 2) for n in sides) / comb(people, 2)
            figures[kind, "compared", "all"] += sign
            figures[kind, "compared", "same"] += sign * round(same)


_NOBODY = Group()


async def behind(session: AsyncSession, store: Store, name: str) -> bool:
    """Whether there is something to take in for an assistant."""
    assistant = await assistants.get_assistant(session, name)
    if await session.scalar(_WAITS, {"assistant": name}):
        return True
    known = await tallies.cases_of(session, name)
    return known is not None and known != (await blocklist_of(session, store, assistant))[0]


async def waiting(session: AsyncSession) -> list[str]:
    """Names of the assistants with feedback that was not taken in yet."""
    query = select(tables.Feedback.assistant).where(~tables.Feedback.sorted).distinct()
    known = select(tables.Assistant.name).where(tables.Assistant.name.in_(query))
    return list(await session.scalars(known))


async def take_in(session: AsyncSession, store: Store, name: str) -> bool:
    """Take in the next slice of an assistant's feedback. Whether there may be more."""
    # The row's lock: elsewhere than on SQLite, two slices at once would count the same people twice.
    assistant = await session.scalar(
        select(tables.Assistant).where(tables.Assistant.name == name).with_for_update()
    )
    if assistant is None:
        return False
    cases, blocklist = await blocklist_of(session, store, assistant)
    known = await tallies.cases_of(session, name)
    if known is not None and known != cases:
        await _forget(session, name)
    if known != cases:
        session.add(tables.Tally(assistant=name, kind="any", what="cases", name=cases, n=1))
        await session.flush()
    events = await _events(session, name)
    if not events:
        return False
    answers = {id_ for event in events for id_ in (event.completion_id, event.preferred_completion_id) if id_}
    items = await review_queue.items_of(session, answers, deleted=True)
    leaving, coming = await _moves(session, events, blocklist, items)
    await _exchange(session, name, leaving, coming)
    await review_queue.keep(session, answers, items)
    taken = [event.id for event in events]
    await session.execute(update(_FEEDBACK).where(_FEEDBACK.c.id.in_(taken)).values(sorted=True))
    return len(events) == SLICE


async def blocklist_of(
    session: AsyncSession, store: Store, assistant: tables.Assistant
) -> tuple[str, Blocklist]:
    """The held-out questions of an assistant, and the digest of the file they stand in, `none` without one."""
    if assistant.cases_file is None:
        return "none", Blocklist([])
    file = await files.get_kept(session, assistant.cases_file)
    return file.sha256, _blocklist(store.file(file.sha256))


async def answers_of(session: AsyncSession, ids: Iterable[str]) -> dict[str, Answer]:
    """What the rules need of these completions."""
    return {found[0]: Answer(*found) for found in await session.execute(_ANSWERS, {"ids": list(set(ids))})}


def said_of(event: Any) -> Said:
    """The rules' view of a row of `feedback`."""
    return Said(
        event.id, event.user_id, event.type, event.rating, event.correction, event.preference,
        event.left_completion_id, event.at,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _blocklist(path: Path) -> Blocklist:
    """Kept under the file's path, which is its digest."""
    with open(path, "rb") as lines:
        return Blocklist.read(lines)


async def _events(session: AsyncSession, name: str) -> Sequence[Any]:
    return (await session.execute(_EVENTS, {"assistant": name, "slice": SLICE})).all()


async def _moves(
    session: AsyncSession, events: Sequence[Any], blocklist: Blocklist, items: dict[str, review_queue.Item]
) -> tuple[list[Piece], list[Piece]]:
    """What these events take out of the material, and what they bring in. `items` are those of their answers."""
    replaced = [event.supersedes for event in events if event.supersedes]
    # An event that was taken in before comes again when what its answers may be used for has changed.
    leaving = await _pieces(session, [*replaced, *(event.id for event in events)])
    gone = set(await session.scalars(_SUPERSEDED, {"ids": [event.id for event in events]}))
    standing = [event for event in events if event.type != "retraction" and event.id not in gone]
    ids = [id_ for event in standing for id_ in (event.completion_id, event.preferred_completion_id) if id_]
    answers, withheld = await answers_of(session, ids), await _withheld(session, ids, items)
    about = await topics.topics_of(session, ids)
    coming: list[Piece] = []
    for event in standing:
        other = answers.get(event.preferred_completion_id or "")
        named = (event.completion_id, event.id, event.preferred_completion_id)
        why: Withheld | None = next((withheld[id_] for id_ in named if id_ in withheld), None)
        made = pieces(said_of(event), answers[event.completion_id], other, blocklist, why)
        coming += [one._replace(topic=about.get(event.completion_id)) for one in made]
    return leaving, coming


async def _withheld(
    session: AsyncSession, completion_ids: Sequence[str], items: dict[str, review_queue.Item]
) -> dict[str | None, Withheld]:
    """What people keep from training: by the id of an answer, or of one piece of feedback."""
    kept = await conversations.kept_from_training(session, completion_ids)
    personal = await reviews.after_personal_data(session, completion_ids)
    found = {
        **dict.fromkeys(personal, "personal_data"),
        **reviews.withheld(items.values()),
        **dict.fromkeys(kept, "kept_private"),
    }
    return cast(dict[str | None, Withheld], found)


async def _exchange(
    session: AsyncSession, name: str, leaving: Sequence[Piece], coming: Sequence[Piece]
) -> None:
    """Take pieces out and in, and bring subjects and tallies up to date."""
    voices = {
        one.voice: (one.kind, one.subject)
        for one in (*leaving, *coming)
        if one.voice is not None and one.subject is not None
    }
    keys = set(voices.values())
    groups = await _groups(session, name, keys)
    firsts = [group.first for group in groups.values() if group.first is not None]
    known = {(one.feedback_id, one.kind): one for one in await _pieces(session, firsts) if one.row}
    now = known | {(one.feedback_id, one.kind): one for one in coming if one.row}
    said = await _said(session, name, voices)
    before = _people(said, voices)
    out = [one.feedback_id for one in leaving]
    if out:
        await session.execute(delete(_MATERIAL).where(_MATERIAL.c.feedback_id.in_(out)))
    await bulk.run(session, _INSERT, [one._asdict() | {"assistant": name} for one in coming])
    if out:
        said = await _said(session, name, voices)
    else:
        for one in coming:
            if one.voice in voices:
                said[one.voice].add(one.side)
    after = _people(said, voices)
    fresh = {key: _with_people(groups.get(key, _NOBODY), before.get(key), after.get(key)) for key in keys}
    for one in leaving:
        _count(fresh, one, -1)
    for one in coming:
        _count(fresh, one, 1)
    for key in [key for key, group in fresh.items() if group.first in out]:
        group = fresh[key]
        group.first, group.first_at = await _first(session, name, key)
        missing = [group.first] if group.first is not None and (group.first, key[0]) not in now else []
        now |= {(one.feedback_id, one.kind): one for one in await _pieces(session, missing) if one.row}
    await _keep(session, name, groups, fresh)
    await tallies.add(session, name, _difference(leaving, coming, groups, fresh, (known, now)))


def _with_people(group: Group, before: Counter[str] | None, after: Counter[str] | None) -> Group:
    """A copy of the group with its people counted anew."""
    fresh = copy(group)
    for sign, people in ((-1, before), (1, after)):
        for name, n in (people or {}).items():
            setattr(fresh, name, getattr(fresh, name) + sign * n)
    return fresh


def _count(groups: dict[Key, Group], piece: Piece, n: int) -> None:
    """Add a piece to its group, or take it away; the first row of all that come is the group's."""
    if piece.subject is None or piece.fault is not None:
        return
    group = groups[piece.kind, piece.subject]
    if piece.side == 1:
        group.up += n
    else:
        group.down += n
    if n > 0 and piece.row:
        mine = (piece.at, piece.feedback_id)
        if group.first is None or group.first_at is None or mine < (group.first_at, group.first):
            group.first_at, group.first = mine


def _difference(
    leaving: Sequence[Piece], coming: Sequence[Piece], old: dict[Key, Group], new: dict[Key, Group],
    rows: tuple[dict[tuple[str, str], Piece], dict[tuple[str, str], Piece]],
) -> Counter[Count]:  # fmt: skip
    """What the tallies change by. `rows` are the groups' first ones, as they were and as they are: what a row is about
    may have changed."""
    change: Counter[Count] = Counter()
    for n, moved in ((-1, leaving), (1, coming)):
        for one in moved:
            if one.fault is not None:
                change[one.kind, "reason", one.fault] += n
    for (kind, subject), group in new.items():
        was = old.get((kind, subject), _NOBODY)
        was.add_to(change, kind, -1)
        group.add_to(change, kind, 1)
        for n, one, known in zip((-1, 1), (was, group), rows, strict=True):
            if one.first is not None and one.trains(kind):
                for what in counted(known[one.first, kind]):
                    change[what] += n
    return change


async def _pieces(session: AsyncSession, feedback_ids: Sequence[str]) -> list[Piece]:
    if not feedback_ids:
        return []
    return [Piece(*row) for row in await session.execute(_PIECES, {"ids": feedback_ids})]


async def _groups(session: AsyncSession, name: str, keys: set[Key]) -> dict[Key, Group]:
    wanted, found = defaultdict(list), {}
    for kind, subject in keys:
        wanted[kind].append(subject)
    for kind, subjects in wanted.items():
        rows = await session.execute(_GROUPS, {"assistant": name, "kind": kind, "ids": subjects})
        found |= {(kind, subject): Group(*values) for subject, *values in rows}
    return found


_PEOPLE = {
    frozenset({1}): "people_up",
    frozenset({-1}): "people_down",
    frozenset({0}): "people_undecided",
}
_PEOPLE |= {
    frozenset(sides): "people_torn" for sides in ((1, -1), (1, 0), (-1, 0), (1, -1, 0))
}  # fmt: skip


async def _said(session: AsyncSession, name: str, voices: Iterable[str]) -> defaultdict[str, set[int]]:
    """For each of these voices that speaks, the sides it is on."""
    said: defaultdict[str, set[int]] = defaultdict(set)
    for voice, side in await session.execute(_SAID, {"assistant": name, "ids": list(voices)}):
        said[voice].add(side)
    return said


def _people(said: dict[str, set[int]], voices: dict[str, Key]) -> dict[Key, Counter[str]]:
    """For each subject, how many of the people behind these voices say what of it."""
    found: dict[Key, Counter[str]] = defaultdict(Counter)
    for voice, sides in said.items():
        found[voices[voice]][_PEOPLE[frozenset(sides)]] += 1
    return found


async def _first(session: AsyncSession, name: str, key: Key) -> tuple[str | None, float | None]:
    """The first row on a subject, after the one that was has gone."""
    row = _MATERIAL.c
    query = select(row.feedback_id, row.at).where(
        row.assistant == name, row.kind == key[0], row.subject == key[1], row.fault.is_(None)
    )
    if key[0] == "sft":
        query = query.where(row.side == 1)
    found = (await session.execute(query.order_by(row.at, row.feedback_id).limit(1))).first()
    return (found[0], found[1]) if found else (None, None)


async def _keep(session: AsyncSession, name: str, old: dict[Key, Group], new: dict[Key, Group]) -> None:
    added: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for (kind, subject), group in new.items():
        values = {field: getattr(group, field) for field in Group.__slots__} | {"trains": group.trains(kind)}
        if (kind, subject) not in old:
            added.append(values | {"assistant": name, "kind": kind, "subject": subject})
        elif group != old[kind, subject]:
            changed.append(values | {"at_assistant": name, "at_kind": kind, "at_subject": subject})
    await bulk.run(session, _INSERT_SUBJECT, added)
    await bulk.run(session, _UPDATE_SUBJECT, changed)


async def _forget(session: AsyncSession, name: str) -> None:
    """Everything an assistant's feedback amounted to, so that it is taken in again."""
    for table in (tables.Material, tables.Subject, tables.Tally):
        await session.execute(delete(table).where(table.assistant == name))
    await session.execute(update(_FEEDBACK).where(_FEEDBACK.c.assistant == name).values(sorted=False))
