"""What is kept on disk, by digest: uploaded files and adapters. Written to the side, renamed last.

    files/<sha256>            an uploaded or frozen file
    adapters/<digest>/        weights, configuration, manifest; read-only once there
    jobs/<job id>/            run folders
    uploads/<upload id>/      parts of a file that is still coming
    batches/<batch id>/       what a batch has answered so far
    imports/<import id>/      how an import is read, and what it refused

Paths come from digests and ids of ours, never from names people give. Knows no database.
"""

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from service.contract import fingerprint, folder
from service.errors import NoSpace, NotFound, TooLarge
from service.storage.adapters import ADAPTER_FILES, Servable, check_adapter, unpack
from service.storage.archive import zip_of

YOUNG = 3600.0
"""Seconds a file's bytes are left alone: its row may be about to be written."""


_PARTS = (f"*{folder.CHECKPOINT}*", f"*{folder.PASS}*")
"""Of a run folder, what is of use only until its job ends."""


class Store:
    def __init__(self, home: Path) -> None:
        self.home = home
        self._files, self._adapters, self._jobs = home / "files", home / "adapters", home / "jobs"
        self._uploads, self._batches = home / "uploads", home / "batches"
        self._imports = home / "imports"
        self._side = home / "incoming"

    def prepare(self) -> None:
        """Make the folders, private to this user, and sweep what an earlier crash left half written."""
        inside = (
            self._files,
            self._adapters,
            self._jobs,
            self._uploads,
            self._batches,
            self._imports,
            self._side,
        )
        for path in (self.home, *inside):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Remove uploads that never ended. Only the launcher calls it, before anything else runs."""
        shutil.rmtree(self._side, ignore_errors=True)
        self.prepare()

    def put_file(self, chunks: Iterable[bytes], limit: int) -> tuple[str, int]:
        """Keep these bytes. Returns `(sha256, size)`. Blocking. Raises `TooLarge` past `limit` bytes, `NoSpace`."""
        side = self._side / uuid.uuid4().hex
        digest, size = hashlib.sha256(), 0
        try:
            with open(side, "wb") as file:
                for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise TooLarge(
                            f"The file is larger than {limit // 2**20} MB. Split it into several files."
                        )
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(side, self._files / digest.hexdigest())
        except OSError as error:
            raise no_space(error) from error
        finally:
            side.unlink(missing_ok=True)
        return digest.hexdigest(), size

    @contextmanager
    def incoming(self) -> Iterator["Incoming"]:
        """A file that is written piece by piece; dropped unless it is kept. Raises `NoSpace`."""
        side = Incoming(self._side / uuid.uuid4().hex, self._files)
        try:
            with side.file:
                yield side
        finally:
            side.path.unlink(missing_ok=True)

    def put_bytes(self, data: bytes) -> str:
        """Keep `data`; returns its sha256."""
        digest = hashlib.sha256(data).hexdigest()
        try:
            folder.write_atomic(self._files / digest, data)
        except OSError as error:
            raise no_space(error) from error
        return digest

    def file(self, sha256: str) -> Path:
        return self._files / _hex(sha256)

    def old_files(self) -> Iterator[str]:
        """Digests of the kept files that are no longer young."""
        for path in self._files.iterdir():
            if len(path.name) == 64 and path.stat().st_mtime < time.time() - YOUNG:
                yield path.name

    def remove_old(self, sha256: str) -> None:
        """Remove a file's bytes, unless the same ones came again a moment ago."""
        path = self.file(sha256)
        if path.exists() and path.stat().st_mtime < time.time() - YOUNG:
            path.unlink()

    def job(self, job_id: str) -> Path:
        return self._jobs / _id(job_id)

    def interrupted(self) -> set[str]:
        """Ids of the jobs that have checkpoints or passes, whole or half."""
        return {path.parent.name for part in _PARTS for path in self._jobs.glob(f"*/{part}")}

    def drop_checkpoints(self, job_id: str) -> None:
        for path in [path for part in _PARTS for path in self.job(job_id).glob(part)]:
            shutil.rmtree(path, ignore_errors=True)

    def upload(self, upload_id: str) -> Path:
        return self._uploads / _id(upload_id)

    def batch(self, batch_id: str) -> Path:
        return self._batches / _id(batch_id)

    def imported(self, import_id: str) -> Path:
        return self._imports / _id(import_id)

    def old_imports(self) -> set[str]:
        """Names of the imports' folders that are no longer young."""
        old = time.time() - YOUNG
        return {path.name for path in self._imports.iterdir() if path.stat().st_mtime < old}

    def drop_import(self, import_id: str) -> None:
        shutil.rmtree(self.imported(import_id), ignore_errors=True)

    def adopt(self, path: Path, sha256: str) -> int:
        """Keep a file that was written on this disk; `sha256` is its digest. Returns its bytes. Blocking."""
        if _file_digest(path) != sha256:
            raise ValueError(f"{path} has another digest than {sha256}")
        size = path.stat().st_size
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(path, self.file(sha256))
        return size

    def drop_upload(self, upload_id: str) -> None:
        shutil.rmtree(self.upload(upload_id), ignore_errors=True)

    def drop_batch(self, batch_id: str) -> None:
        shutil.rmtree(self.batch(batch_id), ignore_errors=True)

    def unfinished(self) -> tuple[set[str], set[str]]:
        """Ids of the uploads and of the batches that have a folder."""
        return {path.name for path in self._uploads.iterdir()}, {
            path.name for path in self._batches.iterdir()
        }

    def adapter(self, digest: str) -> Path:
        return self._adapters / _hex(digest)

    def old_adapters(self) -> set[str]:
        """Digests of the adapters whose files are no longer young."""
        return {path.name for path in self._adapters.iterdir() if path.stat().st_mtime < time.time() - YOUNG}

    def remove_old_adapter(self, digest: str) -> None:
        """Remove an adapter's files, out of sight first, unless the same ones came again a moment ago. Blocking."""
        aside = self._side / uuid.uuid4().hex
        if digest in self.old_adapters():
            os.rename(self.adapter(digest), aside)
        shutil.rmtree(aside, ignore_errors=True)

    def put_adapter(self, source: Path, servable: Servable) -> tuple[str, int]:
        """Keep the adapter in `source` under its digest. Returns `(digest, bytes)`; the same files, the same digest.

        Raises `BadInput` unless the engine can serve it: see `adapters`.
        """
        check_adapter(source, servable)
        digest = fingerprint.adapter_sha256(source)
        target = self.adapter(digest)
        if target.exists():
            os.utime(target)  # young again: its row may be about to be written
        else:
            side = self._side / uuid.uuid4().hex
            try:
                shutil.copytree(source, side)
                for path in side.iterdir():
                    with open(path, "rb") as file:
                        os.fsync(file.fileno())
                    path.chmod(0o400)
                os.utime(side)
                os.rename(side, target)
            except OSError as error:
                if not target.exists():
                    raise no_space(error) from error
            finally:
                shutil.rmtree(side, ignore_errors=True)
        return digest, sum(path.stat().st_size for path in target.iterdir())

    def put_brought(
        self, sha256: str, servable: Servable, *, limit: int, same_base: bool
    ) -> tuple[str, list[str]]:
        """Keep the adapter in a ZIP that is kept here. Returns `(digest, names left out)`. Blocking.

        Raises `BadInput` with what is wrong, and how to mend it; then nothing is kept.
        """
        side = self._side / uuid.uuid4().hex
        try:
            side.mkdir(mode=0o700)
            left_out = unpack(self.file(sha256), side, servable, limit=limit, same_base=same_base)
            digest, _ = self.put_adapter(side, servable)
        except OSError as error:
            raise no_space(error) from error
        finally:
            shutil.rmtree(side, ignore_errors=True)
        return digest, left_out

    def adapter_zip(self, digest: str, card: str) -> IO[bytes]:
        """An adapter exactly as it is kept, and its model card, as a ZIP that goes when it is closed. Blocking.

        Raises `NotFound` where the files are elsewhere, `NoSpace`.
        """
        source = self.adapter(digest)
        if not all((source / name).is_file() for name in ADAPTER_FILES):
            raise NotFound(f"The files of adapter '{digest}' are not on this machine.")
        try:
            return zip_of(source, sorted(ADAPTER_FILES), {"README.md": card}, self._side)
        except OSError as error:
            raise no_space(error) from error


class Incoming:
    """A file on its way in."""

    def __init__(self, path: Path, files: Path) -> None:
        self.path, self.size, self.lines = path, 0, 0
        self.file, self._files, self._digest = open(path, "w+b"), files, hashlib.sha256()

    def write_line(self, data: bytes) -> None:
        """Add a line, which ends with a line feed."""
        try:
            self.file.write(data)
        except OSError as error:
            raise no_space(error) from error
        self._digest.update(data)
        self.size += len(data)
        self.lines += 1

    def keep(self) -> str:
        """Sync it and keep it; returns its sha256. Blocking."""
        digest = self._digest.hexdigest()
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            os.replace(self.path, self._files / digest)
        except OSError as error:
            raise no_space(error) from error
        return digest


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hex(digest: str) -> str:
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise ValueError(f"not a digest: {digest!r}")
    return digest


def _id(name: str) -> str:
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"not an id of ours: {name!r}")
    return name


def no_space(error: OSError) -> Exception:
    """The error to raise for a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace("The disk is full; nothing was kept. Free some space and send it again.")
    return error
