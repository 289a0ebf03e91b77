"""What an answer is about: as a reviewer said, as its metadata says, or as its conversation is.

The last that a reviewer said of the answer itself comes first; then the `topic` in its metadata; then the last that a
reviewer said of another answer of its conversation. Owns also which topics an assistant has: those of its held-out
questions and those that reviewers used. Never commits.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.datasets import read_objects
from service.contract.evaluations import Case
from service.db import tables
from service.domain import files
from service.storage.local import Store

Told = tuple[str, str | None, str | None, str | None]
"""An answer, its conversation, the topic in its metadata, and the topic that a reviewer said."""
NONE = str(Case.model_fields["topic"].default)
"""The topic of a held-out question that names none."""
USED = 50
"""Topics that are offered of those that reviewers used."""
_ROW, _REVIEW, _IDS = tables.Completion, tables.Review, bindparam("ids", expanding=True)
_NOTED = select(_ROW.id, _ROW.conversation_id, _ROW.metadata_["topic"].as_string()).where(_ROW.id.in_(_IDS))
_SAID = (
    select(
        _REVIEW.at,
        _REVIEW.id,
        _ROW.id,
        _ROW.conversation_id,
        _ROW.metadata_["topic"].as_string(),
        _REVIEW.topic,
    )
    .join(_ROW, _ROW.id == _REVIEW.completion_id)
    .where(_REVIEW.topic.is_not(None), _REVIEW.undone_at.is_(None))
)
_SAID_OF = _SAID.where(_REVIEW.completion_id.in_(_IDS))
_SAID_NEAR = _SAID.where(_ROW.conversation_id.in_(_IDS))


def settled(told: Iterable[Told]) -> dict[str, str]:
    """The topic of each answer from what was told of it, oldest first; one without a topic is left out."""
    answers: dict[str, tuple[str | None, str | None]] = {}
    said: dict[str, str] = {}
    near: dict[str, str] = {}
    for answer, conversation, noted, topic in told:
        answers[answer] = (conversation, noted)
        if topic:
            said[answer] = topic
            if conversation:
                near[conversation] = topic
    found = {
        answer: said.get(answer) or noted or near.get(conversation or "")
        for answer, (conversation, noted) in answers.items()
    }
    return {answer: topic for answer, topic in found.items() if topic}


async def topics_of(session: AsyncSession, completion_ids: Collection[str]) -> dict[str, str]:
    """The topics of these answers, by id, as far as they are known."""
    told: dict[tuple[float, str], Told] = {}
    for id_, conversation, topic in await session.execute(_NOTED, {"ids": list(completion_ids)}):
        told[0.0, id_] = (id_, conversation, topic, None)
    talks = {conversation for _, conversation, _, _ in told.values() if conversation}
    for query, ids in ((_SAID_OF, completion_ids), (_SAID_NEAR, talks)):
        for at, review_id, id_, conversation, topic, word in await session.execute(query, {"ids": list(ids)}):
            told[at, review_id] = (id_, conversation, topic, word)
    found = settled(told[key] for key in sorted(told))
    return {id_: found[id_] for id_ in completion_ids if id_ in found}


async def known(session: AsyncSession, store: Store, assistant: tables.Assistant) -> list[str]:
    """The topics that an assistant has, in alphabetical order."""
    review = tables.Review
    used = (
        select(review.topic)
        .where(review.assistant == assistant.name, review.topic.is_not(None), review.undone_at.is_(None))
        .group_by(review.topic)
        .order_by(review.topic)
        .limit(USED)
    )
    return sorted(
        {*await of_cases(session, store, assistant), *(t for t in await session.scalars(used) if t)}
    )


async def of_cases(session: AsyncSession, store: Store, assistant: tables.Assistant) -> frozenset[str]:
    """The topics of its held-out questions."""
    if assistant.cases_file is None:
        return frozenset()
    return _of_file(store.file((await files.get_kept(session, assistant.cases_file)).sha256))


async def near(session: AsyncSession, completion_id: str) -> list[str]:
    """The answers whose topic may change with what is said of this one: those of its conversation."""
    row = tables.Completion
    talk = (await session.get_one(row, completion_id)).conversation_id
    if talk is None:
        return [completion_id]
    return list(await session.scalars(select(row.id).where(row.conversation_id == talk)))


@lru_cache(maxsize=8)
def _of_file(path: Path) -> frozenset[str]:
    """Kept under the file's path, which is its digest."""
    with open(path, "rb") as lines:
        found = {Case.model_validate(value).topic for _, value in read_objects(lines)}
    return frozenset(found - {NONE})
