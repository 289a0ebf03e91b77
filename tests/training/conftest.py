"""A tiny chat model of random weights, run folders to train on, and the path of the real base model."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from service.contract import folder
from service.contract.jobs import TrainingKind, TrainingSettings, TrainingSpec

REPOSITORY = Path(__file__).parents[2]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Rows = list[dict[str, Any]]
MakeRun = Callable[..., tuple[Path, TrainingSpec]]


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The real base model, prepared if it is not there yet (about 40 s, once)."""
    from training.base_model import prepare

    path = REPOSITORY / "var" / "models" / "smollm2-135m-instruct"
    prepare(path)
    return path


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level tokenizer whose padding token is its end token, as in the real base model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(["user assistant system The ferry leaves from the pier."] * 4, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    made.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="session")
def tiny_base(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two small layers with random weights: trains a step in milliseconds."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
        # Wide enough that different adapters give clearly different probabilities.
        initializer_range=0.3,
    )
    place = tmp_path_factory.mktemp("tiny-base")
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def examples(count: int, start: int = 0) -> Rows:
    return [
        {
            "messages": [
                {"role": "user", "content": f"Where does ferry {n} leave?"},
                {"role": "assistant", "content": f"Ferry {n} leaves from pier {n * 3}."},
            ]
        }
        for n in range(start, start + count)
    ]


def pairs(count: int, start: int = 0) -> Rows:
    return [
        {
            "input": {"messages": [{"role": "user", "content": f"Where does ferry {n} leave?"}]},
            "preferred_output": [{"role": "assistant", "content": f"From pier {n * 3}."}],
            "non_preferred_output": [{"role": "assistant", "content": f"I think that {n} is a nice number."}],
        }
        for n in range(start, start + count)
    ]


def rated(count: int, start: int = 0) -> Rows:
    """Rated completions, two on each question: the desirable one first."""
    return [
        {"prompt": pair["input"]["messages"], "completion": pair[answer], "label": label}
        for pair in pairs(count // 2, start)
        for answer, label in (("preferred_output", True), ("non_preferred_output", False))
    ]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(name, kind, base, train, held_out, **settings)` writes a run folder and returns its job."""

    def make(
        name: str,
        kind: str,
        base: Path,
        train: Rows,
        held_out: Rows | None = None,
        start: Path | None = None,
        **settings: Any,
    ) -> tuple[Path, TrainingSpec]:
        run = tmp_path / name
        run.mkdir()
        body = "".join(json.dumps(row) + "\n" for row in train)
        (run / "train.jsonl").write_text(body)
        if held_out is not None:
            (run / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))
        spec = TrainingSpec(
            kind=cast(TrainingKind, kind),
            id="ftjob-test",
            base_model=str(base),
            base_name="tiny",
            start_adapter=str(start) if start else None,
            start_digest="sha256-of-start" if start else None,
            train_sha256=hashlib.sha256(body.encode()).hexdigest(),
            settings=TrainingSettings(
                **{"n_epochs": 1, "batch_size": 4, "learning_rate": 1e-2, "lora_rank": 4, **settings}
            ),
            threads=1,
        )
        (run / "job.json").write_text(spec.model_dump_json())
        return run, spec

    return make


@pytest.fixture
def start(make_run: MakeRun, tiny_base: Path) -> Path:
    """An adapter that clearly differs from the base model."""
    from training import sft

    run, spec = make_run("start", "sft", tiny_base, examples(12), n_epochs=4)
    sft.train(run, spec)
    return run / folder.ADAPTER


def digest(run: Path) -> str:
    """Of the adapter that a run left: equal when every bit of its weights and its configuration is."""
    files = [run / folder.ADAPTER / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def start_run(
    run: Path, *options: str, program: tuple[str, ...] = ("-m", "training"), **environment: str
) -> subprocess.Popen[str]:
    """`python -m training RUN` as the worker starts it: a process of its own."""
    return subprocess.Popen(
        [sys.executable, *program, *options, str(run)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(run: Path, process: subprocess.Popen[str], step: int) -> None:
    """Wait until a started run has made so many steps."""
    deadline = time.monotonic() + 300
    while not any(line.get("step", 0) >= step for line in folder.read_lines(run / folder.PROGRESS)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
