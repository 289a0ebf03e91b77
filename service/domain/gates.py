"""What a release's evaluation is worth now: a pass holds against what it was measured against, and on its questions.

Owns when a pass is none any more. The rule that made it is `evals.gate`'s. Never commits.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.evaluations import EvaluationReport, Gate, Reason
from service.db import tables


async def gate_of(session: AsyncSession, release: tables.Release, assistant: tables.Assistant) -> Gate | None:
    """The gate of the release's newest finished evaluation; None where it was never measured.

    A pass is shown as `hold` once another release answers than the one it was held against, or the assistant has
    other questions. The live release itself keeps what it passed by.
    """
    row = await session.get(tables.Evaluation, release.evaluation_id) if release.evaluation_id else None
    if row is None or row.report is None:
        return None
    report = EvaluationReport.model_validate(row.report)
    if report.gate.verdict == "hold" or assistant.live_release_id == release.id:
        return report.gate
    if assistant.cases_file not in (None, row.cases_file):
        said = "It passed on other questions than the assistant has now. Evaluate it again."
        return _held(said, Reason(code="other_questions"))
    live = await session.get(tables.Release, assistant.live_release_id) if assistant.live_release_id else None
    if live is not None and report.contestants.get("live") != f"{assistant.name}@{live.number}":
        said = f"It passed before release {live.number} went live, and was not held against that. Evaluate it again."
        return _held(said, Reason(code="another_live", values={"live": live.number}))
    return report.gate


def _held(said: str, reason: Reason) -> Gate:
    return Gate(verdict="hold", reasons=[said], coded=[reason])
