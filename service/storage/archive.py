"""A folder as one file to take along, and back: a ZIP on disk, written and read piece by piece.

What is written goes when it is closed. Nothing is compressed: weights hardly shrink, and any tool reads it. The same
content gives the same bytes. What is read came from outside: nothing is taken by a name of its own choosing, nor more
than is allowed. Knows no adapter and no database.
"""

import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from service.errors import BadInput

CHUNK = 1 << 20
"""Bytes held at once."""
MAX_DIRECTORY = 1 << 20
"""Bytes of the list of files in a ZIP that is read."""
TAIL = 65_557
"""Bytes at the end of a ZIP that may hold its end: 22, and a comment."""
READABLE = 0o644 << 16
"""The mode of what comes out: kept files are read-only to us, who takes them along may change them."""


def zip_of(source: Path, names: Iterable[str], pages: Mapping[str, str], side: Path) -> IO[bytes]:
    """The files `names` of `source` and some `pages` of text, open at the start. Raises `OSError`. Blocking.

    The file lies in the folder `side` and has no name there: whatever happens, it is gone when it is closed.
    """
    file = tempfile.TemporaryFile(dir=side)
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                with open(source / name, "rb") as kept:
                    entry = _entry(name)
                    entry.file_size = (source / name).stat().st_size  # more than 2 GB need another header
                    with archive.open(entry, "w") as copy:
                        shutil.copyfileobj(kept, copy, CHUNK)
            for name, text in pages.items():
                archive.writestr(_entry(name), text)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """What is in `file`, which is closed when it has been read or its reader has left."""
    with file:
        while piece := file.read(CHUNK):
            yield piece


def entries(archive: Path) -> dict[str, zipfile.ZipInfo]:
    """The files in a ZIP by name, without the one folder that holds them all. Raises `BadInput`. Blocking."""
    if not archive.stat().st_size or _directory_bytes(archive) > MAX_DIRECTORY:
        raise _bad(f"is no ZIP, or lists more than {MAX_DIRECTORY >> 20} MB of names")
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [one for one in opened.infolist() if not one.is_dir()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error):
        raise _bad("cannot be read") from None
    found = [one for one in found if not one.filename.startswith("__MACOSX/")]
    for one in found:
        parts = one.orig_filename.replace("\\", "/").split("/")
        if ".." in parts or "" in parts or "\0" in one.orig_filename or ":" in parts[0]:
            raise _bad(f"holds a path that leads out of it: {one.orig_filename[:100]!r}")
        if stat.S_ISLNK(one.external_attr >> 16):
            raise _bad(f"holds a link: {one.filename[:100]!r}")
    tops = {one.filename.partition("/")[0] for one in found}
    top = f"{tops.pop()}/" if len(tops) == 1 and all("/" in one.filename for one in found) else ""
    named = {one.filename.removeprefix(top): one for one in found}
    if len(named) != len(found):
        raise _bad("holds two files of one name")
    return named


def take(archive: Path, limits: Mapping[str, int], into: Path) -> list[str]:
    """Write the files that `limits` names, each of so many bytes at most, into a folder, and leave out all others.

    Returns the names left out. Raises `BadInput`, and `OSError` of the disk. Blocking.
    """
    named = entries(archive)
    with zipfile.ZipFile(archive) as opened:
        for name, limit in limits.items():
            if name in named:
                _take_one(opened, named[name], limit, into / name)
    return sorted(named.keys() - limits.keys())


def _take_one(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int, target: Path) -> None:
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _bad("is encrypted or compressed in an unusual way")
    size = 0
    with open(target, "xb") as file:
        try:
            with opened.open(entry) as packed:
                while piece := packed.read(CHUNK):
                    size += len(piece)
                    if size > limit:
                        break
                    file.write(piece)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
            raise _bad(f"is broken at {target.name!r}") from None
    if size > limit:
        raise _bad(f"holds a '{target.name}' of more than {limit >> 20} MB", "Bring a smaller one.")


def _directory_bytes(archive: Path) -> int:
    """What its list of files says of its size. Python reads the whole list, and a list of millions takes gigabytes."""
    with open(archive, "rb") as file:
        file.seek(max(0, archive.stat().st_size - TAIL))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22 or tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
        return MAX_DIRECTORY + 1  # no end, or one of more than 4 GB
    return int.from_bytes(tail[at + 12 : at + 16], "little")


def _bad(what: str, mend: str = "Pack the adapter's files anew and bring that.") -> BadInput:
    return BadInput(f"The ZIP {what}. {mend}", param="file", code="invalid_file")


def _entry(name: str) -> zipfile.ZipInfo:
    """Dated as ZIP's first day: what is in it was made when the model card says."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = READABLE
    return entry
