import time

import pytest

from service.contract.jobs import Manifest
from service.db import tables
from service.domain import chat, jobs, models, passes, releases
from service.errors import BadInput, NotFound
from tests.published import PROOF, TRAINED
from tests.service.domain.conftest import World


@pytest.fixture
async def job(world: World) -> str:
    """A training job that runs."""
    async with world.database.writing() as session:
        session.add(
            tables.Job(
                id="ftjob-1", kind="sft", status="running", user_id=world.admin.user_id, request={"suffix": "Pier"},
                settings={}, model="base", created_at=1,
            )
        )  # fmt: skip
    return "ftjob-1"


def made(job: str, step: int, number: int, *, checkpoint: bool = True, **report: float) -> dict:
    """What the worker publishes: the adapter with this number, of this step."""
    manifest = Manifest(
        kind="sft", base_model="base", base_sha256="b", template_sha256="t", train_sha256="d", parent=None, job=job,
        step=step if checkpoint else None, settings=None, versions={}, created_at=1,
    )  # fmt: skip
    told = TRAINED.model_copy(update={"steps": step, **report})
    return {"digest": f"{number:064x}", "size": 1, "manifest": manifest, "proof": PROOF, "report": told}


async def publish(world: World, job: str, *steps: int) -> None:
    for step in steps:
        async with world.database.writing() as session:
            await passes.publish(session, job, **made(job, step, step))


async def end(world: World, job: str, step: int, *, kept: int | None = None) -> None:
    async with world.database.writing() as session:
        found = await session.get_one(tables.Job, job)
        await releases.publish(
            session, found, **made(job, step, 99, checkpoint=False, kept_step=kept or step)
        )
        await passes.end_with(session, found, kept or step)


async def listed(world: World, job: str, after: str | None = None, limit: int = 10) -> list:
    async with world.database.reading() as session:
        found = await session.get_one(tables.Job, job)
        return (await passes.list_checkpoints(session, found, after=after, limit=limit))[0]


async def told(world: World, job: str) -> list[tuple]:
    async with world.database.reading() as session:
        events, _ = await jobs.list_events(session, job, after=None, limit=99)
    return [(event.data.get("code"), event.data.get("step")) for event in reversed(events)]


async def asked(world: World, model: str) -> str:
    async with world.database.reading() as session:
        return (await chat.resolve(session, model, base_name="base")).engine_model


async def test_a_checkpoint_can_be_asked_by_its_name_while_its_job_runs_and_only_the_newest_three(
    world: World, job: str
):
    await publish(world, job, 8, 16)
    name = f"ft:base:tailorbird:pier:{16:064x}"[:-52] + ":ckpt-step-16"
    newest, oldest = await listed(world, job)
    assert (newest.fine_tuned_model_checkpoint, newest.step_number) == (name, 16)
    assert newest.metrics == {"step": 16, "train_loss": 1.5, "valid_loss": 1.7}
    assert await asked(world, name) == f"{16:064x}"
    await publish(world, job, 24, 32)
    assert [one.step_number for one in await listed(world, job)] == [32, 24, 16]
    with pytest.raises(NotFound):
        await asked(world, oldest.fine_tuned_model_checkpoint)
    assert [code for code, _ in await told(world, job)] == ["checkpoint"] * 4
    async with world.database.reading() as session:
        assert {row.digest for row in await releases.list_adapters(session)} == {
            f"{n:064x}" for n in (16, 24, 32)
        }
        assert await releases.list_releases(session, None) == []


async def test_the_same_pass_is_published_once_even_when_it_has_gone_meanwhile(world: World, job: str):
    await publish(world, job, 8, 16, 24, 32)
    async with world.database.writing() as session:
        await models.delete_model(
            session, world.admin, (await listed(world, job))[0].fine_tuned_model_checkpoint, base_name="base"
        )
        for step in (8, 16, 32):  # trained again by another process, so that its files differ
            await passes.publish(session, job, **made(job, step, step + 1))
    assert [one.step_number for one in await listed(world, job)] == [24, 16]


async def test_the_tuned_model_counts_among_the_three_and_says_which_checkpoint_it_is(world: World, job: str):
    await publish(world, job, 8, 16, 24)
    await end(world, job, 32, kept=16)
    found = await listed(world, job)
    assert [one.step_number for one in found] == [16, 24, 16]
    assert found[0].fine_tuned_model_checkpoint == f"ft:base:tailorbird:pier:{99:064x}"[:-52]
    assert (await told(world, job))[-1] == ("checkpoint_same", 16)
    assert [one.step_number for one in await listed(world, job, after=found[0].id, limit=1)] == [24]
    with pytest.raises(BadInput):
        await listed(world, job, after="ftckpt-none")


async def test_a_tuned_model_of_the_last_step_is_no_checkpoints(world: World, job: str):
    await publish(world, job, 8)
    await end(world, job, 16)
    assert [one.step_number for one in await listed(world, job)] == [16, 8]
    assert ("checkpoint_same", 16) not in await told(world, job)


async def test_a_checkpoint_that_a_waiting_job_starts_from_or_that_was_made_a_release_stays(
    world: World, job: str
):
    await publish(world, job, 8)
    async with world.database.writing() as session:
        session.add(
            tables.Job(
                id="ftjob-2", kind="sft", status="queued", user_id=world.admin.user_id, request={}, settings={},
                model="x", start_adapter=f"{8:064x}", created_at=int(time.time()),
            )
        )  # fmt: skip
    await publish(world, job, 16)
    async with world.database.writing() as session:
        await releases.offer(session, "desk", f"{16:064x}", None)
    await publish(world, job, 24, 32, 40, 48)
    assert [one.step_number for one in await listed(world, job)] == [48, 40, 32, 16, 8]
