"""What comes in as an adapter, and what is refused with what is wrong."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from service.errors import BadInput
from service.storage.adapters import check_adapter
from tests.service.storage.adapters import LAYER, adapter, lora, safetensors, servable

NAN, INFINITY = struct.pack("<f", float("nan")), struct.pack("<f", float("-inf"))
HUGE = struct.pack("<f", 3.4e38)


@pytest.mark.parametrize(
    "weights",
    [
        lora(),
        lora(rank=4),
        lora(number=HUGE),
        lora(dtype="BF16", number=b"\x7f\x7f"),
        lora(dtype="F16", number=b"\xff\x7b"),
        lora(dtype="F16", number=b"\x00\x00"),
    ],
)
def test_a_plain_lora_of_the_base_models_layers_comes_in(tmp_path: Path, weights: bytes):
    check_adapter(adapter(tmp_path / "good", weights=weights), servable(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": b"PK\x03\x04 a pickle in a zip"}, "not a safetensors"),
        ({"weights": b""}, "not a safetensors"),
        ({"weights": struct.pack("<Q", 2) + b"[]"}, "not a safetensors"),
        ({"weights": struct.pack("<Q", 9) + b'{"a": 17}'}, "not a safetensors"),
        ({"weights": struct.pack("<Q", 2**62) + b"{}"}, "not a safetensors"),
        ({"weights": struct.pack("<Q", 2) + b"{}" + b"more"}, "cut short"),
        ({"weights": lora()[:-1]}, "cut short"),
        ({"weights": struct.pack("<Q", 2) + b"{}"}, "no LoRA matrices"),
        ({"weights": safetensors({"weight": ("F32", [1, 1], bytes(4))})}, "no LoRA matrix"),
        ({"weights": lora(dtype="I64", number=bytes(8))}, "no LoRA matrix"),
        ({"weights": lora(dtype="BF16")}, "not as large as it says"),
        ({"weights": lora(rank=5)}, "rank 5; at most 4"),
        ({"weights": lora(rank=2, columns=1)}, "not of one rank"),
        ({"weights": lora(width=3)}, "does not fit the base model"),
        ({"weights": lora("model.layers.0.mlp.experts")}, "changes 'model.layers.0.mlp.experts'"),
        ({"weights": lora(number=NAN)}, "not finite"),
        ({"weights": lora(number=INFINITY)}, "not finite"),
        ({"weights": lora(dtype="BF16", number=b"\x80\x7f")}, "not finite"),
        ({"weights": lora(dtype="F16", number=b"\x01\x7c")}, "not finite"),
        ({"config": {"peft_type": "LORA", "use_dora": True}}, "plain LoRA"),
        ({"config": {"peft_type": "LORA", "modules_to_save": ["lm_head"]}}, "plain LoRA"),
        ({"config": {"peft_type": "LORA", "bias": "all"}}, "plain LoRA"),
        ({"config": {"peft_type": "IA3"}}, "plain LoRA"),
        ({"config": ["peft_type"]}, "adapter_config.json is not a JSON object"),
        ({"manifest": {"base_model": "another"}}, "made for the base model 'another'"),
        ({"manifest": {}}, "made for the base model 'None'"),
    ],
)
def test_anything_else_is_refused_with_the_reason(tmp_path: Path, change: dict[str, Any], said: str):
    with pytest.raises(BadInput, match=said):
        check_adapter(adapter(tmp_path / "bad", **change), servable(tmp_path))


def test_one_bad_number_among_many_is_found(tmp_path: Path):
    good = struct.pack("<f", 1.0)
    name = f"base_model.model.{LAYER}.lora_"
    for place in (0, 7):
        numbers = [good] * 8
        numbers[place] = NAN
        weights = safetensors(
            {
                f"{name}A.weight": ("F32", [4, 2], good * 8),
                f"{name}B.weight": ("F32", [2, 4], b"".join(numbers)),
            }
        )
        with pytest.raises(BadInput, match="lora_B.* not finite"):
            check_adapter(adapter(tmp_path / f"bad-{place}", weights=weights), servable(tmp_path))


def test_a_layer_that_only_half_its_matrices_change_is_refused(tmp_path: Path):
    half = safetensors({f"base_model.model.{LAYER}.lora_A.weight": ("F32", [1, 2], bytes(8))})
    with pytest.raises(BadInput, match="not of one rank"):
        check_adapter(adapter(tmp_path / "half", weights=half), servable(tmp_path))


def test_a_base_model_whose_weights_are_named_otherwise_is_not_compared(tmp_path: Path):
    other = safetensors({"transformer.h.0.attn.weight": ("F32", [1, 1], bytes(4))})
    wanted = servable(tmp_path)
    (wanted.base / "model.safetensors").write_bytes(other)
    check_adapter(adapter(tmp_path / "good", weights=lora(width=3)), wanted)


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path):
    bad = adapter(tmp_path / "bad")
    (bad / "manifest.json").write_text(json.dumps({"base_model": "base"})[:-3])
    with pytest.raises(BadInput, match="manifest.json is not a JSON object"):
        check_adapter(bad, servable(tmp_path))
