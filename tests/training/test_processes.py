"""One adapter, trained by several processes together: for real, by two that talk through gloo.

Run as a program by torch's launcher, this file is one of them.
"""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from service.contract import folder
from service.contract.jobs import Manifest, Progress, TrainingSettings, TrainingSpec
from tests.training.conftest import REPOSITORY, MakeRun, digest, examples, pairs, rated
from training import dpo, kto, launcher, model, pause, processes, sft
from training.__main__ import main
from training.progress import StepLines
from training.refusal import Left, Refused

pytestmark = pytest.mark.heavy

METHODS: dict[str, Any] = {"sft": sft, "dpo": dpo, "kto": kto}
ROWS = {"sft": examples, "dpo": pairs, "kto": rated}
AGREE = 2e-5
"""How far a weight of two may be from that of one, in fp32; training moves them by 0.02 and more."""


@pytest.fixture(autouse=True)
def _threads_as_they_were():
    kept = torch.get_num_threads()
    yield
    torch.set_num_threads(kept)


def in_fp32_and_small_parts(put: Any = setattr) -> None:
    """Rounding to bf16 would hide a wrong weight. A batch of 6 is two parts of 3 rows, the last a 3 and a 1: two
    processes have uneven shares of a part, which even out, and one of them has none of the last.
    """
    put(torch.cpu, "get_capabilities", dict)
    put(model, "MICRO_BATCH", 3)
    torch.set_num_threads(1)


def make(make_run: MakeRun, name: str, kind: str, base: Path) -> Path:
    """Rows of different lengths."""
    train = ROWS[kind](10)
    for at, row in enumerate(train):
        messages = row.get("messages") or row.get("prompt") or row["input"]["messages"]
        messages[0]["content"] += " please" * (at % 4)
        answers = row.get("preferred_output") or row.get("completion") or row["messages"]
        answers[-1]["content"] += " Good trip." * (at % 3)
    run, spec = make_run(
        name, kind, base, train, ROWS[kind](4, start=60), n_epochs=3, batch_size=6, replay=0.5
    )
    spec.checkpoint_seconds = 0
    (run / folder.JOB).write_text(spec.model_dump_json())
    return run


def train(run: Path) -> None:
    spec = TrainingSpec.model_validate_json((run / folder.JOB).read_bytes())
    METHODS[spec.kind].train(run, spec)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / folder.ADAPTER / "adapter_model.safetensors")


def codes(run: Path) -> list[str | None]:
    return [line.get("code") for line in folder.read_lines(run / folder.PROGRESS)]


def steps(run: Path) -> list[Progress]:
    lines = [Progress.model_validate(line) for line in folder.read_lines(run / folder.PROGRESS)]
    return [line for line in lines if line.metrics]


