"""A folder as one file to take along: a ZIP on disk, written piece by piece, that goes when it is closed.

Nothing is compressed: weights hardly shrink, and any tool reads it. The same content gives the same bytes. Knows no
adapter and no database.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

CHUNK = 1 << 20
"""Bytes held at once."""
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


def _entry(name: str) -> zipfile.ZipInfo:
    """Dated as ZIP's first day: what is in it was made when the model card says."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = READABLE
    return entry
