import errno
import hashlib
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import BadInput, NoSpace, NotFound
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


def packed(
    path: Path, files: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None
) -> Path:
    """A ZIP of these files; `change` is done to the entry of each."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            if change is not None:
                change(entry)
            made.writestr(entry, content)
    return path


def test_what_is_named_is_taken_out_of_the_one_folder_that_holds_it_and_the_rest_is_told(tmp_path: Path):
    files = {"mine/a.json": b"{}", "mine/notes/b.md": b"x", "__MACOSX/mine/._a.json": b"x"}
    source, into = packed(tmp_path / "a.zip", files), tmp_path / "out"
    into.mkdir()
    assert archive.take(source, {"a.json": 2, "c.json": 2}, into) == ["notes/b.md"]
    assert [path.name for path in into.iterdir()] == ["a.json"]
    assert (into / "a.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"../a.json": b"{}"}, "leads out of it: '../a.json'"),
        ({"x/../../a.json": b"{}"}, "leads out of it"),
        ({"/etc/a.json": b"{}"}, "leads out of it"),
        ({"..\\a.json": b"{}"}, "leads out of it"),
        ({"C:\\a.json": b"{}"}, "leads out of it"),
        ({"a.json": b"{} "}, "'a.json' of more than 0 MB"),
    ],
)
def test_a_zip_that_would_write_elsewhere_or_more_than_is_allowed_is_refused(
    tmp_path: Path, files: dict[str, bytes], said: str
):
    into = tmp_path / "out"
    into.mkdir()
    with pytest.raises(BadInput, match=re.escape(said)):
        archive.take(packed(tmp_path / "a.zip", files), {"a.json": 2}, into)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("a.zip", "out")] == []


@pytest.mark.heavy
def test_a_bomb_is_read_no_further_than_its_limit(tmp_path: Path):
    source = packed(tmp_path / "a.zip", {"a.json": bytes(300 << 20)})
    assert source.stat().st_size < 1 << 20
    into = tmp_path / "out"
    into.mkdir()
    with pytest.raises(BadInput, match="of more than 1 MB. Bring a smaller one"):
        archive.take(source, {"a.json": 1 << 20}, into)
    assert (into / "a.json").stat().st_size <= 1 << 20


def test_a_link_and_a_name_that_comes_twice_are_refused(tmp_path: Path):
    def as_link(entry: zipfile.ZipInfo) -> None:
        entry.external_attr = 0o120777 << 16

    with pytest.raises(BadInput, match="holds a link"):
        archive.entries(packed(tmp_path / "link.zip", {"a.json": b"/etc/passwd"}, as_link))
    packed(tmp_path / "twice.zip", {"a.json": b"1", "b.json": b"2"})
    data = (tmp_path / "twice.zip").read_bytes()
    (tmp_path / "twice.zip").write_bytes(data.replace(b"b.json", b"a.json"))
    with pytest.raises(BadInput, match="two files of one name"):
        archive.entries(tmp_path / "twice.zip")


def test_an_encrypted_file_and_an_unusual_compression_are_refused(tmp_path: Path):
    source = packed(tmp_path / "a.zip", {"a.json": b"{}"})
    data = bytearray(source.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(data)
    with pytest.raises(BadInput, match="encrypted"):
        archive.take(source, {"a.json": 2}, tmp_path)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_LZMA) as made:
        made.writestr("b.json", "{}")
    with pytest.raises(BadInput, match="compressed in an unusual way"):
        archive.take(tmp_path / "b.zip", {"b.json": 2}, tmp_path)


def test_what_is_no_zip_is_cut_short_or_damaged_is_refused(tmp_path: Path):
    whole = packed(tmp_path / "a.zip", {"a.json": bytes(range(256)) * 9}).read_bytes()
    for content in (b"", b"not a zip", whole[: len(whole) // 2], whole[:-1]):
        (tmp_path / "bad.zip").write_bytes(content)
        with pytest.raises(BadInput, match="The ZIP .*Pack the adapter's files anew"):
            archive.entries(tmp_path / "bad.zip")
    damaged = bytearray(whole)
    damaged[60] ^= 0xFF
    (tmp_path / "bad.zip").write_bytes(damaged)
    with pytest.raises(BadInput, match="is broken at 'a.json'"):
        archive.take(tmp_path / "bad.zip", {"a.json": 1 << 20}, tmp_path)


@pytest.mark.heavy
def test_a_list_of_files_that_would_fill_the_memory_is_not_read(tmp_path: Path):
    names = {f"{n:060}": b"" for n in range(12_000)}
    with pytest.raises(BadInput, match="lists more than 1 MB of names"):
        archive.entries(packed(tmp_path / "many.zip", names))
    packed(tmp_path / "more.zip", {str(n): b"" for n in range(66_000)})  # 64-bit: its length stands elsewhere
    with pytest.raises(BadInput, match="lists more than 1 MB of names"):
        archive.entries(tmp_path / "more.zip")
