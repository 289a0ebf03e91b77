"""What a release's evaluation is worth now: a pass holds against what it was measured against, and on its questions.

Owns when a pass is none any more. The rule that made it is `evals.gate`'s. Never commits.
"""

from typing import get_args

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.evaluations import EvaluationReport, Gate, OutdatedCode, Reason
from service.db import tables


async def gate_of(session: AsyncSession, release: tables.Release, assistant: tables.Assistant) -> Gate | None:
    """The gate of the release's newest finished evaluation; None where it was never measured.

    A pass is shown as `hold` once something else answers than what it was held against, or the assistant has other
    questions. The live release itself keeps what it passed by.
    """
    row = await session.get(tables.Evaluation, release.evaluation_id) if release.evaluation_id else None
    if row is None or row.report is None:
        return None
    report = EvaluationReport.model_validate(row.report)
    if report.gate.verdict == "hold" or assistant.live_release_id == release.id:
        return report.gate
    if not await _same_questions(session, row.cases_file, assistant.cases_file):
        return _outdated(
            "other_questions",
            "It passed, but on other questions than the assistant has now. Evaluate it again.",
        )
    live = await session.get(tables.Release, assistant.live_release_id) if assistant.live_release_id else None
    if report.contestants.get("live") != (f"{assistant.name}@{live.number}" if live else None):
        return _outdated("another_live", "It passed, but not against what answers now. Evaluate it again.")
    return report.gate


def is_outdated(gate: Gate) -> bool:
    """Whether it passed once, and holds no more."""
    return any(reason.code in get_args(OutdatedCode) for reason in gate.coded)


async def _same_questions(session: AsyncSession, asked: str, wanted: str | None) -> bool:
    """Whether both files say the same; an assistant without questions of its own is measured on any."""
    if wanted in (None, asked):
        return True
    query = select(tables.File.sha256).where(tables.File.id.in_((asked, wanted)))
    return len(set(await session.scalars(query))) == 1


def _outdated(code: OutdatedCode, said: str) -> Gate:
    return Gate(verdict="hold", reasons=[said], coded=[Reason(code=code)])
