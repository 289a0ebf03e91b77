"""Process groups that a killed launcher left behind: remembered in a file, ended at the next start.

Owns the record (process id, its start time, the boot it belongs to) and the check that a group is still
the one recorded: process ids are used again, so nothing is killed on an id alone. Reads Linux' /proc;
where there is none, it finds nothing and ends nothing.
"""

import json
import os
import signal
from pathlib import Path

from service.contract.folder import read_json, write_atomic

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STARTED, _SESSION = 19, 3
"""Fields of /proc/PID/stat after the command's closing bracket (proc(5): 22 `starttime`, 6 `session`)."""


def remember(file: Path, pid: int) -> None:
    """Record that `pid`, just started, leads a session of ours."""
    state = _stat(pid)
    if state is not None:
        write_atomic(file, json.dumps({"pid": pid, "started": int(state[_STARTED]), "boot": _boot()}))


def forget(file: Path) -> None:
    file.unlink(missing_ok=True)


def end(file: Path) -> list[int]:
    """Kill what is left of the session recorded in `file`, forget it, and return the killed ids.

    A member counts when it belongs to this user, to the recorded session and to this boot, and did not
    start before the session's leader; and the leader's id, if in use, is still the recorded process.
    """
    try:
        record = read_json(file)
        leader, started, boot = int(record["pid"]), int(record["started"]), str(record["boot"])
    except (OSError, ValueError, KeyError, TypeError):
        forget(file)
        return []
    state = _stat(leader)
    same = state is None or int(state[_STARTED]) == started
    killed = kill_session(leader, started) if same and boot == _boot() else []
    forget(file)
    return killed


def kill_session(leader: int, since: int = 0) -> list[int]:
    """SIGKILL to this user's living processes in the session of `leader`, started at `since` ticks or later.

    Returns the ids it was sent to; call again until there are none.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        state = _stat(pid)
        if state is None or state[0] == "Z" or int(state[_SESSION]) != leader:
            continue
        if int(state[_STARTED]) >= since and _owner(folder) == os.getuid() and _kill(pid):
            found.append(pid)
    return found


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _owner(folder: Path) -> int | None:
    try:
        return folder.stat().st_uid
    except OSError:
        return None


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
