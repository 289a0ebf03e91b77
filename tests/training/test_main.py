"""The edge: what a run folder holds after a refusal, a finished run, and a stop."""

import json
import signal
from pathlib import Path

import pytest

from service.contract import fingerprint, folder
from service.contract.jobs import Manifest, Progress, ProofCase, RunError, TrainingReport
from tests.training.conftest import MakeRun, digest, examples, start_run, until
from tests.training.test_rows import hold_out
from training.__main__ import _fail, main


@pytest.fixture(autouse=True)
def _own_stop_handler():
    kept = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, kept)


def test_a_folder_without_a_job_is_refused_in_plain_words(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1
    error = folder.read_json(tmp_path / folder.ERROR)
    assert error["code"] == "bad_job"
    assert "job.json is not in the run folder" in error["message"]


def test_a_broken_job_is_refused_naming_the_field(make_run: MakeRun) -> None:
    run, spec = make_run("run", "sft", Path("/nowhere"), examples(2))
    (run / folder.JOB).write_text(json.dumps({**spec.model_dump(), "kind": "ppo"}))
    assert main([str(run)]) == 1
    assert "'kind'" in folder.read_json(run / folder.ERROR)["message"]


def test_the_first_process_that_fails_says_why_and_the_others_leave_it(tmp_path: Path) -> None:
    for code in ("first", "second"):
        assert _fail(tmp_path, RunError(code=code, message="Why.")) == 1
    assert folder.read_json(tmp_path / folder.ERROR)["code"] == "first"


def test_a_folder_that_does_not_exist_ends_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none")]) == 1
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.heavy
def test_a_refused_run_leaves_an_error_and_nothing_of_an_earlier_attempt(make_run: MakeRun) -> None:
    run, _ = make_run("run", "sft", Path("/nowhere"), examples(2))
    (run / folder.ADAPTER).mkdir()
    (run / folder.REPORT).write_text("{}")
    process = start_run(run)
    process.communicate(timeout=300)
    assert process.returncode == 1
    assert folder.read_json(run / folder.ERROR)["code"] == "bad_base_model"
    assert not (run / folder.REPORT).exists()
    assert not (run / folder.ADAPTER).exists()


@pytest.mark.heavy
def test_a_run_writes_all_its_outputs_and_the_same_seed_the_same_adapter(
    make_run: MakeRun, tiny_base: Path
) -> None:
    weights = []
    for name, hash_seed in (("first", "1"), ("second", "2")):
        run, spec = make_run(name, "sft", tiny_base, examples(12), examples(3, start=50))
        spec = hold_out(run, spec, "Who keeps the light?", "Where is the oldest ferry kept now?")
        folder.write_json(run / folder.JOB, spec.model_dump())
        process = start_run(run, PYTHONHASHSEED=hash_seed)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        weights.append(digest(run))

    assert weights[0] == weights[1]
    assert sorted(file.name for file in (run / "adapter").iterdir()) == [*_ADAPTER_FILES, "manifest.json"]
    manifest = Manifest.model_validate(folder.read_json(run / "adapter" / folder.MANIFEST))
    assert manifest.train_sha256 == spec.train_sha256
    assert (manifest.cases, manifest.cases_sha256) == (2, spec.cases_sha256)
    assert set(manifest.versions) == {"torch", "transformers", "peft", "trl"}
    report = TrainingReport.model_validate(folder.read_json(run / folder.REPORT))
    assert (report.steps, report.rows, report.held_out) == (3, 12, 3)
    assert report.metrics["valid_loss"] < report.metrics["valid_loss_before"]
    usage = report.usage
    assert usage is not None
    assert usage.machine == fingerprint.machine()
    assert 0 < usage.step_seconds < report.seconds
    assert usage.tokens_per_second > 0
    assert usage.peak_bytes is not None
    assert usage.peak_bytes > 1e8, "torch alone is larger"
    lines = [Progress.model_validate(line) for line in folder.read_lines(run / folder.PROGRESS)]
    assert [line.step for line in lines if "train_loss" in line.metrics] == [1, 2, 3]
    assert [line.step for line in lines if "valid_loss" in line.metrics] == [0, 3]
    assert any("the end of every answer" in (line.message or "") for line in lines)


@pytest.mark.heavy
def test_the_proof_shows_an_adapter_that_differs_from_the_base(make_run: MakeRun, tiny_base: Path) -> None:
    from training import sft

    run, spec = make_run("run", "sft", tiny_base, examples(12))
    sft.train(run, spec)
    proof = [ProofCase.model_validate(line) for line in folder.read_lines(run / folder.PROOF)]
    assert len(proof) == 6
    for case in proof:
        assert case.adapter_logprobs != case.base_logprobs
        assert len(case.completion_tokens) == len(case.adapter_logprobs) == len(case.base_logprobs)
    # An answer that was learned is likelier with the adapter.
    assert sum(sum(case.adapter_logprobs) for case in proof) > sum(sum(case.base_logprobs) for case in proof)
    report = TrainingReport.model_validate(folder.read_json(run / folder.REPORT))
    assert "valid_loss" not in report.metrics  # nothing was held out, so nothing is claimed


@pytest.mark.heavy
def test_a_stopped_run_leaves_no_report_and_no_half_adapter(make_run: MakeRun, tiny_base: Path) -> None:
    run, _ = make_run("run", "sft", tiny_base, examples(12), n_epochs=50_000)
    process = start_run(run)
    until(run, process, 1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    left = {file.name for file in run.iterdir() if folder.PASS not in file.name}
    assert left == {folder.JOB, folder.TRAIN, folder.PROGRESS, folder.PROMPTS, folder.REPLAY}


_ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors"]
