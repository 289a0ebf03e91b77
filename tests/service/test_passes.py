"""What becomes of a pass that a running job has finished, and of what the job ends with, up to the engine, which is a
double here."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from service import outcomes, passes
from service.contract import folder
from service.contract.fingerprint import template_sha256
from service.contract.jobs import JobEvent, Manifest
from service.contract.users import UserCreate
from service.db import tables
from service.db.session import Database, NoTurn
from service.domain import jobs, users
from service.domain import passes as records
from service.domain.keys import Hasher
from service.engine.client import Engine
from service.errors import EngineTimeout, EngineUnavailable
from service.settings import Settings
from service.storage.local import Store
from tests.published import PROOF, TRAINED
from tests.service.engine.double import Double, double_engine
from tests.service.storage.adapters import adapter, made_for, servable

JOB = "ftjob-1"


@dataclass
class World:
    database: Database
    parts: outcomes.Parts
    double: Double
    place: Path
    """The run folder of a job that runs."""

    def leave(self, step: int) -> Path:
        """What the trainer leaves after a pass."""
        left, base = self.place / f"{folder.PASS}{step}", servable(self.place.parent).base
        left.mkdir()
        manifest = Manifest.model_validate(
            {
                "kind": "sft", "template_sha256": template_sha256(base), "train_sha256": "d", "parent": None,
                "job": JOB, "step": step, "settings": None, "versions": {}, "created_at": 1, **made_for(base),
            }
        )  # fmt: skip
        adapter(left / folder.ADAPTER, manifest=manifest.model_dump())
        folder.write_json(left / folder.REPORT, TRAINED.model_copy(update={"steps": step}).model_dump())
        return left

    async def follow(self, until: Any) -> None:
        following = asyncio.create_task(passes.follow(self.database, self.parts, JOB, self.place))
        async with asyncio.timeout(20):
            while not until():  # noqa: ASYNC110  a folder tells nobody
                await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    async def steps(self) -> list[int]:
        async with self.database.reading() as session:
            job = await session.get_one(tables.Job, JOB)
            found, _ = await records.list_checkpoints(session, job, after=None, limit=9)
            return [one.step_number for one in found]

    async def events(self) -> list[JobEvent]:
        async with self.database.reading() as session:
            return (await jobs.list_events(session, JOB, after=None, limit=99))[0]


@pytest.fixture
async def world(tmp_path: Path, schema: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async def agrees(*_: Any) -> Any:
        return PROOF

    monkeypatch.setattr(outcomes, "prove", agrees)
    monkeypatch.setattr(passes, "POLL", 0.0)
    monkeypatch.setattr(passes, "REST", 0.0)
    settings = Settings(home=tmp_path / "home", base_model=str(servable(tmp_path).base))
    store = Store(settings.home)
    store.prepare()
    shutil.copy(schema, settings.home / "tailorbird.db")
    database = Database(settings.database)
    async with database.writing() as session:
        ada = await users.create_user(session, UserCreate(name="Ada", role="administrator"))
        session.add(
            tables.Job(
                id=JOB, kind="sft", status="running", user_id=ada.id, request={}, settings={}, model="base",
                created_at=1,
            )
        )  # fmt: skip
    place = tmp_path / "run"
    place.mkdir()
    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        parts = outcomes.Parts(settings, store, Hasher.of_home(settings.home), [engine])
        yield World(database, parts, double, place)
        await engine.close()
    await database.close()


async def test_each_finished_pass_is_loaded_proved_and_published_once(world: World):
    kept = world.place.parent / "kept"
    for step in (8, 16):
        left = world.leave(step)
        if step == 8:
            shutil.copytree(left, kept)
        await world.follow(lambda left=left: not left.exists())
    assert await world.steps() == [16, 8]
    assert {Path(path).name for path in world.double.loaded.values()} == world.double.loaded.keys()
    shutil.copytree(kept, world.place / f"{folder.PASS}8")  # as after an end before it was removed
    await passes.take_in_rest(world.database, world.parts, JOB, world.place)
    assert await world.steps() == [16, 8]
    assert [event.data["code"] for event in await world.events()] == ["checkpoint"] * 2
    assert world.double.loads == 2


async def test_a_finished_job_takes_in_no_more_passes_than_are_kept_beside_its_own_adapter(world: World):
    for step in (8, 16, 24, 32):
        world.leave(step)
    await passes.take_in_rest(world.database, world.parts, JOB, world.place)
    assert await world.steps() == [32, 24]


async def test_a_pass_that_is_not_served_as_it_was_trained_is_told_of_and_leaves_the_engine(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    async def differs(*_: Any) -> Any:
        return PROOF.model_copy(update={"distance_to_trainer": 2.0})

    monkeypatch.setattr(outcomes, "prove", differs)
    left = world.leave(8)
    await world.follow(lambda: not left.exists())
    (event,) = await world.events()
    assert (event.level, event.data) == ("warn", {"code": "checkpoint_refused", "step": 8})
    assert "differ from the trainer's by 2.000" in event.message
    assert (await world.steps(), world.double.loaded) == ([], {})
    # One that the engine would choke on never reaches it.
    left = world.leave(16)
    (left / folder.ADAPTER / "adapter_model.safetensors").write_bytes(b"half")
    await world.follow(lambda: not left.exists())
    assert (await world.steps(), world.double.loads) == ([], 1)


async def test_a_pass_waits_for_an_engine_that_is_gone_and_a_job_that_ends_leaves_nothing_in_it(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    asked = 0

    async def gone(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise EngineUnavailable("The engine is gone.")

    monkeypatch.setattr(outcomes, "prove", gone)
    left = world.leave(8)
    await world.follow(lambda: asked > 1)
    assert left.exists()

    async def hangs(*_: Any) -> Any:
        nonlocal asked
        asked = 0
        await asyncio.sleep(60)

    monkeypatch.setattr(outcomes, "prove", hangs)
    await world.follow(lambda: asked == 0)
    assert (left.exists(), world.double.loaded, await world.events()) == (True, {}, [])


async def test_a_pass_waits_for_a_database_that_others_hold(world: World, monkeypatch: pytest.MonkeyPatch):
    asked = 0

    async def held(*_: Any, **__: Any) -> Any:
        nonlocal asked
        asked += 1
        raise NoTurn("others write")

    left, publish = world.leave(8), records.publish
    monkeypatch.setattr(records, "publish", held)
    await world.follow(lambda: asked > 1)
    assert (left.exists(), await world.events()) == (True, [])
    with pytest.raises(NoTurn):
        await passes.take_in_rest(world.database, world.parts, JOB, world.place)
    monkeypatch.setattr(records, "publish", publish)
    await world.follow(lambda: not left.exists())
    assert await world.steps() == [8]


async def finished(world: World) -> tables.Job:
    """The job after its training, whose run folder holds all of it."""
    left = world.leave(4)
    left.rename(world.place.with_name("finished"))
    world.place.rmdir()
    world.place.with_name("finished").rename(world.place)
    async with world.database.reading() as session:
        return await session.get_one(tables.Job, JOB)


async def codes(world: World) -> list[str | None]:
    return [one.data.get("code") for one in reversed(await world.events())]


async def test_a_finished_adapter_waits_for_an_engine_that_is_gone_and_is_published_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    asked, job = 0, await finished(world)

    async def gone_twice(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise EngineTimeout("The engine is slow.") if asked == 1 else EngineUnavailable("It is gone.")
        return PROOF

    monkeypatch.setattr(outcomes, "prove", gone_twice)
    monkeypatch.setattr(outcomes, "TOLD_AFTER", 0.0)
    await outcomes.take_in(world.database, world.parts, job, world.place)
    told = await codes(world)
    assert (told[:3], told[-1]) == (["trained", "engine_awaited", "seen_to_serve"], "done")
    async with world.database.reading() as session:
        assert (await session.get_one(tables.Job, JOB)).status == "succeeded"


async def test_a_cancel_while_the_adapter_is_proved_or_waits_for_the_engine_publishes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    async def cancelled(error: Exception | None) -> Any:
        async with world.database.writing() as session:
            await jobs.cancel(session, await session.get_one(tables.Job, JOB))
        if error is not None:
            raise error
        return PROOF

    job = await finished(world)
    for error in (None, EngineUnavailable("The engine is gone.")):
        monkeypatch.setattr(outcomes, "prove", lambda *_, error=error: cancelled(error))
        await outcomes.take_in(world.database, world.parts, job, world.place)
        async with world.database.writing() as session:
            row = await session.get_one(tables.Job, JOB)
            assert (row.status, row.adapter, row.fine_tuned_model) == ("cancelled", None, None)
            assert list(await session.scalars(select(tables.Adapter))) == []
            row.status, row.cancel_requested = "running", False
        assert world.double.loaded == {}
    assert (await codes(world))[-1] == "cancelled"
