"""torch's launcher, told to meet in files: it starts the processes that train together, and ends all when one fails.

By itself it opens two ports, on every address of the machine and without a password, and unpickles what it is sent
there. Here it and its processes (`training.processes`) meet in files of the run folder, which is its owner's alone.
Knows nothing of training.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

MEETING = "meeting"
"""Begins the names of the files in the run folder."""
NO_PORT = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""Tells the launcher to open no port for its processes (torch.distributed.elastic, dynamic_rendezvous.py)."""


def command(run: Path, processes: int, module: str = "training") -> tuple[list[str], dict[str, str]]:
    """(argv, what it needs in the environment) to run `module` on the run folder by so many processes.

    Removes what an earlier meeting left there: it would say who was there, not who is.
    """
    for left in run.glob(f"{MEETING}-*"):
        left.unlink()
    place = run / f"{MEETING}-{os.getpid()}"
    options = [
        "--rdzv-backend", "c10d", "--rdzv-conf", "store_type=file", "--rdzv-endpoint", str(place),
        "--local-addr", "127.0.0.1", "--nproc-per-node", str(processes),
    ]  # fmt: skip
    return [sys.executable, "-m", "torch.distributed.run", *options, "-m", module, str(run)], {NO_PORT: "1"}


def become(run: Path, processes: int) -> NoReturn:
    """Go on as the launcher: whoever waits for this process, or ends it, waits for it or ends it."""
    argv, environment = command(run, processes)
    os.execve(argv[0], argv, os.environ | environment)
