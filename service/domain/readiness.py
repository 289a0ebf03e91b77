"""What the feedback on an assistant can support today: read from figures that are kept up to date.

Knows no feedback and no rows, so that it costs the same however much there is. Never commits.
"""

from math import ceil

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.assistants import Readiness, TopicPairs
from service.contract.datasets import Kind
from service.contract.signal import Signal
from service.db import tables
from service.domain import assistants, signal, topics
from service.domain.preferences import KEPT
from service.storage.local import Store

BASE = "base"
"""The adapter of an assistant without a live release."""
TOPICS = 50
"""Topics that are told, the weakest first."""
_TOPIC = (
    tables.Tally.assistant == bindparam("assistant"), tables.Tally.kind == "dpo", tables.Tally.what == "topic",
    tables.Tally.n > 0,
)  # fmt: skip
_FEWEST = select(tables.Tally.name, tables.Tally.n).where(*_TOPIC).order_by(tables.Tally.n).limit(TOPICS)
_WITH_TOPIC = select(func.coalesce(func.sum(tables.Tally.n), 0)).where(*_TOPIC)


async def readiness(
    session: AsyncSession, store: Store, name: str, *, needed: int, share: float
) -> Readiness:
    """In figures and a few sentences. `share` is the most that one person may give of the rows."""
    assistant = await assistants.get_assistant(session, name)
    live = await live_adapter(session, assistant)
    found = await signal.counts(session, name)
    signals: dict[Kind, Signal] = {
        kind: signal.measured(kind, found[kind], live=live) for kind in signal.KINDS
    }
    pairs, rated, everybody = found["dpo"], found["kto"], found["any"]
    count = pairs.kept - pairs.over_share(share)
    held = next((one for one in signals["dpo"].findings if one.blocks), None)
    if count < needed:
        missing = needed - count
        advice = f"{count} of {needed} corrected answers. {missing} more make a training round worthwhile."
    elif held is not None:
        advice = (
            f"{count} corrected answers are there, but a round would learn the wrong thing. {held.message}"
        )
    else:
        advice = f"{count} corrected answers are ready. A training round can start."
    by_topic, told = await _by_topic(session, store, assistant)
    if by_topic:
        advice += f" The weakest topic is '{by_topic[0].topic}', with {by_topic[0].pairs}."
    more = more_people(pairs, needed, share)
    if more:
        who = "person is" if more == 1 else "people are"
        advice += f" {more} more {who} needed: one may give {share:.0%} of a round."
    labels, distinct = rated.of["label"], everybody.of["distinct"]
    return Readiness(
        assistant=name, pairs=count, rated=rated.kept - rated.over_share(share),
        examples=found["sft"].kept - found["sft"].over_share(share), up=labels.get("up", 0),
        down=labels.get("down", 0), people=distinct.get("person", 0),
        conversations=distinct.get("conversation", 0), needed=needed, excluded=left_out(pairs, share),
        left_out={kind: left_out(found[kind], share) for kind in signal.KINDS},
        topics=by_topic, without_topic=max(0, pairs.kept - told), more_people=more, signals=signals,
        ready=count >= needed and held is None, advice=advice,
    )  # fmt: skip


def more_people(counts: signal.Counts, needed: int, share: float) -> int:
    """How many more people a round of `needed` rows wants, of whom nobody may give more than `share`: each gives what
    others give on average, or, where there is nobody else yet, what everybody may give."""
    if share >= 1 or needed <= signal.FREE_ROWS or counts.largest is None:
        return 0
    others, people = counts.kept - counts.largest[1], counts.of["distinct"].get("person", 1) - 1
    missing = ceil(needed * (1 - share)) - others
    each = others / people if people > 0 and others > 0 else signal.FREE_ROWS
    return max(0, ceil(missing / each))


async def _by_topic(
    session: AsyncSession, store: Store, assistant: tables.Assistant
) -> tuple[list[TopicPairs], int]:
    """Pairs by topic, the fewest first, and how many have a topic. Where none has one, no topic is weak."""
    mine = {"assistant": assistant.name}
    found = {name: n for name, n in await session.execute(_FEWEST, mine)}
    told = await session.scalar(_WITH_TOPIC, mine) or 0
    if not found:
        return [], 0
    cases = await topics.of_cases(session, store, assistant)
    everything = dict.fromkeys(cases, 0) | found
    weakest = sorted(everything.items(), key=lambda one: (one[1], one[0]))[:TOPICS]
    return [TopicPairs(topic=name, pairs=n) for name, n in weakest], int(told)


def left_out(counts: signal.Counts, share: float) -> dict[str, int]:
    """How many rows do not train, by reason."""
    found = {reason: n for reason, n in sorted(counts.of["reason"].items()) if reason != KEPT}
    over = counts.over_share(share)
    return found | {"over_share": over} if over else found


async def live_adapter(session: AsyncSession, assistant: tables.Assistant) -> str:
    """Digest of the adapter that a round would go on from, or `base`."""
    if assistant.live_release_id is None:
        return BASE
    return (await session.get_one(tables.Release, assistant.live_release_id)).adapter
