"""How alike reviewers judge: over all, by topic, by pair of people, and against what was agreed on beforehand.

The topic of an answer is the `topic` in its metadata, or else its assistant. Reads the record and never commits.
"""

from collections import defaultdict
from itertools import combinations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.reviews import Agreement, Pair, Reviewer, Topic
from service.db import tables
from service.domain.agreement import cohen_kappa, krippendorff_alpha

Verdicts = dict[str, dict[str, str]]
"""Of each completion: each person's last verdict."""


async def agreement(session: AsyncSession, *, assistant: str | None) -> Agreement:
    """The figures over every verdict that stands. One that skipped is none."""
    query = (
        select(tables.Review, tables.Completion.metadata_)
        .join(tables.Completion, tables.Completion.id == tables.Review.completion_id)
        .where(tables.Review.undone_at.is_(None), tables.Review.verdict != "skip")
        .order_by(tables.Review.at)
    )
    if assistant is not None:
        query = query.where(tables.Review.assistant == assistant)
    rows = [(review, metadata) for review, metadata in await session.execute(query)]
    names = {user.id: user.name for user in await session.scalars(select(tables.User))}
    verdicts: Verdicts = defaultdict(dict)
    topics: dict[str, set[str]] = defaultdict(set)
    for review, metadata in rows:
        verdicts[review.completion_id][names[review.user_id]] = review.verdict
        topics[str((metadata or {}).get("topic") or review.assistant)].add(review.completion_id)
    overall = _topic("", verdicts)
    return Agreement(
        items=overall.items, alpha=overall.alpha, pairs=_pairs(verdicts),
        topics=[_topic(name, {id_: verdicts[id_] for id_ in ids}) for name, ids in sorted(topics.items())],
        people=_people([review for review, _ in rows], names),
    )  # fmt: skip


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


def _people(reviews: list[tables.Review], names: dict[str, str]) -> list[Reviewer]:
    found: dict[str, Reviewer] = {}
    for review in reviews:
        name = names[review.user_id]
        one = found.setdefault(name, Reviewer(name=name, judged=0, golden=0, as_expected=0))
        one.judged += 1
        one.golden += review.expected is not None
        one.as_expected += review.expected == review.verdict
    return sorted(found.values(), key=lambda one: (-one.judged, one.name))
