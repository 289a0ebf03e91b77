"""What comes in as an adapter, and what is refused with what is wrong."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.errors import BadInput
from service.storage.adapters import UNSERVED, check_adapter
from tests.service.storage.adapters import LAYER, adapter, lora, made_for, plain, safetensors, servable

NAN, INFINITY = struct.pack("<f", float("nan")), struct.pack("<f", float("-inf"))
HUGE = struct.pack("<f", 3.4e38)
UNSERVED_VALUES: dict[str, Any] = {
    "use_dora": True, "modules_to_save": ["lm_head"], "lora_bias": True, "use_qalora": True,
    "alora_invocation_tokens": [1], "layer_replication": [[0, 1]], "use_bdlora": {"nblocks": 2},
    "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"(q+)+_proj": 2},
}  # fmt: skip
OTHER_STARTS = ("pissa", "PiSSA", "pissa_niter_16", "olora", "corda", "loftq")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"weights": lora(rank=4), "rank": 4},
        {"weights": lora(number=HUGE)},
        {"weights": lora(dtype="BF16", number=b"\x7f\x7f")},
        {"weights": lora(dtype="F16", number=b"\xff\x7b")},
        {"weights": lora(dtype="F16", number=b"\x00\x00")},
        {"config": plain(init_lora_weights=True, rank_pattern={}, alpha_pattern={}, use_rslora=True)},
        {"config": plain(init_lora_weights=False)},
        {"config": plain(init_lora_weights="gaussian")},
    ],
)
def test_a_plain_lora_of_the_base_models_layers_comes_in(tmp_path: Path, given: dict[str, Any]):
    check_adapter(adapter(tmp_path / "good", **given), servable(tmp_path))


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
        ({"weights": lora(rank=2)}, "says rank 1, but .* has rank 2"),
        ({"rank": 2}, "says rank 2, but .* has rank 1"),
        ({"config": {"peft_type": "LORA"}}, "must say its rank 'r' and its 'lora_alpha'"),
        ({"config": plain(r="1")}, "each a number"),
        ({"config": plain(r=True)}, "each a number"),
        ({"config": plain(lora_alpha=float("nan"))}, "each a number"),
        ({"config": plain(lora_alpha=float("inf"))}, "each a number"),
        ({"config": {"peft_type": "IA3"}}, "plain LoRA"),
        ({"config": plain(bias="all")}, "plain LoRA"),
        *(({"config": plain(**{name: value})}, "plain LoRA") for name, value in UNSERVED_VALUES.items()),
        *(
            ({"config": plain(init_lora_weights=start)}, f"init_lora_weights is '{start}'")
            for start in OTHER_STARTS
        ),
        ({"config": ["peft_type"]}, "adapter_config.json is not a JSON object"),
        ({"manifest": {"base_model": "another"}}, "made for the base model 'another'"),
        ({"manifest": {}}, "made for the base model 'None'"),
        (
            {"manifest": {"base_model": "base", "base_sha256": "0" * 64}},
            "another checkpoint that is called 'base' too",
        ),
        ({"manifest": {"base_model": "base"}}, "another checkpoint"),
    ],
)
def test_anything_else_is_refused_with_the_reason(tmp_path: Path, change: dict[str, Any], said: str):
    with pytest.raises(BadInput, match=said):
        check_adapter(adapter(tmp_path / "bad", **change), servable(tmp_path))


def test_every_setting_that_is_not_served_was_tried():
    assert set(UNSERVED_VALUES) == set(UNSERVED)


def test_a_base_model_on_another_machine_is_compared_by_its_name(tmp_path: Path):
    elsewhere = servable(tmp_path)
    manifest = {"base_model": "base", "base_sha256": "0" * 64}
    check_adapter(
        adapter(tmp_path / "good", manifest=manifest), replace(elsewhere, base=tmp_path / "elsewhere")
    )


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
            check_adapter(adapter(tmp_path / f"bad-{place}", weights=weights, rank=4), servable(tmp_path))


def test_a_layer_that_only_half_its_matrices_change_is_refused(tmp_path: Path):
    half = safetensors({f"base_model.model.{LAYER}.lora_A.weight": ("F32", [1, 2], bytes(8))})
    with pytest.raises(BadInput, match="not of one rank"):
        check_adapter(adapter(tmp_path / "half", weights=half), servable(tmp_path))


def test_a_base_model_whose_weights_are_named_otherwise_is_not_compared(tmp_path: Path):
    other = safetensors({"transformer.h.0.attn.weight": ("F32", [1, 1], bytes(4))})
    wanted = servable(tmp_path)
    (wanted.base / "model.safetensors").write_bytes(other)
    given = adapter(tmp_path / "good", weights=lora(width=3), manifest=made_for(wanted.base))
    check_adapter(given, wanted)


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path):
    bad = adapter(tmp_path / "bad")
    (bad / "manifest.json").write_text(json.dumps({"base_model": "base"})[:-3])
    with pytest.raises(BadInput, match="manifest.json is not a JSON object"):
        check_adapter(bad, servable(tmp_path))
