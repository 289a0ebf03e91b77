"""The processes that train one adapter together, and all that they say to each other.

torch's launcher (`training.launcher`) starts them on one machine, one for each GPU; without GPUs they talk through
gloo. Each sees one device and makes the same steps; what differs is which rows of a batch it computes
(`training.divided`). Only the first writes to the run folder. A process that is alone is the first of one, and says
nothing. Knows no rows and no trainer.
"""

import ctypes
import os
import signal
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from service.contract.jobs import TrainingSettings
from training.launcher import MEETING
from training.refusal import Left, Refused

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""By which accelerate would take over: it would split the batches its own way, and average where we add up."""
PATIENCE = timedelta(days=2)
"""For a word of the others: one may read weights or prove a pass meanwhile. The launcher sees when one has ended."""

LOST = (
    "connection closed",
    "connection reset",
    "connection refused",
    "broken pipe",
    "timed out",
    "remote process",
)
"""What is said where another one is gone: by gloo, by NCCL, by torch."""
OWN = ("shared memory", "shm", "out of memory", "cuda error", "unhandled cuda", "unhandled system")
"""What is said where that which they talk through is broken itself, whatever else stands beside it."""

T = TypeVar("T")


def check(settings: TrainingSettings, wanted: int) -> None:
    """Refuse what so many processes cannot do on this machine. Code `too_many_processes`."""
    gpus = torch.cuda.device_count()
    if gpus and wanted > gpus:
        raise Refused(
            "too_many_processes",
            f"{wanted} processes are to train, and this machine has {gpus} GPU{'s' * (gpus > 1)}: each takes one. Set "
            f"TAILORBIRD_TRAINING_PROCESSES (by hand: --processes) to {gpus} or less.",
        )
    if settings.batch_size % wanted:
        raise Refused(
            "too_many_processes",
            f"batch_size is {settings.batch_size}, which {wanted} processes cannot divide evenly. Set batch_size to a "
            f"multiple of {wanted}, or TAILORBIRD_TRAINING_PROCESSES (by hand: --processes) to a divisor of it.",
            "batch_size",
        )


def take_device(at: int = 0) -> None:
    """See one GPU of several: a trainer that sees more would split its batches over them by itself."""
    gpus = torch.cuda.device_count()  # asks the driver's library, so that the choice is still open
    if gpus > 1:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = seen[at]


def join(run: Path) -> None:
    """Meet the others in the run folder, and take a device. Before anything else touches a GPU."""
    # A killed launcher or worker takes all of them along, as it takes one (PR_SET_PDEATHSIG, prctl(2)).
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    take_device(int(os.environ["LOCAL_RANK"]))
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    # The launcher draws a port for them, which nobody opens: with its own number, no two meetings have one name.
    place = run / f"{MEETING}-{os.getppid()}-{os.environ['MASTER_PORT']}"
    store = dist.FileStore(str(place), size)
    talk = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    # Who waits here for one that has refused is in C++, where no handler of Python's runs: SIGTERM simply ends it.
    ending = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    dist.init_process_group(talk, timeout=PATIENCE, store=store, rank=rank, world_size=size)
    signal.signal(signal.SIGTERM, ending)
    for name in LAUNCHED:
        os.environ.pop(name, None)


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def number() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this is the one that writes."""
    return number() == 0


def agreed(value: T) -> T:
    """The first one's value, for all."""
    found = [value]
    if count() > 1:
        _said(lambda: dist.broadcast_object_list(found, device=torch.device("cpu")))
    return found[0]


def gathered(value: T) -> list[T]:
    """Everybody's value, in their order; for all."""
    found: list[Any] = [value] * count()
    if count() > 1:
        _said(lambda: dist.all_gather_object(found, value))
    return found


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of everybody's, for all, bit for bit the same; in place."""
    if count() > 1:
        _said(lambda: dist.all_reduce(tensor))
    return tensor


def mean(values: torch.Tensor) -> torch.Tensor:
    """Of everybody's values, of which one may have none."""
    found = add_up(torch.stack((values.sum(), values.new_tensor(float(len(values))))))
    return found[0] / found[1]


def first_then_others(work: Callable[[], T]) -> T:
    """Done by the first one, who may write, before the others do the same and find what it wrote."""
    if not first():
        agreed(None)
        return work()
    found = work()
    agreed(None)
    return found


def share(values: Sequence[T], before: int = 0) -> Sequence[T]:
    """This one's part: every so many-th, so that what grows along them is shared evenly; after so many others."""
    return values[(number() - before) % count() :: count()]


def _said(exchange: Callable[[], Any]) -> None:
    """Another process that ends breaks what is being said; why it ended is for itself to tell."""
    try:
        exchange()
    except RuntimeError as error:
        said = str(error).lower()
        if any(sign in said for sign in OWN) or not any(sign in said for sign in LOST):
            raise  # what they talk through is broken itself
        raise Left(str(error)) from error
