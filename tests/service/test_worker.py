import json
from pathlib import Path

from service.contract import folder
from service.errors import BadInput
from service.worker import _as_error, _Follower, _lay_out, _reason


def line(step: int) -> bytes:
    return json.dumps({"at": 1.0, "step": step, "metrics": {"train_loss": 1.0}}).encode() + b"\n"


def test_progress_is_read_once_and_a_half_written_line_is_left_for_later(tmp_path: Path):
    path = tmp_path / folder.PROGRESS
    follower = _Follower(path)
    assert follower.news() == []
    path.write_bytes(line(1) + line(2)[:10])
    assert [one.step for one in follower.news()] == [1]
    path.write_bytes(line(1) + line(2) + line(3))
    assert [one.step for one in follower.news()] == [2, 3]
    assert follower.news() == []


def test_a_run_folder_is_fresh_at_each_attempt_and_its_spec_comes_last(tmp_path: Path):
    source = tmp_path / "source"
    source.write_text("rows")
    place = tmp_path / "jobs" / "ftjob-1"
    place.mkdir(parents=True)
    (place / folder.REPORT).write_text("an earlier attempt's")
    _lay_out(place, {"id": "ftjob-1"}, {folder.TRAIN: source})
    assert sorted(path.name for path in place.iterdir()) == [folder.JOB, folder.TRAIN]
    assert folder.read_json(place / folder.JOB) == {"id": "ftjob-1"}


def test_a_subprocess_tells_why_it_failed_or_where_to_look(tmp_path: Path):
    assert "log.txt" in _reason(tmp_path).message
    folder.write_json(
        tmp_path / folder.ERROR, {"code": "row_too_long", "message": "Line 3 is too long.", "param": None}
    )
    assert (_reason(tmp_path).code, _reason(tmp_path).message) == ("row_too_long", "Line 3 is too long.")


def test_an_error_reaches_the_job_without_the_insides_of_the_service():
    assert _as_error(BadInput("Send less.", param="file")).message == "Send less."
    assert _as_error(OSError(28, "No space left on device")).code == "disk_full"
    assert "secret" not in _as_error(RuntimeError("secret")).message
