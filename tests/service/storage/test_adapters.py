"""What comes in as an adapter, and what is refused with what is wrong."""

import json
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.contract import fingerprint
from service.contract.jobs import Manifest
from service.errors import BadInput
from service.storage.adapters import check_adapter, check_brought, must_fit, unpack
from tests.service.storage.adapters import (
    LAYER,
    adapter,
    brought,
    lora,
    made_for,
    safetensors,
    servable,
    settings,
)

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
    rank = json.loads(weights[8 : 8 + struct.unpack("<Q", weights[:8])[0]])[
        f"base_model.model.{LAYER}.lora_A.weight"
    ]["shape"][0]
    good = adapter(tmp_path / "good", weights=weights, config=settings(r=rank, init_lora_weights="gaussian"))
    check_adapter(good, servable(tmp_path))


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
        ({"config": settings(use_dora=True)}, "is a DoRA.*plain LoRA.*without `use_dora`"),
        ({"config": settings(modules_to_save=["lm_head"])}, "fully trained modules"),
        ({"config": settings(trainable_token_indices=[3])}, "trained embeddings"),
        ({"config": settings(bias="all")}, "trained biases"),
        ({"config": settings(lora_bias=True)}, "trained biases"),
        ({"config": settings(rank_pattern={"q_proj": 2})}, "not one rank"),
        ({"config": settings(alpha_pattern={"q_proj": 2})}, "not one alpha"),
        ({"config": settings(init_lora_weights="pissa_niter_4")}, "changes the base model too"),
        ({"config": settings(r=2)}, "has rank 1 and its adapter_config.json says 2"),
        ({"config": settings(lora_alpha=None)}, "does not say its rank and alpha"),
        ({"config": settings(lora_alpha=float("inf"))}, "does not say its rank and alpha"),
        ({"config": settings(peft_type="IA3")}, "type 'IA3'.*plain LoRA"),
        ({"config": ["peft_type"]}, "adapter_config.json is not a JSON object"),
        ({"manifest": {"base_model": "another"}}, "made for the base model 'another'"),
        ({"manifest": {}}, "made for the base model 'None'"),
        ({"manifest": {"base_model": "base"}}, "another checkpoint"),
        (
            {"manifest": {"base_model": "base", "base_sha256": "0" * 64}},
            "another checkpoint that is called 'base' too",
        ),
    ],
)
def test_anything_else_is_refused_with_the_reason(tmp_path: Path, change: dict[str, Any], said: str):
    with pytest.raises(BadInput, match=said):
        check_adapter(adapter(tmp_path / "bad", **change), servable(tmp_path))


def test_a_base_model_on_another_machine_is_compared_by_its_name(tmp_path: Path):
    given = adapter(tmp_path / "good", manifest={"base_model": "base", "base_sha256": "0" * 64})
    check_adapter(given, replace(servable(tmp_path), base=tmp_path / "elsewhere"))


