import errno
import json
import struct
from pathlib import Path

import pytest

from service.errors import BadInput, NoSpace, TooLarge
from service.storage import local
from service.storage.local import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "home")
    store.prepare()
    return store


def adapter(place: Path, *, weights: bytes | None = None, config: dict | None = None) -> Path:
    place.mkdir()
    name = "base_model.model.layers.0.self_attn.q_proj.lora_A.weight"
    header = json.dumps({name: {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}).encode()
    whole = struct.pack("<Q", len(header)) + header + b"\x00" * 4
    (place / local.WEIGHTS).write_bytes(whole if weights is None else weights)
    (place / local.CONFIG).write_text(json.dumps(config or {"peft_type": "LORA"}))
    (place / "manifest.json").write_text("{}")
    return place


async def chunks(*parts: bytes):
    for part in parts:
        yield part


async def test_a_file_is_kept_under_its_digest_and_one_too_large_leaves_nothing(store: Store):
    digest, size = await store.put_file(chunks(b"ab", b"c"), 10)
    assert (size, store.file(digest).read_bytes()) == (3, b"abc")
    with pytest.raises(TooLarge):
        await store.put_file(chunks(b"x" * 8, b"x" * 8), 10)
    assert list((store.home / "incoming").iterdir()) == []
    assert [path.name for path in (store.home / "files").iterdir()] == [digest]


async def test_a_full_disk_is_told_as_such_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local.os, "fsync", full)
    with pytest.raises(NoSpace):
        await store.put_file(chunks(b"abc"), 10)
    assert list((store.home / "incoming").iterdir()) == []
    assert list((store.home / "files").iterdir()) == []


def test_the_same_adapter_has_the_same_digest_and_cannot_be_written_to(store: Store, tmp_path: Path):
    one, size = store.put_adapter(adapter(tmp_path / "one"))
    two, _ = store.put_adapter(adapter(tmp_path / "two"))
    assert one == two
    files = list(store.adapter(one).iterdir())
    assert sum(path.stat().st_size for path in files) == size
    assert all(path.stat().st_mode & 0o222 == 0 for path in files)
    other, _ = store.put_adapter(adapter(tmp_path / "three", config={"peft_type": "LORA", "r": 8}))
    assert other != one


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": b"PK\x03\x04 a pickle in a zip"}, "not a safetensors"),
        ({"weights": struct.pack("<Q", 2) + b"{}" + b"more"}, "cut short"),
        ({"weights": struct.pack("<Q", 2) + b"{}"}, "no LoRA matrices"),
        ({"config": {"peft_type": "LORA", "use_dora": True}}, "plain LoRA"),
        ({"config": {"peft_type": "LORA", "modules_to_save": ["lm_head"]}}, "plain LoRA"),
    ],
)
def test_an_adapter_that_is_not_a_plain_lora_is_refused(
    store: Store, tmp_path: Path, change: dict, said: str
):
    with pytest.raises(BadInput, match=said):
        store.put_adapter(adapter(tmp_path / "bad", **change))
    assert list((store.home / "adapters").iterdir()) == []


def test_an_adapter_with_another_file_or_a_link_is_refused(store: Store, tmp_path: Path):
    extra = adapter(tmp_path / "extra")
    (extra / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(BadInput, match="adapter_model.bin"):
        store.put_adapter(extra)
    linked = adapter(tmp_path / "linked")
    (linked / "manifest.json").unlink()
    (linked / "manifest.json").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="links"):
        store.put_adapter(linked)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "ABC", "0" * 63, "/" + "0" * 63])
def test_no_path_is_made_of_anything_but_a_digest(store: Store, name: str):
    for path_of in (store.file, store.adapter):
        with pytest.raises(ValueError, match="not a digest"):
            path_of(name)
    for path_of in (store.job, store.upload, store.batch):
        with pytest.raises(ValueError, match="not an id"):
            path_of("../" + name)
