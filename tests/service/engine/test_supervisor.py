"""A child is restarted, given up with a reason, and never outlives whoever started it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engine import leftovers, supervisor
from service.engine.supervisor import Child, ChildFailed

STUBBORN = (
    "import os, signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; "
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)'], stdout=subprocess.PIPE)\n"
    "child.stdout.readline()\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(60)\n"
)


def _child(tmp_path: Path, program: str, **settings) -> Child:
    return Child("bird", [sys.executable, "-c", program], dict(os.environ), tmp_path / "bird.log", **settings)


def _start(program: str) -> subprocess.Popen:
    """A process in a session of its own, that no `Child` looks after."""
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.02)


def _lines(tmp_path: Path) -> list[str]:
    log = tmp_path / "bird.log"
    return log.read_text().splitlines() if log.exists() else []


async def test_a_child_that_is_killed_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervisor, "_SHORTEST_WAIT", 0.01)
    child = _child(tmp_path, "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    running = asyncio.create_task(child.run())
    await _until(lambda: len(_lines(tmp_path)) == 1)
    os.kill(int(_lines(tmp_path)[0]), signal.SIGKILL)
    await _until(lambda: len(_lines(tmp_path)) == 2)
    assert child.restarts == 1
    assert child.pid == int(_lines(tmp_path)[1])
    await child.stop()
    await running
    assert child.pid is None


async def test_a_child_that_keeps_crashing_is_given_up_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor, "_SHORTEST_WAIT", 0.01)
    child = _child(tmp_path, "import sys; print('no such model'); sys.exit(3)", max_crashes=3)
    with pytest.raises(ChildFailed) as failed:
        await child.run()
    reason = str(failed.value)
    assert "\n" not in reason
    assert reason.startswith("bird ended with status 3, 3 times in a row.")
    assert str(tmp_path / "bird.log") in reason
    assert "no such model" in reason
    assert _lines(tmp_path) == ["no such model"] * 3


async def test_a_child_that_lived_long_enough_starts_with_a_clean_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor, "_SHORTEST_WAIT", 0.01)
    child = _child(tmp_path, "print('x', flush=True)", max_crashes=2, settled_after=0.0)
    running = asyncio.create_task(child.run())
    await _until(lambda: child.restarts >= 4)
    await child.stop()
    await running


async def test_stopping_ends_a_group_that_will_not_listen(tmp_path: Path):
    child = _child(tmp_path, STUBBORN, grace=0.2)
    running = asyncio.create_task(child.run())
    await _until(lambda: bool(_lines(tmp_path)))
    pids = [child.pid, int(_lines(tmp_path)[0])]
    assert all(_alive(pid) for pid in pids)
    await child.stop()
    await running
    assert not any(_alive(pid) for pid in pids)
    assert not (tmp_path / "bird.pid").exists()


async def test_what_a_dead_child_leaves_behind_is_ended_before_it_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor, "_SHORTEST_WAIT", 0.01)
    child = _child(tmp_path, STUBBORN, grace=0.2)
    running = asyncio.create_task(child.run())
    await _until(lambda: len(_lines(tmp_path)) == 1)
    orphan = int(_lines(tmp_path)[0])
    os.kill(child.pid, signal.SIGKILL)
    await _until(lambda: len(_lines(tmp_path)) == 2)
    assert not _alive(orphan)
    await child.stop()
    await running


async def test_a_child_ends_when_its_launcher_is_killed(tmp_path: Path):
    launcher = (
        "import asyncio, os, sys\nfrom pathlib import Path\nfrom service.engine.supervisor import Child\n"
        "program = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        f"log = Path({str(tmp_path)!r}) / 'bird.log'\n"
        "child = Child('bird', [sys.executable, '-c', program], dict(os.environ), log)\n"
        "asyncio.run(child.run())\n"
    )
    process = _start(launcher)
    await _until(lambda: bool(_lines(tmp_path)))
    pid = int(_lines(tmp_path)[0])
    process.kill()
    process.wait()
    await _until(lambda: not _alive(pid))


async def test_what_outlived_a_killed_launcher_is_ended_at_the_next_start(tmp_path: Path):
    old = _start(STUBBORN)
    assert old.stdout is not None
    grandchild = int(old.stdout.readline())
    leftovers.remember(tmp_path / "bird.pid", old.pid)
    old.kill()
    old.wait()
    assert _alive(grandchild)
    child = _child(tmp_path, "import time; print('new', flush=True); time.sleep(60)")
    running = asyncio.create_task(child.run())
    await _until(lambda: _lines(tmp_path) == ["new"])
    assert not _alive(grandchild)
    await child.stop()
    await running


def test_a_process_that_only_bears_the_recorded_id_is_left_alone(tmp_path: Path):
    other = _start("import time; time.sleep(60)")
    try:
        record = tmp_path / "bird.pid"
        leftovers.remember(record, other.pid)
        record.write_text(record.read_text().replace('"started": ', '"started": 1'))
        assert leftovers.end(record) == []
        assert other.poll() is None
        assert not record.exists()
    finally:
        other.kill()
        other.wait()


async def test_a_log_that_grew_too_long_is_put_aside_at_the_start(tmp_path: Path):
    (tmp_path / "bird.log").write_text("old\n" * 100)
    child = _child(tmp_path, "import time; print('new', flush=True); time.sleep(60)", max_log_bytes=10)
    running = asyncio.create_task(child.run())
    await _until(lambda: _lines(tmp_path) == ["new"])
    await child.stop()
    await running
    assert (tmp_path / "bird.log.1").read_text() == "old\n" * 100
