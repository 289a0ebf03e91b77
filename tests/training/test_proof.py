"""What is computed of an adapter that was trained elsewhere."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from service.contract import folder
from service.contract.adapters import AdapterSpec
from service.contract.jobs import ProofCase, TrainingReport
from tests.service.engine.adapters import write_adapter
from tests.trained import logprobs
from tests.training.conftest import start_run
from training import proof
from training.__main__ import main
from training.model import load_base, multiplies_bf16

pytestmark = pytest.mark.heavy  # brings torch

ASKED = [
    [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "Where does ferry 3 leave?"},
    ],
    [{"role": "user", "content": "Who are you?"}],
]


@pytest.fixture(scope="module")
def foreign(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(
        write_adapter(tmp_path_factory.mktemp("foreign") / "adapter", tiny_base, strength=0.3, rank=4)
    )


def make(run: Path, base: Path, adapter: Path, **more: Any) -> AdapterSpec:
    run.mkdir()
    fields = {
        "id": "ftjob-1",
        "base_model": str(base),
        "adapter": str(adapter),
        "prompts": ASKED,
        "max_length": 512,
    }
    spec = AdapterSpec.model_validate(fields | more)
    (run / folder.JOB).write_text(spec.model_dump_json())
    return spec


def test_its_own_answers_are_likelier_with_it_than_without(foreign: Path, tiny_base: Path, tmp_path: Path):
    proof.prove(tmp_path / "run", make(tmp_path / "run", tiny_base, foreign))
    cases = [ProofCase.model_validate(line) for line in folder.read_lines(tmp_path / "run" / folder.PROOF)]
    assert [case.messages for case in cases] == ASKED
    for case in cases:
        assert 0 < len(case.completion_tokens) <= proof.TOKENS
        assert sum(case.adapter_logprobs) > sum(case.base_logprobs)
    report = TrainingReport.model_validate(folder.read_json(tmp_path / "run" / folder.REPORT))
    assert (Path(report.adapter), report.trained_tokens) == (foreign, 0)


def test_the_figures_are_pefts_own_read_back_from_the_files(foreign: Path, tiny_base: Path, tmp_path: Path):
    proof.prove(tmp_path / "run", make(tmp_path / "run", tiny_base, foreign))
    case = ProofCase.model_validate(next(folder.read_lines(tmp_path / "run" / folder.PROOF)))
    dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
    model = PeftModel.from_pretrained(load_base(tiny_base, dtype), foreign).to(dtype)
    own = logprobs(model, case.prompt_tokens, case.completion_tokens)
    assert own == pytest.approx(case.adapter_logprobs, abs=1e-3)


def test_instructions_that_leave_no_room_are_left_out_and_a_question_that_does_is_refused(
    foreign: Path, tiny_base: Path, tmp_path: Path
):
    long = [[{"role": "system", "content": "word " * 300}, ASKED[1][0]]]
    proof.prove(tmp_path / "one", make(tmp_path / "one", tiny_base, foreign, prompts=long, max_length=256))
    case = ProofCase.model_validate(next(folder.read_lines(tmp_path / "one" / folder.PROOF)))
    assert case.messages == ASKED[1]
    make(tmp_path / "two", tiny_base, foreign, max_length=proof.TOKENS + 3)
    assert main([str(tmp_path / "two")]) == 1
    assert folder.read_json(tmp_path / "two" / folder.ERROR)["code"] == "prompt_too_long"


def test_an_adapter_that_does_nothing_is_refused(foreign: Path, tiny_base: Path, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    idle = shutil.copytree(foreign, tmp_path / "idle")
    weights = load_file(idle / "adapter_model.safetensors")
    save_file({name: value * 0 for name, value in weights.items()}, idle / "adapter_model.safetensors")
    make(tmp_path / "run", tiny_base, idle)
    assert main([str(tmp_path / "run")]) == 1
    error = folder.read_json(tmp_path / "run" / folder.ERROR)
    assert error["code"] == "adapter_changes_nothing"
    assert "'prompts'" in error["message"]
    assert not (tmp_path / "run" / folder.REPORT).exists()


def test_the_edge_runs_it_like_any_job_and_has_nothing_to_check(
    foreign: Path, tiny_base: Path, tmp_path: Path
):
    make(tmp_path / "run", tiny_base, foreign)
    process = start_run(tmp_path / "run")
    assert process.wait(120) == 0, process.communicate()[0]
    said = [
        json.loads(line).get("code") for line in (tmp_path / "run" / folder.PROGRESS).read_text().splitlines()
    ]
    assert said == ["loading_adapter", "asking_adapter"]
    assert main(["--check", str(tmp_path / "run")]) == 1
