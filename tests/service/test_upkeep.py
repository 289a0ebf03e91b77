import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.contract.uploads import UploadCreate
from service.contract.users import UserCreate
from service.db import tables
from service.db.session import Database
from service.domain import batches, files, idempotency, imports, passes, uploads, users
from service.domain.keys import Caller, Hasher
from service.settings import Settings
from service.storage.local import YOUNG, Store
from service.upkeep import tidy


@dataclass
class House:
    """The parts of a gateway that tidying needs."""

    database: Database
    store: Store
    admin: Caller
    hasher: Hasher = Hasher(b"pepper")
    settings: Settings = field(default_factory=Settings)
    engines: list[Any] = field(default_factory=list)

    async def keep(self, content: bytes, *, gone: bool, old: bool = True) -> str:
        sha256 = self.store.put_bytes(content)
        if old:
            os.utime(self.store.file(sha256), (time.time() - YOUNG - 9,) * 2)
        async with self.database.writing() as session:
            file = await files.add_file(
                session, user_id=self.admin.user_id, filename="f", purpose="batch", sha256=sha256,
                size=len(content), kind="batch", rows=1,
            )  # fmt: skip
            file.expires_at = 1 if gone else None
        return file.id

    def digests(self) -> set[str]:
        return {path.name for path in (self.store.home / "files").iterdir()}


@pytest.fixture
async def house(tmp_path: Path, schema: Path) -> AsyncIterator[Any]:
    shutil.copy(schema, tmp_path)
    url = f"sqlite+aiosqlite:///{tmp_path / schema.name}"
    database, store = Database(url), Store(tmp_path)
    store.prepare()
    async with database.writing() as session:
        admin = await users.create_user(session, UserCreate(name="Ada", role="administrator"))
    yield House(database, store, Caller(admin.id, admin.name, admin.role, "key", "api"))
    await database.close()


async def test_the_bytes_of_an_expired_file_go_unless_another_file_has_the_same(house):
    await house.keep(b"alone", gone=True)
    await house.keep(b"shared", gone=True)
    await house.keep(b"shared", gone=False)
    await house.keep(b"kept", gone=False)
    await house.keep(b"just now", gone=True, old=False)
    assert len(house.digests()) == 4
    await tidy(house)
    left = {house.store.file(digest).read_bytes() for digest in house.digests()}
    assert left == {b"shared", b"kept", b"just now"}


async def test_what_a_refused_upload_left_is_removed_later(house):
    sha256 = house.store.put_bytes(b"refused")
    await tidy(house)
    assert house.store.file(sha256).exists()
    os.utime(house.store.file(sha256), (time.time() - YOUNG - 9,) * 2)
    await tidy(house)
    assert not house.store.file(sha256).exists()


async def test_parts_go_with_their_upload_and_answers_with_their_batch(house):
    wanted = UploadCreate(bytes=1, filename="f", mime_type="x", purpose="batch")
    async with house.database.writing() as session:
        fresh, late = [await uploads.create_upload(session, house.admin, wanted, limit=10) for _ in range(2)]
        late.expires_at = 1
    for upload in (fresh, late):
        house.store.upload(upload.id).mkdir()
    file_id = await house.keep(b"{}", gone=True)
    async with house.database.writing() as session:
        session.add(
            tables.Batch(
                id="batch_on", user_id=house.admin.user_id, key_id="key", request={}, endpoint="x",
                input_file_id=file_id, status="in_progress", moments={}, created_at=1, expires_at=2,
            )
        )  # fmt: skip
    for batch_id in ("batch_on", "batch_gone"):
        house.store.batch(batch_id).mkdir()
    await tidy(house)
    assert house.store.unfinished() == ({fresh.id}, {"batch_on"})
    async with house.database.reading() as session:
        assert (await session.get(tables.Upload, late.id)).status == "expired"
        assert (await files.get_kept(session, file_id)).id == file_id
    async with house.database.writing() as session:
        batches.move(await batches.get_batch(session, None, "batch_on"), "completed")
    await tidy(house)
    assert house.store.unfinished() == ({fresh.id}, set())
    assert house.digests() == set()


