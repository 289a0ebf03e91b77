import json
from pathlib import Path
from typing import Any

from service.contract import folder
from service.contract.jobs import Progress
from service.progress import Follower, keep


def line(step: int) -> bytes:
    return json.dumps({"at": 1.0, "step": step, "metrics": {"train_loss": 1.0}}).encode() + b"\n"


def test_progress_is_read_once_and_a_half_written_line_is_left_for_later(tmp_path: Path):
    path = tmp_path / folder.PROGRESS
    follower = Follower(path)
    assert follower.news() == []
    path.write_bytes(line(1) + line(2)[:10])
    assert [one.step for one in follower.news()] == [1]
    path.write_bytes(line(1) + line(2) + line(3))
    assert [one.step for one in follower.news()] == [2, 3]
    assert follower.news() == []


class Rows(list[Any]):
    """What is written to the database, instead of it."""

    add = list[Any].append

    async def flush(self) -> None: ...


async def test_what_a_subprocess_says_keeps_its_code_and_values():
    rows = Rows()
    await keep(rows, "ftjob-1", Progress(at=1, message="Go.", code="going_on", values={"step": 5}))
    await keep(rows, "ftjob-1", Progress(at=2, step=6, total_steps=9))
    assert [row.data for row in rows] == [{"code": "going_on", "step": 5}, {"step": 6, "total_steps": 9}]
