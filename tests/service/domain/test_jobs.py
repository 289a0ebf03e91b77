import json
import time
from dataclasses import replace

import pytest
from sqlalchemy import update

from service.contract.jobs import JobCreate, JobError
from service.db import tables
from service.domain import job_requests, jobs
from service.domain.hyperparameters import Bounds
from service.errors import BadInput, Conflict, NotFound
from tests.service.domain.conftest import World

BOUNDS = Bounds(max_rank=16, longest=2047, usual=512, width=576)
ROW = b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'


async def create(world: World, *, retry: bool = False, caller=None, **change) -> tables.Job:
    file = change.pop("training_file", None) or await world.add_file(ROW * 10, "sft")
    wanted = JobCreate.model_validate({"model": "base", "training_file": file} | change)
    by = caller or world.admin
    async with world.database.writing() as session:
        if retry and (before := await jobs.made_before(session, by, wanted)) is not None:
            return before
        plan = await job_requests.plan(
            session, world.store, by, wanted, base_name="base", min_rows=10, bounds=BOUNDS
        )
        return await jobs.create_job(session, by, wanted, plan)


async def claim(world: World, worker: str = "w1") -> tables.Job | None:
    async with world.database.writing() as session:
        return await jobs.claim(session, worker)


async def lose_lease(world: World) -> int:
    async with world.database.writing() as session:
        await session.execute(update(tables.Job).values(lease_until=time.time() - 1))
    async with world.database.writing() as session:
        return await jobs.requeue_lost(session, 3)


async def test_a_job_is_claimed_once(world: World):
    job = await create(world)
    first, second = await claim(world, "w1"), await claim(world, "w2")
    assert first is not None
    assert (first.id, first.status, second) == (job.id, "running", None)


async def test_a_dead_workers_job_is_started_again_and_given_up_in_the_end(world: World):
    job = await create(world)
    for attempt in (1, 2, 3):
        claimed = await claim(world, f"w{attempt}")
        assert claimed is not None
        assert claimed.attempts == attempt
        assert await lose_lease(world) == 1
    async with world.database.reading() as session:
        ended = await jobs.get_job(session, None, job.id)
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error["code"] == "worker_lost"
    assert await claim(world) is None


async def test_a_job_that_gets_further_each_time_is_not_given_up(world: World):
    job = await create(world)
    for step in (7, 9, 12, 30):
        claimed = await claim(world)
        assert claimed is not None
        async with world.database.writing() as session:
            await jobs.reach(session, job.id, step)
        await lose_lease(world)
    for _ in range(2):
        assert await claim(world) is not None
        async with world.database.writing() as session:
            await jobs.reach(session, job.id, 30)
        await lose_lease(world)
    assert await claim(world) is None, "it stayed where it was, three times"


async def change(world: World, job: tables.Job, what) -> tables.Job:
    async with world.database.writing() as session:
        fresh = await jobs.get_job(session, None, job.id)
        await what(session, fresh)
    return fresh


async def test_a_waiting_job_pauses_at_once_and_is_claimed_by_nobody_until_it_is_resumed(world: World):
    job = await create(world)
    assert jobs.shown(await change(world, job, jobs.pause)).status == "paused"
    assert await claim(world) is None
    assert jobs.shown(await change(world, job, jobs.resume)).status == "queued"
    assert (await claim(world)) is not None


async def test_a_running_job_is_pausing_until_its_worker_has_set_it_aside(world: World):
    job = await create(world)
    await claim(world)
    assert jobs.shown(await change(world, job, jobs.pause)).status == "pausing"
    aside = await change(world, job, jobs.set_aside)
    assert (aside.status, aside.worker, aside.attempts) == ("paused", None, 0)
    assert await claim(world) is None
    await change(world, job, jobs.resume)
    again = await claim(world)
    assert again is not None
    assert (again.attempts, jobs.shown(again).status) == (1, "running")


