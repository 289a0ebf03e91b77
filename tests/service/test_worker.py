import asyncio
import json
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import openai
import psutil
import pytest
from openai.types.fine_tuning import FineTuningJob

from service import outcomes
from service.contract import folder
from service.contract.jobs import Progress
from service.contract.rendering import Rendered
from service.contract.users import UserCreate
from service.db import session as sessions
from service.db import tables
from service.db.session import Database
from service.domain import jobs as records
from service.domain import users
from service.engine.client import Engine
from service.errors import BadInput
from service.outcomes import NotServed
from service.settings import Settings
from service.worker import Worker, _as_error, _ended_together, _lay_out, _reached, _reason, _together
from tests.gateway import Gateway, running_gateway
from tests.training.conftest import examples, tiny_base, tokenizer  # noqa: F401  two fixtures and their rows


def test_a_run_folder_is_fresh_at_each_attempt_and_its_spec_comes_last(tmp_path: Path):
    source = tmp_path / "source"
    source.write_text("rows")
    place = tmp_path / "jobs" / "ftjob-1"
    place.mkdir(parents=True)
    (place / folder.REPORT).write_text("an earlier attempt's")
    _lay_out(place, {"id": "ftjob-1"}, {folder.TRAIN: source})
    assert sorted(path.name for path in place.iterdir()) == [folder.JOB, folder.TRAIN]
    assert folder.read_json(place / folder.JOB) == {"id": "ftjob-1"}


def test_a_fresh_run_folder_keeps_the_checkpoints_of_an_earlier_attempt_and_what_it_replays(tmp_path: Path):
    place = tmp_path / "ftjob-1"
    assert _reached(place) == 0
    (place / f"{folder.CHECKPOINT}3").mkdir(parents=True)
    assert _reached(place) == 3
    (place / folder.ADAPTER).mkdir()
    (place / folder.PAUSE).touch()
    (place / folder.REPLAY).touch()
    _lay_out(place, {"id": "ftjob-1"}, {})
    assert sorted(path.name for path in place.iterdir()) == [
        f"{folder.CHECKPOINT}3",
        folder.JOB,
        folder.REPLAY,
    ]


def test_a_subprocess_tells_why_it_failed_or_where_to_look(tmp_path: Path):
    assert "log.txt" in _reason(tmp_path).message
    folder.write_json(
        tmp_path / folder.ERROR, {"code": "row_too_long", "message": "Line 3 is too long.", "param": None}
    )
    assert (_reason(tmp_path).code, _reason(tmp_path).message) == ("row_too_long", "Line 3 is too long.")


def test_of_processes_that_train_together_the_folder_says_how_they_ended(tmp_path: Path):
    assert _ended_together(tmp_path, 0) == "interrupted"
    assert _ended_together(tmp_path, 1) == "killed", "none has said why"
    (tmp_path / folder.REPORT).touch()
    assert _ended_together(tmp_path, 0) == "done"
    (tmp_path / folder.ERROR).touch()
    assert _ended_together(tmp_path, 1) == "failed"


def test_only_training_is_done_by_several_processes(tmp_path: Path):
    settings = Settings(home=tmp_path, training_processes=2)
    assert {kind: _together(settings, kind) for kind in ("sft", "dpo", "kto", "import", "evaluation")} == {
        "sft": 2, "dpo": 2, "kto": 2, "import": 1, "evaluation": 1,
    }  # fmt: skip


def test_an_error_reaches_the_job_without_the_insides_of_the_service():
    assert _as_error(BadInput("Send less.", param="file")).message == "Send less."
    assert _as_error(OSError(28, "No space left on device")).code == "disk_full"
    assert "secret" not in _as_error(RuntimeError("secret")).message