def test_an_adapter_in_the_store_is_served_on_the_base_model_it_was_made_for_alone(tmp_path: Path):
    here = servable(tmp_path)
    own = {**made_for(here.base), "template_sha256": fingerprint.template_sha256(here.base)}
    must_fit(adapter(tmp_path / "own", manifest=own), here)
    with pytest.raises(BadInput, match="another checkpoint") as refused:
        must_fit(adapter(tmp_path / "other", manifest={**own, "base_sha256": "0" * 64}), here)
    assert refused.value.code == "wrong_base_model"
    with pytest.raises(BadInput, match="another chat template"):
        must_fit(adapter(tmp_path / "template", manifest={**own, "template_sha256": "0" * 64}), here)
    elsewhere = replace(here, base=tmp_path / "elsewhere")
    must_fit(tmp_path / "other", elsewhere)
    with pytest.raises(BadInput, match="made for the base model 'base'; 'new' is served"):
        must_fit(tmp_path / "own", replace(elsewhere, base_name="new"))


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
        bad = adapter(tmp_path / f"bad-{place}", weights=weights, config=settings(r=4))
        with pytest.raises(BadInput, match="lora_B.* not finite"):
            check_adapter(bad, servable(tmp_path))


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


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a ZIP is unpacked, beside the base model of `servable`."""
    servable(tmp_path)
    (tmp_path / "out").mkdir()
    return tmp_path


def unpacked(place: Path, archive: Path, **more: Any) -> list[str]:
    """Unpack it and check what came out; the names left out."""
    options = {"limit": 1 << 20, "same_base": False} | more
    left_out = unpack(archive, place / "out", servable(place), **options)
    check_adapter(place / "out", servable(place))
    return left_out


def test_an_adapter_from_elsewhere_gets_a_manifest_that_owns_up_to_what_is_not_known(place: Path):
    extra = {"README.md": b"a card", "training_args.bin": b"a pickle that nobody reads"}
    assert unpacked(place, brought(place / "a.zip", **extra)) == ["README.md", "training_args.bin"]
    manifest = Manifest.model_validate_json((place / "out" / "manifest.json").read_bytes())
    assert manifest.base_sha256 == fingerprint.base_sha256(place / "base")
    unknown = (manifest.kind, manifest.train_sha256, manifest.job, manifest.settings, manifest.created_at)
    assert unknown == ("import", None, None, None, None)
    assert "not known" in (manifest.note or "")


def test_the_same_files_are_the_same_adapter_whatever_they_are_packed_with(place: Path):
    unpacked(place, brought(place / "a.zip"))
    first = fingerprint.adapter_sha256(place / "out")
    (place / "out").rename(place / "first")
    (place / "out").mkdir()
    unpacked(place, brought(place / "b.zip", notes=b"x"))
    assert fingerprint.adapter_sha256(place / "out") == first


def test_the_manifest_that_an_export_brings_is_kept_as_it_is(place: Path):
    unpacked(place, brought(place / "a.zip"))
    kept = (place / "out" / "manifest.json").read_bytes().replace(b"import", b"sft")
    shutil.rmtree(place / "out")
    (place / "out").mkdir()
    unpacked(place, brought(place / "b.zip", **{"manifest.json": kept}))
    assert (place / "out" / "manifest.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"base_sha256": "0" * 64}, "wrong_base_model"),
        ({"template_sha256": "0" * 64}, "wrong_template"),
        ({"kind": "magic"}, "bad_manifest"),
        ({"surprise": 1}, "bad_manifest"),
    ],
)
def test_a_manifest_of_another_base_model_or_template_or_tool_is_refused(
    place: Path, change: dict[str, Any], code: str
):
    unpacked(place, brought(place / "a.zip"))
    manifest = json.loads((place / "out" / "manifest.json").read_text())
    shutil.rmtree(place / "out")
    (place / "out").mkdir()
    bad = brought(place / "b.zip", **{"manifest.json": json.dumps(manifest | change).encode()})
    with pytest.raises(BadInput) as refused:
        unpacked(place, bad)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "said", ["base", "/home/her/models/Base/", "C:\\models\\base", "owner/BASE", "owner--base", "", None]
)
def test_a_base_model_of_the_same_name_is_ours_wherever_it_lay(place: Path, said: str | None):
    unpacked(place, brought(place / "a.zip", config=settings(base_model_name_or_path=said)))


def test_another_base_models_name_is_refused_unless_it_is_said_to_be_the_same(place: Path):
    archive = brought(place / "a.zip", config=settings(base_model_name_or_path="owner/other-7b"))
    with pytest.raises(BadInput, match="made for 'owner/other-7b'; 'base' is served here.*same_base_model"):
        unpacked(place, archive)
    shutil.rmtree(place / "out")
    (place / "out").mkdir()
    unpacked(place, archive, same_base=True)


def test_shapes_are_compared_even_if_the_base_model_is_said_to_be_the_same(place: Path):
    with pytest.raises(BadInput, match="does not fit the base model"):
        unpacked(place, brought(place / "a.zip", weights=lora(width=3)), same_base=True)


def test_pickles_and_missing_files_are_named_with_how_to_mend_it(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "pickle.zip", "w") as made:
        made.writestr("adapter_config.json", "{}")
        made.writestr("adapter_model.bin", "PK")
    with pytest.raises(BadInput, match="pickle, which can run code.*safe_serialization=True") as refused:
        check_brought(tmp_path / "pickle.zip")
    assert refused.value.code == "pickle_refused"
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as made:
        made.writestr("README.md", "")
    with pytest.raises(BadInput, match="no adapter_config.json and no adapter_model.safetensors"):
        check_brought(tmp_path / "empty.zip")


def test_without_the_base_models_files_nothing_is_taken_on_trust(place: Path):
    wanted = replace(servable(place), base=place / "elsewhere")
    with pytest.raises(BadInput, match="nothing can be held against it"):
        unpack(brought(place / "a.zip"), place / "out", wanted, limit=1 << 20, same_base=False)