async def test_a_job_resumed_before_it_had_paused_goes_on(world: World):
    job = await create(world)
    await claim(world)
    await change(world, job, jobs.pause)
    assert jobs.shown(await change(world, job, jobs.resume)).status == "running"
    assert (await change(world, job, jobs.set_aside)).status == "queued"


async def test_a_job_whose_worker_is_lost_while_it_pauses_is_paused(world: World):
    job = await create(world)
    await claim(world)
    await change(world, job, jobs.pause)
    assert await lose_lease(world) == 1
    async with world.database.reading() as session:
        assert (await jobs.get_job(session, None, job.id)).status == "paused"


async def test_a_paused_job_can_be_cancelled_and_an_ended_one_neither_paused_nor_resumed(world: World):
    job = await create(world)
    await change(world, job, jobs.pause)
    assert (await change(world, job, jobs.cancel)).status == "cancelled"
    for what in (jobs.pause, jobs.resume):
        with pytest.raises(Conflict, match="cancelled"):
            await change(world, job, what)


async def test_a_worker_that_lost_its_lease_cannot_renew_it(world: World):
    job = await create(world)
    await claim(world, "w1")
    await lose_lease(world)
    await claim(world, "w2")
    async with world.database.writing() as session:
        assert not await jobs.renew(session, job.id, "w1")
        assert await jobs.renew(session, job.id, "w2")


async def test_cancelling_a_waiting_job_ends_it_and_an_ended_one_is_refused(world: World):
    job = await create(world)
    async with world.database.writing() as session:
        await jobs.cancel(session, await jobs.get_job(session, None, job.id))
    assert await claim(world) is None
    async with world.database.writing() as session:
        with pytest.raises(Conflict, match="cancelled"):
            await jobs.cancel(session, await jobs.get_job(session, None, job.id))


async def test_a_retried_create_makes_no_second_job(world: World):
    file = await world.add_file(ROW * 10, "sft")
    first = await create(world, training_file=file)
    again = await create(world, training_file=file, retry=True)
    meant = await create(world, training_file=file)
    assert first.id == again.id != meant.id


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"training_file": "file-none"}, "training_file"),
        ({"method": {"type": "dpo"}}, "training_file"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"validation_file": "file-none"}, "validation_file"),
        ({"method": {"type": "kto"}}, "training_file"),
        ({"method": {"type": "kto"}, "hyperparameters": {"batch_size": 1}}, "hyperparameters"),
    ],
)
async def test_a_job_that_cannot_run_is_refused_by_field(world: World, change, param):
    with pytest.raises(BadInput) as refusal:
        await create(world, **change)
    assert refusal.value.param == param


def rated(*labels: bool) -> bytes:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"q{at}"}],
            "completion": [{"role": "assistant", "content": "a"}],
            "label": label,
        }
        for at, label in enumerate(labels)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def test_a_batch_that_the_processes_here_cannot_divide_is_refused_when_the_job_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(globals(), "BOUNDS", replace(BOUNDS, processes=3))
    with pytest.raises(
        BadInput, match="batch_size is 4, which the 3 processes .* Send a multiple of 3"
    ) as refusal:
        await create(world, hyperparameters={"batch_size": 4})
    assert refusal.value.param == "hyperparameters.batch_size"
    assert jobs.shown(await create(world)).hyperparameters["batch_size"] == 6


async def test_a_kto_job_shows_every_setting_resolved(world: World):
    file = await world.add_file(rated(*[True] * 9, *[False] * 3), "kto")
    method = {"type": "kto", "kto": {"hyperparameters": {"n_epochs": 2, "beta": 0.2}}}
    job = await create(world, training_file=file, method=method)
    shown = jobs.shown(job)
    assert job.kind == "kto"
    assert shown.hyperparameters == {
        "n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 1, "beta": 0.2, "early_stopping_patience": 0,
        "use_rslora": False, "replay": 0, "lora_rank": 16, "max_length": 512, "desirable_weight": 1,
        "undesirable_weight": 3,
    }  # fmt: skip
    assert shown.hyperparameter_reasons.keys() == shown.hyperparameters.keys() - {"n_epochs", "beta"}
    assert shown.method == {"type": "kto", "kto": {"hyperparameters": shown.hyperparameters}}


