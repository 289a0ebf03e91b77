"""What a job says of itself while it runs: lines of a growing file, and the events that become of them."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.jobs import Progress
from service.domain import jobs


class Follower:
    """Reads what is new in a growing file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def news(self) -> list[Progress]:
        if not self._path.exists():
            return []
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [Progress.model_validate_json(line) for line in whole.splitlines() if line.strip()]


async def keep(session: AsyncSession, job_id: str, progress: Progress) -> None:
    """Write a line as events of the job: what it says, and a step's figures."""
    if progress.message is not None:
        await jobs.add_event(
            session, job_id, progress.message, level=progress.level, at=progress.at, code=progress.code,
            data=progress.values,
        )  # fmt: skip
    if progress.step is not None:
        data = progress.model_dump(
            exclude_none=True, exclude={"at", "level", "message", "code", "values", "metrics"}
        )
        figures = {**data, **progress.metrics}
        loss = progress.metrics.get("train_loss")
        message = f"Step {progress.step}/{progress.total_steps or '?'}"
        if loss is not None:
            message += f": training loss={loss:.4f}"
        await jobs.add_event(session, job_id, message, type_="metrics", data=figures, at=progress.at)
