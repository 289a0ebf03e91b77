"""Starts `python -m service.intake` and waits for it: where the gateway and what people bring are kept apart.

`finished` does so with any other module that reads rows beside the gateway. Knows no database. The process ends with
this one.
"""

import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

from service.contract import folder
from service.contract.imports import ImportError, IntakeSpec

ROOT = Path(__file__).parent.parent.parent
GRACE = 5.0
"""Seconds between being asked to end and being made to."""


class Refused(Exception):
    """The file was refused, or its process broke."""

    def __init__(self, error: ImportError) -> None:
        super().__init__(error.message)
        self.error = error


async def run(place: Path, spec: IntakeSpec) -> Any:
    """What the task makes, from its `report.json`. Ends the process when it is cancelled. Raises `Refused`."""
    await asyncio.to_thread(_lay_out, place, spec)
    code = await finished(place, "service.intake", str(place))
    if code == 0 and (place / folder.REPORT).exists():
        return await asyncio.to_thread(folder.read_json, place / folder.REPORT)
    if (place / folder.ERROR).exists():
        raise Refused(ImportError.model_validate(folder.read_json(place / folder.ERROR)))
    said = "Reading the file broke off without a word. Save it anew, or as CSV or JSON lines, and bring it again."
    raise Refused(ImportError(code="import_crashed", message=said))


async def finished(place: Path, *command: str) -> int | None:
    """The exit code of `python -m COMMAND`, its output in the log of `place`. Ends it when this wait is cancelled."""
    with open(place / folder.LOG, "wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, env=_environment(),
            preexec_fn=_die_with_parent,
        )  # fmt: skip
    try:
        await process.wait()
    finally:
        await _end(process)
    return process.returncode


def _lay_out(place: Path, spec: IntakeSpec) -> None:
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in place.iterdir():
        if path.is_file():
            path.unlink()
    folder.write_json(place / folder.JOB, spec.model_dump())


def _environment() -> dict[str, str]:
    """Nothing that another part of the service is told by: no key, no address."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}


async def _end(process: asyncio.subprocess.Process) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        try:
            process.send_signal(sign)
            await asyncio.wait_for(process.wait(), GRACE)
        except (ProcessLookupError, TimeoutError):
            continue


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG (prctl(2))