async def test_rated_completions_of_one_label_are_refused_when_the_job_is_asked_for(world: World):
    file = await world.add_file(rated(*[True] * 12), "kto")
    with pytest.raises(BadInput, match='Every row of the training file is desirable.*"label": false'):
        await create(world, training_file=file, method={"type": "kto"})


async def test_what_a_job_says_has_a_code_with_its_values(world: World):
    job = await create(world)
    async with world.database.writing() as session:
        found = await jobs.get_job(session, None, job.id)
        await jobs.pause(session, found)
        await jobs.resume(session, found)
        await jobs.end(session, found, "succeeded", "Done: x.", code="done", values={"model": "x"})
        events, _ = await jobs.list_events(session, job.id, after=None, limit=4)
    assert [event.data for event in reversed(events)] == [
        {"code": "waiting"}, {"code": "paused_early"}, {"code": "resumed"}, {"code": "done", "model": "x"},
    ]  # fmt: skip


async def test_what_was_chosen_for_a_caller_is_told_with_its_reason(world: World):
    job = await create(
        world, method={"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 2}}}
    )
    async with world.database.reading() as session:
        events, _ = await jobs.list_events(session, job.id, after=None, limit=9)
    told = events[-1]
    assert "n_epochs = 5: 10 rows: fewer rows are seen more often." in told.message
    assert "batch_size" not in told.message
    chosen, reasons = told.data["chosen"], jobs.shown(job).hyperparameter_reasons
    assert (told.data["code"], {name: one["because"] for name, one in chosen.items()}) == ("chosen", reasons)
    few = {"because": reasons["n_epochs"], "code": "few_rows", "values": {"rows": 10}}
    assert chosen["n_epochs"] == {"value": 5} | few


async def test_a_file_with_too_few_rows_is_refused(world: World):
    with pytest.raises(BadInput, match="has 9 rows; at least 10"):
        await create(world, training_file=await world.add_file(ROW * 9, "sft"))


async def test_a_user_cannot_train_an_assistant_nor_see_anothers_job(world: World):
    job = await create(world)
    async with world.database.reading() as session:
        with pytest.raises(NotFound):
            await jobs.get_job(session, world.user, job.id)


@pytest.mark.parametrize(
    ("param", "message", "told", "said"),
    [
        ("train.jsonl line 2", "train.jsonl line 2 is too long.", "f.jsonl line 2", "f.jsonl line 2 is too long."),
        ("validation.jsonl", "validation.jsonl holds no rows.", "validation_file", "g.jsonl holds no rows."),
        ("start_adapter", "It is not in 'a'.", "start_adapter", "It is not in 'a'."), (None, "No.", None, "No."),
    ],
)  # fmt: skip
async def test_a_failure_is_told_by_a_code_and_names_the_files_as_they_were_brought_and_the_fields_of_the_request(
    world: World, param: str | None, message: str, told: str | None, said: str
):
    held_out = await world.add_file(ROW * 3, "sft")
    async with world.database.writing() as session:
        (await session.get_one(tables.File, held_out)).filename = "g.jsonl"
    job = await create(world, validation_file=held_out)
    async with world.database.writing() as session:
        found = await jobs.get_job(session, None, job.id)
        await jobs.end(
            session, found, "failed", message, JobError(code="row_too_long", message=message, param=param)
        )
    async with world.database.reading() as session:
        ended = await jobs.get_job(session, None, job.id)
        events, _ = await jobs.list_events(session, job.id, after=None, limit=1)
    assert ended.error == {"code": "row_too_long", "message": said, "param": told}
    assert (events[0].message, events[0].level) == (said, "error")
    assert events[0].data == {"code": "failed", "error": "row_too_long", "param": told}
