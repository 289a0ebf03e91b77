"""A process that is kept running: started, watched, restarted, and ended with all it started itself.

Owns the life of one child: its session, its log, its restarts, its end. Used alike for engine, gateway,
worker and ui. Knows nothing of what the child does.

Three things see to it that nothing outlives the launcher. `stop` ends the whole process group. The kernel
sends the child SIGTERM if the launcher dies (PR_SET_PDEATHSIG, prctl(2)), even by SIGKILL. And what still
survived is recorded in a file and ended at the next start (`leftovers`).

SIGTERM goes to the child alone, which ends its own children in its own order: vLLM 0.32 was seen to break
off a running answer when its engine core got the signal too. SIGKILL goes to the whole group.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from service.engine import leftovers

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_LAST_LINES = 5


class ChildFailed(Exception):
    """The child crashed again and again; the message is one line: how, where its log is, its last words."""


class Child:
    """One supervised process. `run` returns after `stop`; `restarts` counts the crashes it has survived.

    Call `run` from the main thread: the kernel ties the child's life to the thread that started it.
    """

    def __init__(
        self,
        name: str,
        argv: list[str],
        env: dict[str, str],
        log: Path,
        *,
        prepare: Callable[[], None] | None = None,
        cwd: Path | None = None,
        grace: float = 15.0,
        settled_after: float = 60.0,
        max_crashes: int = 5,
        max_log_bytes: int = 10_000_000,
    ) -> None:
        """`prepare` runs before each start; `grace` is the time in seconds between SIGTERM and SIGKILL.

        A child that lived `settled_after` seconds is well again; `max_crashes` in a row before that are
        too many. The log is moved to `<log>.1` when a start finds it larger than `max_log_bytes`.
        """
        self.name = name
        self.restarts = 0
        self._argv, self._env, self._log, self._prepare, self._cwd = argv, env, log, prepare, cwd
        self._grace, self._settled, self._max_crashes = grace, settled_after, max_crashes
        self._max_log = max_log_bytes
        self._record = log.with_suffix(".pid")
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The running child's process id, which is its group's and its session's as well."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process else None

    async def run(self) -> None:
        """Keep the child running until `stop`. Raises `ChildFailed` when it crashes again and again.

        Waits 1, 2, 4, ... 30 s between restarts. Cancelling ends the child as `stop` does.
        """
        crashes = 0
        try:
            while not self._stopping.is_set():
                started = time.monotonic()
                code = await self._live()
                if self._stopping.is_set():
                    return
                crashes = 1 if time.monotonic() - started >= self._settled else crashes + 1
                if crashes >= self._max_crashes:
                    raise ChildFailed(self._reason(code, crashes))
                wait = min(_LONGEST_WAIT, _SHORTEST_WAIT * 2 ** (crashes - 1))
                logger.warning("%s %s; starting it again in %g s", self.name, _ending(code), wait)
                self.restarts += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), wait)
        finally:
            await self.stop()

    def kill(self) -> None:
        """SIGKILL to the whole group of a child that hangs; `run` starts it again."""
        if self.pid is not None:
            _kill_group(self.pid)

    async def stop(self) -> None:
        """SIGTERM to the child; when it ended, or after the grace, SIGKILL to its whole group.

        Returns when all of the group is gone.
        """
        self._stopping.set()
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self._grace)
            except TimeoutError:
                logger.warning("%s did not end within %g s; killing it", self.name, self._grace)
        await self._bury(process)

    async def _live(self) -> int:
        """One life of the child, from its start to the end of its group; returns its exit code."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        killed = leftovers.end(self._record)
        if killed:
            logger.warning("%s: ended %d processes of an earlier run", self.name, len(killed))
        if self._prepare is not None:
            self._prepare()
        with self._open_log() as log:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                env=self._env,
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        self._process = process
        leftovers.remember(self._record, process.pid)
        code = await process.wait()
        if not self._stopping.is_set():
            await self._bury(process)
        return code

    async def _bury(self, process: asyncio.subprocess.Process) -> None:
        """Kill what is left of the child's group and wait until none of it runs."""
        _kill_group(process.pid)
        await process.wait()
        while leftovers.kill_session(process.pid):  # noqa: ASYNC110 - no event tells that orphans are gone
            await asyncio.sleep(0.05)
        leftovers.forget(self._record)
        self._process = None

    def _open_log(self) -> BinaryIO:
        if self._log.exists() and self._log.stat().st_size > self._max_log:
            self._log.replace(self._log.with_name(self._log.name + ".1"))
        return open(os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")

    def _reason(self, code: int, crashes: int) -> str:
        with contextlib.suppress(OSError):
            text = self._log.read_bytes()[-4000:].decode(errors="replace")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            last = " | ".join(lines[-_LAST_LINES:])
            return f"{self.name} {_ending(code)}, {crashes} times in a row. Its log is {self._log}: {last}"
        return f"{self.name} {_ending(code)}, {crashes} times in a row, and left no log."


def _ending(code: int) -> str:
    return f"ended with status {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _die_with(parent: int) -> Callable[[], None] | None:
    """What the child runs between fork and exec, so that the kernel ends it when `parent` dies."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return in_child
