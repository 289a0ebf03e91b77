"""What the feedback on an assistant can support today: read from figures that are kept up to date.

Knows no feedback and no rows, so that it costs the same however much there is. Never commits.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.assistants import Readiness
from service.contract.datasets import Kind
from service.contract.signal import Signal
from service.db import tables
from service.domain import assistants, signal
from service.domain.preferences import KEPT

BASE = "base"
"""The adapter of an assistant without a live release."""


async def readiness(session: AsyncSession, name: str, *, needed: int, share: float) -> Readiness:
    """In figures and one sentence. `share` is the most that one person may give of the rows."""
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
    labels, distinct = rated.of["label"], everybody.of["distinct"]
    return Readiness(
        assistant=name, pairs=count, rated=rated.kept - rated.over_share(share), up=labels.get("up", 0),
        down=labels.get("down", 0), people=distinct.get("person", 0),
        conversations=distinct.get("conversation", 0), needed=needed, excluded=left_out(pairs, share),
        signals=signals, ready=count >= needed and held is None, advice=advice,
    )  # fmt: skip


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
