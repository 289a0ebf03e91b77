"""How alike reviewers judge: over all, by topic, by pair of people, and against what was agreed on beforehand.

The topic of an answer is as `topics` has it, or else its assistant. Reads the record and never commits.
"""

from collections import defaultdict
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.reviews import LAST_VERDICTS, Agreement, Pair, Reviewer, Topic
from service.db import tables
from service.domain import topics
from service.domain.agreement import cohen_kappa, krippendorff_alpha

Verdicts = dict[str, dict[str, str]]
"""Of each completion: each person's last verdict."""


async def agreement(session: AsyncSession, *, assistant: str | None) -> Agreement:
    """The figures over the last verdicts that stand, so that they tell of today and cost the same after years. One
    that skipped is none. Topics are those of what was judged twice, and those that the verdicts name."""
    asked, of = _asked(assistant is not None), {"assistant": assistant, "last": LAST_VERDICTS}
    verdicts, assistants = await _judged_twice(session, asked.twice, of)
    about = await topics.topics_of(session, verdicts.keys())
    named_topics = await session.scalars(asked.topics, of)
    by_topic: dict[str, Verdicts] = defaultdict(dict, {str(topic): {} for topic in named_topics})
    for id_, given in verdicts.items():
        by_topic[about.get(id_) or assistants[id_]][id_] = given
    overall = _topic("", verdicts)
    return Agreement(
        items=overall.items, alpha=overall.alpha, pairs=_pairs(verdicts),
        topics=[_topic(*one) for one in sorted(by_topic.items())], people=await _people(session, asked.people, of),
    )  # fmt: skip


class _Asked(NamedTuple):
    """What is asked of the last verdicts."""

    twice: Select[str, str, str | None, str]
    topics: Select[str | None]
    people: Select[str, int, int, int]


@cache
def _asked(of_one: bool) -> _Asked:
    """Of one assistant's, or of all. Made once, which takes about as long as to answer it."""
    row, user = tables.Review, tables.User
    stands = [row.undone_at.is_(None), row.verdict != "skip"]
    if of_one:
        stands.append(row.assistant == bindparam("assistant"))
    last = select(row.id).where(*stands).order_by(row.at.desc()).limit(bindparam("last"))
    stands.append(row.id.in_(last))
    twice = (
        select(row.completion_id)
        .where(*stands)
        .group_by(row.completion_id)
        .having(func.count(row.user_id.distinct()) > 1)
    )
    as_expected = func.coalesce(func.sum(case((row.expected == row.verdict, 1), else_=0)), 0)
    by_user = user.id == row.user_id
    return _Asked(
        select(row.completion_id, row.verdict, row.assistant, user.name)
        .join(user, by_user)
        .where(*stands, row.completion_id.in_(twice))
        .order_by(row.at),
        select(row.topic).where(*stands, row.topic.is_not(None)).distinct(),
        select(user.name, func.count(), func.count(row.expected), as_expected)
        .join(user, by_user)
        .where(*stands)
        .group_by(user.name),
    )


async def _judged_twice(
    session: AsyncSession, query: Select[str, str, str | None, str], of: dict[str, Any]
) -> tuple[Verdicts, dict[str, str]]:
    """The verdicts on answers that two people or more judged, and the assistant of each: most are judged once, and
    say nothing of how alike people judge."""
    verdicts: Verdicts = defaultdict(dict)
    named: dict[str, str] = {}
    for id_, verdict, assistant, name in await session.execute(query, of):
        verdicts[id_][name] = verdict
        named[id_] = str(assistant)
    return verdicts, named


def _topic(name: str, verdicts: Verdicts) -> Topic:
    units = [list(one.values()) for one in verdicts.values()]
    return Topic(topic=name, items=sum(len(unit) > 1 for unit in units), alpha=krippendorff_alpha(units))


def _pairs(verdicts: Verdicts) -> list[Pair]:
    """Everybody beside everybody with whom they judged the same answer, those with most in common first."""
    both: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for given in verdicts.values():
        for first, second in combinations(sorted(given), 2):
            both[first, second].append((given[first], given[second]))
    found = [
        Pair(
            names=list(names), items=len(pairs), same=sum(a == b for a, b in pairs), kappa=cohen_kappa(pairs)
        )
        for names, pairs in both.items()
    ]
    return sorted(found, key=lambda pair: (-pair.items, pair.names))


async def _people(
    session: AsyncSession, query: Select[str, int, int, int], of: dict[str, Any]
) -> list[Reviewer]:
    """Everybody, those who judged most first."""
    found = [
        Reviewer(name=name, judged=judged, golden=golden, as_expected=right)
        for name, judged, golden, right in await session.execute(query, of)
    ]
    return sorted(found, key=lambda one: (-one.judged, one.name))
