"""Whether training on feedback may start: held while a finding on its data blocks, unless somebody answers for it.

It holds for a round and for every job on a file that feedback was frozen into, by whatever call it comes.

The reason and the name stay with the job. Never commits.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.jobs import MIN_REASON, JobCreate
from service.contract.signal import Signal
from service.db import tables
from service.domain import jobs
from service.domain.keys import Caller
from service.errors import BadInput, Conflict

REASON = "override_reason"
"""Where a job's metadata say why."""


def check(signal: Signal | None, override_reason: str | None) -> None:
    """Raise `Conflict` for a signal that would teach the wrong thing and that nobody answers for."""
    if (why := held(signal, override_reason)) is not None:
        raise Conflict(why, code="round_held")


def held(signal: Signal | None, override_reason: str | None) -> str | None:
    """Why a start would be refused for what the feedback would teach, and what one can do; none where it would not."""
    blocking = [finding for finding in signal.findings if finding.blocks] if signal is not None else []
    if not blocking or override_reason is not None:
        return None
    return (
        f"The round is held: {' '.join(finding.message for finding in blocking)} Start it with 'override_reason' (of a "
        "job: in 'metadata') to train all the same; your name and reason are kept."
    )


def reason_of(wanted: JobCreate) -> str | None:
    """The reason that a job's request gives for training all the same. Raises `BadInput` for one that says nothing."""
    given = (wanted.metadata or {}).get(REASON)
    if given is not None and len(given.strip()) < MIN_REASON:
        raise BadInput(f"Say in '{REASON}' why, in {MIN_REASON} characters at least.", param="metadata")
    return given


async def explain(
    session: AsyncSession, caller: Caller, job: tables.Job, signal: Signal, override_reason: str | None
) -> None:
    """Tell in the job's events what was found, and who started it all the same and why."""
    for finding in signal.findings:
        data = {"finding": finding.code, **_figures(signal)}
        await jobs.add_event(session, job.id, finding.message, level="warn", code="round_finding", data=data)
    if override_reason is not None and signal.verdict == "bad":
        said = f"{caller.name} started it all the same: {override_reason}"
        data = {"name": caller.name, "reason": override_reason}
        await jobs.add_event(session, job.id, said, level="warn", code="round_override", data=data)


def _figures(signal: Signal) -> dict[str, float]:
    """What a finding may name, ratios and percentages, as far as it was measured."""
    shares = {
        "share": signal.largest_share, "agreement": signal.agreement, "stale": signal.off_policy_share,
        "left": signal.left_share,
    }  # fmt: skip
    found: dict[str, float] = {
        name: round(share * 100) for name, share in shares.items() if share is not None
    }
    return found if signal.length_ratio is None else {**found, "ratio": round(signal.length_ratio, 1)}