class Otherwise:
    """A double of an engine that makes these tokens of every prompt."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    async def tokenize(self, model: str, messages: list[dict[str, Any]]) -> list[int]:
        return self.tokens


async def test_a_training_ends_where_the_engine_reads_its_prompts_otherwise_and_goes_on_where_it_does_not(
    tmp_path: Path, schema: Path
):
    settings = Settings(home=tmp_path)
    shutil.copy(schema, tmp_path / "tailorbird.db")
    worker, place = Worker(settings, []), tmp_path / "run"
    prompt = Rendered(row="train.jsonl line 1", messages=[], tokens=[1, 2], texts=["a", "b"])
    place.mkdir()
    (place / folder.PROMPTS).write_text(prompt.model_dump_json() + "\n")
    async with worker.database.writing() as session:
        ada = await users.create_user(session, UserCreate(name="Ada", role="administrator"))
        job = tables.Job(
            id="ftjob-1", kind="sft", status="running", user_id=ada.id, request={}, settings={}, model="base",
            created_at=1, worker=worker.name,
        )  # fmt: skip
        session.add(job)
    for tokens in ([1, 3], [1, 2]):
        worker.engines = [cast(Engine, Otherwise(tokens))]
        process = await asyncio.create_subprocess_exec("sleep", "60" if tokens == [1, 3] else "0.1")
        following = worker._follow(job, place, process, 1)
        if tokens == [1, 2]:
            assert await following == "failed"
            continue
        with pytest.raises(NotServed, match=r"its token 2 is 3, the trainer's is 2 \('b'\)") as refused:
            await following
        assert _as_error(refused.value).code == "wrong_prompt"
        process.kill()
        await process.wait()
    async with worker.database.reading() as session:
        told = await records.list_events(session, "ftjob-1", after=None, limit=9)
    assert [event.data["code"] for event in told[0]] == ["prompts_same"]
    await worker.database.close()


@pytest.fixture
async def impatient(tmp_path: Path, schema: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    """A worker with a job in its queue, that soon gives up to wait for a database that others hold."""
    monkeypatch.setattr(sessions, "PATIENCE", 0.1)
    shutil.copy(schema, tmp_path / "tailorbird.db")
    worker = Worker(Settings(home=tmp_path), [])
    async with worker.database.writing() as session:
        ada = await users.create_user(session, UserCreate(name="Ada", role="administrator"))
        job = tables.Job(
            id="ftjob-1", kind="sft", status="queued", user_id=ada.id, request={}, settings={}, model="base",
            created_at=1,
        )  # fmt: skip
        session.add(job)
    place = worker.store.job(job.id)
    place.mkdir(parents=True)
    (place / folder.REPORT).touch()
    yield worker
    await worker.database.close()


def hold(worker: Worker, seconds: float) -> sqlite3.Connection:
    """Others have the database for themselves, as a backup may, this long."""
    other = sqlite3.connect(worker.settings.home / "tailorbird.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(seconds, other.close)
    return other


async def state(worker: Worker) -> tuple[str, list[str]]:
    """Of the job: its status, and what was told of it, oldest first."""
    async with worker.database.reading() as session:
        job = await records.get_job(session, None, "ftjob-1")
        told, _ = await records.list_events(session, job.id, after=None, limit=99)
        return job.status, [event.message for event in reversed(told)]


async def test_a_job_runs_on_while_others_hold_the_database_and_all_it_said_is_told_once(impatient: Worker):
    job = await impatient._claim()
    assert job is not None
    place = impatient.store.job(job.id)
    said = [Progress(at=1, message=f"word {n}") for n in range(3)]
    (place / folder.PROGRESS).write_text("".join(line.model_dump_json() + "\n" for line in said))
    process = await asyncio.create_subprocess_exec("true")
    hold(impatient, 1)
    assert await asyncio.wait_for(impatient._follow(job, place, process, 1), 20) == "done"
    assert await state(impatient) == ("running", ["word 0", "word 1", "word 2"])


@pytest.mark.parametrize("status", ["succeeded", "failed"])
async def test_how_a_job_ended_is_told_when_others_let_the_database_go(
    impatient: Worker, monkeypatch: pytest.MonkeyPatch, status: str
):
    tries = 0

    async def take_in(database: Database, _: Any, job: tables.Job, __: Path) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            hold(impatient, 1)
        loop.call_later(2, impatient.stop)
        if status == "failed":
            raise BadInput("Nothing of it can be used.")
        async with database.writing() as session:
            await records.end(session, await records.get_job(session, None, job.id), status, "Done.")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(outcomes, "take_in", take_in)
    hold(impatient, 1)  # which ends no worker that has nothing to do
    await asyncio.wait_for(impatient.run(), 20)
    said = "Done." if status == "succeeded" else "Nothing of it can be used."
    assert await state(impatient) == (status, [said])


async def test_a_worker_that_is_to_stop_while_others_hold_the_database_leaves_its_job_to_the_lease(
    impatient: Worker, monkeypatch: pytest.MonkeyPatch
):
    others: list[sqlite3.Connection] = []

    async def take_in(database: Database, *_: Any) -> None:
        others.append(hold(impatient, 60))
        impatient.stop()
        async with database.writing() as session:
            await records.add_event(session, "ftjob-1", "Trained.")

    monkeypatch.setattr(outcomes, "take_in", take_in)
    await asyncio.wait_for(impatient.run(), 20)
    others[0].close()
    assert await state(impatient) == ("running", [])


@pytest.fixture
def small_gateway(tmp_path: Path, schema: Path, tiny_base: Path) -> Iterator[Gateway]:  # noqa: F811
    """A gateway whose base model trains a step in milliseconds."""
    with running_gateway(tmp_path, schema, base_model=str(tiny_base), threads=1) as running:
        yield running


async def long_job(client: openai.AsyncOpenAI, model: str, seed: int = 3) -> FineTuningJob:
    """One that is still training whenever somebody looks."""
    rows = "".join(json.dumps(row) + "\n" for row in examples(400))
    file = await client.files.create(file=("rows.jsonl", rows.encode()), purpose="fine-tune")
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50, "batch_size": 1}}}
    return await client.fine_tuning.jobs.create(model=model, training_file=file.id, method=method, seed=seed)


@pytest.mark.heavy
async def test_a_job_pauses_resumes_and_outlives_its_worker_through_the_sdk(small_gateway: Gateway):
    settings = small_gateway.settings
    async with openai.AsyncOpenAI(base_url=f"{small_gateway.url}/v1", api_key=small_gateway.key) as client:
        jobs, worker = client.fine_tuning.jobs, Worker(settings, [])
        working = asyncio.create_task(worker.run())
        made = await long_job(client, settings.model_name)

        async def messages() -> list[str]:
            return [event.message async for event in jobs.list_events(made.id, limit=1000)]

        async def until(found: Any) -> None:
            async with asyncio.timeout(120):
                while not await found():  # noqa: ASYNC110  another process writes what is waited for
                    await asyncio.sleep(0.2)

        async def is_(status: str) -> bool:
            assert (now := await jobs.retrieve(made.id)).status != "failed", now.error
            return now.status == status

        async def went_on(times: int) -> bool:
            return sum("Going on after step" in message for message in await messages()) == times

        async def steps_told() -> bool:
            return any(message.startswith("Step ") for message in await messages())

        await until(steps_told)
        assert (await jobs.pause(made.id)).status in ("pausing", "paused")
        await until(lambda: is_("paused"))
        place = settings.home / "jobs" / made.id
        paused_at = [path.name for path in place.glob(f"{folder.CHECKPOINT}*")]
        assert len(paused_at) == 1
        await asyncio.sleep(1.5)
        assert await is_("paused"), "nobody claims it"

        assert (await jobs.resume(made.id)).status == "queued"
        await until(lambda: went_on(1))
        assert any(f"step {paused_at[0].split('-')[1]}." in message for message in await messages())
        worker.stop()
        await asyncio.wait_for(working, 60)
        assert await is_("queued")

        worker = Worker(settings, [])
        working = asyncio.create_task(worker.run())
        await until(lambda: went_on(2))
        await jobs.cancel(made.id)
        await until(lambda: is_("cancelled"))
        worker.stop()
        await asyncio.wait_for(working, 60)
        assert not (place / folder.REPORT).exists()


def training_child() -> psutil.Process | None:
    """The subprocess of the job that this process's worker runs."""
    found = [one for one in psutil.Process().children() if "training" in one.cmdline()]
    return found[0] if found else None


