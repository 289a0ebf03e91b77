"""Replay: the base model's own answers are read beside a run's rows, and what is forgotten is measured."""

import hashlib
from pathlib import Path

import pytest
import torch

from service.contract import folder
from service.contract.jobs import Manifest, Progress, TrainingReport
from service.contract.replay import ReplayRow
from tests.training.conftest import MakeRun, examples, pairs, rated
from training import dpo, kto, model, replay, rows, sft
from training.progress import StepLines

pytestmark = pytest.mark.heavy

METHODS = {"dpo": (dpo, pairs), "kto": (kto, rated)}


def read(run: Path) -> list[ReplayRow]:
    return [ReplayRow.model_validate(line) for line in folder.read_lines(run / folder.REPLAY)]


def report(run: Path) -> TrainingReport:
    return TrainingReport.model_validate(folder.read_json(run / folder.REPORT))


def test_the_base_model_answers_greedily_once_and_is_no_distance_from_itself(
    make_run: MakeRun, tiny_base: Path
) -> None:
    run, spec = make_run("run", "sft", tiny_base, examples(8), replay=1.0)
    policy, chat, lines = model.load_policy(spec), model.load_chat(tiny_base), StepLines(run)
    ready = replay.prepare(policy, run, spec, chat, rows.read(run, spec), lines)
    written = (run / folder.REPLAY).read_bytes()
    some = read(run)[::5]
    for row, found in zip(some, replay.compare(policy, some), strict=True):
        assert len(found.same) == len(row.answer_tokens)
        assert found.distance.abs().max() == 0
        assert found.same.all()
        with torch.no_grad():
            logits = policy(input_ids=torch.tensor([row.prompt_tokens + row.answer_tokens])).logits[0]
        likely = logits[len(row.prompt_tokens) - 1 : -1].float()
        said = likely.gather(-1, torch.tensor(row.answer_tokens)[:, None])
        assert (
            likely.max(-1).values - said[:, 0]
        ).max() < 0.2  # answered with others beside it: rounding differs
    assert ready.measure(policy) == (0.0, 1.0)
    replay.prepare(policy, run, spec, chat, rows.read(run, spec), lines)
    assert (run / folder.REPLAY).read_bytes() == written
    assert [line["code"] for line in folder.read_lines(run / folder.PROGRESS)] == ["replaying"]


def test_replay_lowers_what_is_forgotten(make_run: MakeRun, tiny_base: Path) -> None:
    forgotten = {}
    for share in (0.0, 1.0):
        run, spec = make_run(f"run-{share}", "sft", tiny_base, examples(12), replay=share, learning_rate=1e-2)
        sft.train(run, spec)
        forgotten[share] = report(run).forgetting
    without, held = forgotten[0.0], forgotten[1.0]
    assert without is not None
    assert held is not None
    assert held.distance < 0.9 * without.distance
    assert held.same >= without.same  # of a model so small, few tokens change


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_preferences_replay_too_and_the_report_and_the_manifest_own_up_to_it(
    kind: str, make_run: MakeRun, tiny_base: Path
) -> None:
    method, made = METHODS[kind]
    run, spec = make_run("run", kind, tiny_base, made(10), replay=0.5)
    method.train(run, spec)
    found = report(run)
    kept = read(run)
    assert found.replay is not None
    assert found.forgetting is not None
    assert found.replay.rows == sum(row.use == "replayed" for row in kept) > 0
    assert found.replay.sha256 == hashlib.sha256((run / folder.REPLAY).read_bytes()).hexdigest()
    assert (found.forgetting.distance_before, found.forgetting.same_before) == (0.0, 1.0)
    assert found.forgetting.distance > 0
    manifest = Manifest.model_validate(folder.read_json(run / folder.ADAPTER / folder.MANIFEST))
    assert (manifest.replay_rows, manifest.replay_sha256) == (found.replay.rows, found.replay.sha256)
    lines = [Progress.model_validate(line) for line in folder.read_lines(run / folder.PROGRESS)]
    assert any("replay_distance" in line.metrics for line in lines)
    assert {"replaying", "forgetting"} <= {line.code for line in lines}