def launch(*runs: Path, **environment: str) -> subprocess.Popen[str]:
    argv, needed = launcher.command(runs[0], 2, __name__)
    return subprocess.Popen(
        [*argv, *map(str, runs[1:])], cwd=REPOSITORY,
        env={**os.environ, **needed, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_two_processes_make_the_adapter_of_one_with_every_method_whatever_interrupts_them(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.worker import _ended_together

    both = {kind: make(make_run, f"both-{kind}", kind, tiny_base) for kind in METHODS}
    broken = make(make_run, "broken", "sft", tiny_base)
    process = launch(broken, KILLED_AT="3")
    in_fp32_and_small_parts(monkeypatch.setattr)
    alone = {kind: make(make_run, f"alone-{kind}", kind, tiny_base) for kind in METHODS}
    for run in alone.values():
        train(run)
    said = process.communicate(timeout=600)[0]
    assert _ended_together(broken, process.returncode) == "killed", said
    assert not [
        one.pid for one in psutil.process_iter(["cmdline"]) if str(broken) in (one.info["cmdline"] or ())
    ]
    assert list(broken.glob("checkpoint-*")), "there is something to go on with"

    process = launch(*both.values(), broken)
    with ThreadPoolExecutor(1) as beside:
        listening = beside.submit(_addresses_listened_at, process)
        said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    assert listening.result() == {"127.0.0.1"}, (
        "they talk through the loopback device, and nothing else listens"
    )
    for kind, run in both.items():
        one, two = weights(alone[kind]), weights(run)
        off = max((one[name] - two[name]).abs().max().item() for name in one)
        assert off < AGREE, (kind, off)
        for mine, theirs in zip(steps(alone[kind]), steps(run), strict=True):
            assert (mine.step, mine.total_steps, mine.tokens) == (
                theirs.step,
                theirs.total_steps,
                theirs.tokens,
            )
            for name in ("train_loss", "valid_loss", "learning_rate", "replay_distance", "kl"):
                assert mine.metrics.get(name) == pytest.approx(theirs.metrics.get(name), abs=1e-4), (
                    kind,
                    name,
                )
        assert (
            Manifest.model_validate(folder.read_json(run / folder.ADAPTER / folder.MANIFEST)).processes == 2
        )
        assert codes(run).count("training_together") == 1, "one of them writes"
        assert sorted(place.name for place in run.glob("pass-*")) == ["pass-2", "pass-4"]
    assert digest(broken) == digest(both["sft"])
    told = codes(broken)
    assert (told.count("training_together"), told.count("going_on"), told.count("paused_after")) == (1, 2, 1)


def _addresses_listened_at(launcher: subprocess.Popen[str]) -> set[str]:
    """By a launcher and all that it starts, until it has ended."""
    found: set[str] = set()
    while launcher.poll() is None:
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(launcher.pid)
            for process in (top, *top.children(recursive=True)):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    connections = process.net_connections("tcp")
                    found |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
        time.sleep(0.2)
    return found


def test_rows_go_to_the_process_whose_turn_it_is_however_few_a_forward_pass_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "count", lambda: 4)
    taken: dict[int, list[int]] = {}
    for number in range(4):
        monkeypatch.setattr(processes, "number", lambda number=number: number)
        parts = [range(at, at + 2) for at in range(0, 8, 2)]  # a batch of 8 in passes of 2 long rows
        taken[number] = [row for at, part in enumerate(parts) for row in processes.share(part, 2 * at)]
    assert taken == {0: [0, 4], 1: [1, 5], 2: [2, 6], 3: [3, 7]}


def test_what_breaks_the_talk_itself_is_no_process_that_left() -> None:
    def fails(said: str) -> None:
        raise RuntimeError(said)

    with pytest.raises(Left):
        processes._said(
            lambda: fails("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
        )
    with pytest.raises(RuntimeError, match="shared memory"):
        processes._said(
            lambda: fails(
                "NCCL error: unhandled system error. ncclSystemError: System call (e.g. socket, malloc) or external "
                "library call failed or device error. Last error: Error while creating shared memory segment"
            )
        )


def test_a_batch_that_cannot_be_divided_evenly_and_more_processes_than_gpus_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = TrainingSettings(n_epochs=1, batch_size=6, learning_rate=1e-3)
    with pytest.raises(
        Refused, match="batch_size is 6, which 4 processes cannot divide evenly. Set batch_size to"
    ):
        processes.check(settings, 4)
    processes.check(settings, 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        Refused, match="this machine has 2 GPUs: each takes one. Set TAILORBIRD_TRAINING_PROCESSES"
    ):
        processes.check(settings, 3)


def test_by_hand_one_option_starts_several_and_what_they_refuse_is_told_once(
    make_run: MakeRun, tiny_base: Path
) -> None:
    run, _ = make_run("odd", "sft", tiny_base, examples(6), examples(2, start=60), n_epochs=1, batch_size=3)
    argv = [sys.executable, "-m", "training", str(run), "--processes", "2"]
    ended = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1, ended.stderr
    assert folder.read_json(run / folder.ERROR)["code"] == "too_many_processes"
    with pytest.raises(SystemExit):
        main([str(run), "--processes", "2", "--check"])


def test_each_process_sees_one_gpu_of_those_that_it_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    processes.take_device(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def _killed_at(step: int, run: Path) -> int:
    """The edge of a run, whose second process is killed."""
    written = StepLines._write

    def fall(self: StepLines, line: Progress) -> None:
        written(self, line)
        if line.step == step and not processes.first():
            os.kill(os.getpid(), signal.SIGKILL)

    StepLines._write = fall
    return main([str(run)])


def _one_after_another(runs: list[Path]) -> None:
    """The last one is asked to pause, and goes on."""
    processes.join(runs[0])
    written = StepLines._write

    def ask(self: StepLines, line: Progress) -> None:
        written(self, line)
        if self._path.parent == runs[-1] and line.step == 4 and processes.first():
            (runs[-1] / folder.PAUSE).touch()

    StepLines._write = ask
    for run in runs:
        try:
            train(run)
        except pause.Paused:
            pause.answered(run)
            processes.agreed(None)
            StepLines._write = written
            train(run)


if __name__ == "__main__":
    in_fp32_and_small_parts()
    given = [Path(each) for each in sys.argv[1:]]
    if "KILLED_AT" in os.environ:
        sys.exit(_killed_at(int(os.environ["KILLED_AT"]), given[0]))
    _one_after_another(given)
