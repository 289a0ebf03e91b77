import errno
import hashlib
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from service.errors import NoSpace, NotFound
from service.storage import archive
from service.storage.adapters import ADAPTER_FILES
from service.storage.archive import pieces, zip_of
from service.storage.local import Store
from tests.service.storage.adapters import adapter, servable


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "home")
    store.prepare()
    return store


def test_an_adapter_comes_out_byte_for_byte_with_its_card_and_leaves_no_file_behind(
    store: Store, tmp_path: Path
):
    digest, _ = store.put_adapter(adapter(tmp_path / "made"), servable(tmp_path))
    with store.adapter_zip(digest, "# Carte d'identité\n") as file, zipfile.ZipFile(file) as found:
        assert found.testzip() is None
        assert set(found.namelist()) == ADAPTER_FILES | {"README.md"}
        for name in ADAPTER_FILES:
            assert found.read(name) == (store.adapter(digest) / name).read_bytes()
        assert found.read("README.md").decode() == "# Carte d'identité\n"
        found.extractall(tmp_path / "taken")
        assert list((store.home / "incoming").iterdir()) == []
    lines = [
        f"{hashlib.sha256((tmp_path / 'taken' / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(ADAPTER_FILES)
    ]
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == digest


def test_files_that_are_elsewhere_are_told_and_so_is_a_full_disk(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(NotFound, match="not on this machine"):
        store.adapter_zip("ab" * 32, "")
    digest, _ = store.put_adapter(adapter(tmp_path / "made"), servable(tmp_path))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive.shutil, "copyfileobj", full)
    with pytest.raises(NoSpace):
        store.adapter_zip(digest, "")
    assert list((store.home / "incoming").iterdir()) == []


def test_a_large_file_is_never_held_whole(tmp_path: Path):
    size = 24 << 20
    with open(tmp_path / "weights", "wb") as file:
        file.truncate(size)
    tracemalloc.start()
    read = sum(len(piece) for piece in pieces(zip_of(tmp_path, ["weights"], {}, tmp_path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read > size
    assert peak < 4 * archive.CHUNK


def test_a_reader_who_leaves_closes_the_file(tmp_path: Path):
    file = zip_of(tmp_path, [], {"README.md": "x"}, tmp_path)
    reading = pieces(file)
    next(reading)
    reading.close()
    assert file.closed