async def test_checkpoints_go_with_the_end_of_their_job_and_stay_while_it_may_go_on(house):
    for status in ("paused", "queued", "running", "cancelled", "failed"):
        async with house.database.writing() as session:
            session.add(
                tables.Job(
                    id=f"ftjob-{status}",
                    kind="sft",
                    status=status,
                    user_id=house.admin.user_id,
                    request={},
                    settings={},
                    model="base",
                    created_at=1,
                )  # fmt: skip
            )
        for name in ("checkpoint-7", ".checkpoint-8", "pass-6"):
            (house.store.job(f"ftjob-{status}") / name).mkdir(parents=True)
    await tidy(house)
    assert house.store.interrupted() == {"ftjob-paused", "ftjob-queued", "ftjob-running"}


async def test_an_imports_folder_goes_when_nobody_knows_it_and_what_was_brought_after_a_week(house):
    fresh, late = house.store.put_bytes(b"fresh"), house.store.put_bytes(b"late")
    async with house.database.writing() as session:
        for sha256, age in ((fresh, 0), (late, imports.KEPT + 9)):
            session.add(
                tables.Import(
                    id=f"import_{age}", user_id=house.admin.user_id, filename="f", sha256=sha256, bytes=1,
                    status="succeeded", plan={}, created_at=int(time.time()) - age,
                )
            )  # fmt: skip
    for name in ("import_0", "look_gone", "look_now"):
        house.store.imported(name).mkdir()
    for path in (house.store.imported("import_0"), house.store.imported("look_gone")):
        os.utime(path, (time.time() - YOUNG - 9,) * 2)
    for sha256 in (fresh, late):
        os.utime(house.store.file(sha256), (time.time() - YOUNG - 9,) * 2)
    await tidy(house)
    assert {path.name for path in (house.store.home / "imports").iterdir()} == {"import_0", "look_now"}
    assert house.digests() == {fresh}


async def test_the_files_of_a_checkpoint_go_an_hour_after_it_when_no_engine_has_it(house):
    old = int(time.time()) - passes.FILES_STAY - 9
    rows = {
        "a": (8, old, "gone"), "b": (8, old, "an engine has it"), "c": (8, int(time.time()), "gone just now"),
        "d": (None, old, "a deleted model, no checkpoint"), "e": (8, None, "it answers"),
        "f": (8, old, "a job needs it"),
    }  # fmt: skip
    async with house.database.writing() as session:
        for name, status in (("ftjob-1", "succeeded"), ("ftjob-2", "queued")):
            session.add(
                tables.Job(
                    id=name, kind="sft", status=status, user_id=house.admin.user_id, request={}, settings={},
                    model="base", created_at=1, start_adapter="f" * 64,
                )
            )  # fmt: skip
        await session.flush()
        for letter, (step, deleted_at, _) in rows.items():
            session.add(
                tables.Adapter(
                    digest=letter * 64, model=letter, job_id="ftjob-1", user_id=house.admin.user_id,
                    manifest={"step": step}, proof={}, report={}, bytes=1, created_at=1, deleted_at=deleted_at,
                )
            )  # fmt: skip
    for letter in (*rows, "0", "1"):
        place = house.store.adapter(letter * 64)
        place.mkdir()
        (place / "weights").touch()
        if letter != "1":  # neither has a row: "1" may be about to get one
            os.utime(place, (time.time() - YOUNG - 9,) * 2)
    house.engines.append(SimpleNamespace(models={"b" * 64}, in_use=lambda digest: False))
    await tidy(house)
    assert "".join(sorted(path.name[0] for path in (house.store.home / "adapters").iterdir())) == "1bcdef"


async def test_the_answers_to_idempotency_keys_are_forgotten_after_a_week(house):
    async with house.database.writing() as session:
        for key, age in (("fresh", 0), ("late", idempotency.KEPT + 9)):
            session.add(
                tables.IdempotencyKey(
                    user_id=house.admin.user_id, key=key, body_sha256="s", response={},
                    created_at=int(time.time()) - age,
                )
            )  # fmt: skip
    await tidy(house)
    async with house.database.reading() as session:
        assert await session.get(tables.IdempotencyKey, (house.admin.user_id, "fresh")) is not None
        assert await session.get(tables.IdempotencyKey, (house.admin.user_id, "late")) is None