@pytest.mark.heavy
async def test_a_training_that_is_killed_goes_on_once_and_then_fails_with_that_cause(small_gateway: Gateway):
    settings = small_gateway.settings
    async with openai.AsyncOpenAI(base_url=f"{small_gateway.url}/v1", api_key=small_gateway.key) as client:
        jobs, worker = client.fine_tuning.jobs, Worker(settings, [])
        made = await long_job(client, settings.model_name)
        working = asyncio.create_task(worker.run())
        for time in (1, 2):
            async with asyncio.timeout(120):
                while (child := training_child()) is None:  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0.1)
            child.kill()  # as the kernel does
            async with asyncio.timeout(60):
                while True:
                    told = [event.message async for event in jobs.list_events(made.id, limit=1000)]
                    if sum("was killed" in message for message in told) == time:
                        break
                    await asyncio.sleep(0.1)
            assert any("killed, probably for lack of memory. The job goes on" in message for message in told)
        done = await jobs.retrieve(made.id)
        assert done.status == "failed"
        assert done.error is not None
        assert done.error.code == "job_killed"
        assert "lack of memory" in (done.error.message or "")
        assert "smaller batch_size" in (done.error.message or "")
        made = await long_job(client, settings.model_name, seed=4)
        async with asyncio.timeout(120):
            while (child := training_child()) is None:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.1)
            child.send_signal(signal.SIGSEGV)
            while (done := await jobs.retrieve(made.id)).status != "failed":  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.1)
        assert done.error is not None
        assert (done.error.code, "ended by SIGSEGV" in (done.error.message or "")) == ("job_crashed", True)
        worker.stop()
        await asyncio.wait_for(working, 60)
