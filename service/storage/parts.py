"""The parts of a file that is still coming: each a file of its own, read again in the order that is asked for.

Written straight to where it stays: only a part whose row is saved counts. All of it blocks: call it in a thread.
Knows no database.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.errors import TooLarge
from service.storage.local import no_space

CHUNK = 1 << 20


def put_part(path: Path, chunks: Iterable[bytes], limit: int) -> int:
    """Keep a part at `path`. Returns its size. Raises `TooLarge` past `limit` bytes, `NoSpace`; then nothing stays."""
    size, whole = 0, False
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(path, "wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"A part holds {limit >> 20} MB at most. Send smaller ones.", param="data")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        whole = True
    except OSError as error:
        raise no_space(error) from error
    finally:
        if not whole:
            path.unlink(missing_ok=True)
    return size


def read_whole(paths: Iterable[Path]) -> Iterator[bytes]:
    """The bytes of these files, one behind the other."""
    for path in paths:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
