"""How alike reviewers judge: over all, by topic, by pair of people, and against what was agreed on beforehand.

The topic of an answer is as `topics` has it, or else its assistant. Reads the record and never commits.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.reviews import Agreement, Pair, Reviewer, Topic
from service.db import tables
from service.domain import topics
from service.domain.agreement import cohen_kappa, krippendorff_alpha

Verdicts = dict[str, dict[str, str]]
"""Of each completion: each person's last verdict."""


async def agreement(session: AsyncSession, *, assistant: str | None) -> Agreement:
    """The figures over every verdict that stands. One that skipped is none."""
    row, completion, user = tables.Review, tables.Completion, tables.User
    # Plain rows: there may be tens of thousands.
    query = (
        select(
            row.completion_id, row.verdict, row.expected, row.assistant, row.topic, user.name,
            completion.conversation_id, completion.metadata_["topic"].as_string().label("noted"),
        )
        .join(completion, completion.id == row.completion_id).join(user, user.id == row.user_id)
        .where(row.undone_at.is_(None), row.verdict != "skip").order_by(row.at)
    )  # fmt: skip
    if assistant is not None:
        query = query.where(row.assistant == assistant)
    rows = (await session.execute(query)).all()
    verdicts: Verdicts = defaultdict(dict)
    by_topic: dict[str, set[str]] = defaultdict(set)
    about = topics.settled((one.completion_id, one.conversation_id, one.noted, one.topic) for one in rows)
    for one in rows:
        verdicts[one.completion_id][one.name] = one.verdict
        by_topic[about.get(one.completion_id) or str(one.assistant)].add(one.completion_id)
    overall = _topic("", verdicts)
    return Agreement(
        items=overall.items, alpha=overall.alpha, pairs=_pairs(verdicts),
        topics=[_topic(name, {id_: verdicts[id_] for id_ in ids}) for name, ids in sorted(by_topic.items())],
        people=_people(rows),
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


def _people(rows: Sequence[Any]) -> list[Reviewer]:
    found: dict[str, Reviewer] = {}
    for review in rows:
        one = found.setdefault(review.name, Reviewer(name=review.name, judged=0, golden=0, as_expected=0))
        one.judged += 1
        one.golden += review.expected is not None
        one.as_expected += review.expected == review.verdict
    return sorted(found.values(), key=lambda one: (-one.judged, one.name))
