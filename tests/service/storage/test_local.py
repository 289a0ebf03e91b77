import errno
from pathlib import Path

import pytest

from service.errors import BadInput, NoSpace, TooLarge
from service.storage import local
from service.storage.local import Store
from tests.service.storage.adapters import adapter, servable, settings


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "home")
    store.prepare()
    return store


def test_a_file_is_kept_under_its_digest_and_one_too_large_leaves_nothing(store: Store):
    digest, size = store.put_file([b"ab", b"c"], 10)
    assert (size, store.file(digest).read_bytes()) == (3, b"abc")
    with pytest.raises(TooLarge):
        store.put_file([b"x" * 8, b"x" * 8], 10)
    assert list((store.home / "incoming").iterdir()) == []
    assert [path.name for path in (store.home / "files").iterdir()] == [digest]


def test_a_full_disk_is_told_as_such_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local.os, "fsync", full)
    with pytest.raises(NoSpace):
        store.put_file([b"abc"], 10)
    assert list((store.home / "incoming").iterdir()) == []
    assert list((store.home / "files").iterdir()) == []


def test_the_same_adapter_has_the_same_digest_and_cannot_be_written_to(store: Store, tmp_path: Path):
    one, size = store.put_adapter(adapter(tmp_path / "one"), servable(tmp_path))
    two, _ = store.put_adapter(adapter(tmp_path / "two"), servable(tmp_path))
    assert one == two
    files = list(store.adapter(one).iterdir())
    assert sum(path.stat().st_size for path in files) == size
    assert all(path.stat().st_mode & 0o222 == 0 for path in files)
    other, _ = store.put_adapter(
        adapter(tmp_path / "three", config=settings(lora_alpha=8)), servable(tmp_path)
    )
    assert other != one


def test_an_adapter_that_is_refused_leaves_nothing(store: Store, tmp_path: Path):
    with pytest.raises(BadInput, match="not a safetensors"):
        store.put_adapter(adapter(tmp_path / "bad", weights=b"PK"), servable(tmp_path))
    assert list((store.home / "adapters").iterdir()) == []


def test_an_adapter_with_another_file_or_a_link_is_refused(store: Store, tmp_path: Path):
    extra = adapter(tmp_path / "extra")
    (extra / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(BadInput, match="adapter_model.bin"):
        store.put_adapter(extra, servable(tmp_path))
    linked = adapter(tmp_path / "linked")
    (linked / "manifest.json").unlink()
    (linked / "manifest.json").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="links"):
        store.put_adapter(linked, servable(tmp_path))


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "ABC", "0" * 63, "/" + "0" * 63])
def test_no_path_is_made_of_anything_but_a_digest(store: Store, name: str):
    for path_of in (store.file, store.adapter):
        with pytest.raises(ValueError, match="not a digest"):
            path_of(name)
    for path_of in (store.job, store.upload, store.batch):
        with pytest.raises(ValueError, match="not an id"):
            path_of("../" + name)
