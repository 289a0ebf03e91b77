"""Whether a training round may start: held while a finding on its data blocks, unless somebody answers for it.

The reason and the name stay with the job. Never commits.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.signal import Signal
from service.db import tables
from service.domain import jobs
from service.domain.keys import Caller
from service.errors import Conflict


def check(signal: Signal, override_reason: str | None) -> None:
    """Raise `Conflict` for a signal that would teach the wrong thing and that nobody answers for."""
    blocking = [finding for finding in signal.findings if finding.blocks]
    if blocking and override_reason is None:
        raise Conflict(
            f"The round is held: {' '.join(finding.message for finding in blocking)} "
            "Start it with 'override_reason' to train all the same; your name and reason are kept.",
            code="round_held",
        )


async def explain(
    session: AsyncSession, caller: Caller, job: tables.Job, signal: Signal, override_reason: str | None
) -> None:
    """Tell in the job's events what was found, and who started it all the same and why."""
    for finding in signal.findings:
        await jobs.add_event(session, job.id, finding.message, level="warn")
    if override_reason is not None and signal.verdict == "bad":
        await jobs.add_event(
            session, job.id, f"{caller.name} started it all the same: {override_reason}", level="warn"
        )
