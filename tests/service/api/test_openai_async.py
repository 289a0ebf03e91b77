"""The official SDK's async client, where `test_openai_chat` and the others ask with the sync one."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway import Gateway
from tests.published import publish

ROW = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
ROWS = "".join(json.dumps({**ROW, "n": n}) + "\n" for n in range(400)).encode()
MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def gateway(own_gateway: Gateway) -> Gateway:
    """One of its own: a job is ended by hand."""
    return own_gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


async def put(client: openai.AsyncOpenAI) -> str:
    return (await client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")).id


async def test_files_go_up_are_listed_read_and_deleted(client: openai.AsyncOpenAI):
    made = [await put(client) for _ in range(3)]
    assert (await client.files.wait_for_processing(made[0])).status == "processed"
    listed = [file.id async for file in client.files.list(limit=1, order="asc", purpose="fine-tune")]
    assert {*made} <= {*listed}
    assert len(listed) == len({*listed})
    assert await (await client.files.content(made[0])).aread() == ROWS
    async with client.files.with_streaming_response.content(made[1]) as response:
        assert b"".join([part async for part in response.iter_bytes()]) == ROWS
    for file in made:
        assert (await client.files.delete(file)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.content(file)


async def test_a_large_file_goes_up_in_parts(client: openai.AsyncOpenAI, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROWS)
    done = await client.uploads.upload_file_chunked(
        file=path, mime_type="text/jsonl", purpose="fine-tune", part_size=10_000,
        md5=hashlib.md5(ROWS).hexdigest(),
    )  # fmt: skip
    assert (done.status, done.bytes) == ("completed", len(ROWS))
    assert done.file is not None
    assert await (await client.files.content(done.file.id)).aread() == ROWS
    begun = await client.uploads.create(
        bytes=9, filename="a.jsonl", mime_type="text/jsonl", purpose="fine-tune"
    )
    part = await client.uploads.parts.create(begun.id, data=b"123456789")
    assert part.upload_id == begun.id
    assert (await client.uploads.cancel(begun.id)).status == "cancelled"


async def test_a_batch_is_begun_followed_listed_and_cancelled(client: openai.AsyncOpenAI):
    body = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = await client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batches = client.batches
    made = [
        await batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        for _ in range(2)
    ]
    await batches.cancel(made[1].id)
    async with asyncio.timeout(60):
        while (await batches.retrieve(made[0].id)).status != "completed":  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
        while (await batches.retrieve(made[1].id)).status != "cancelled":  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
    done = await batches.retrieve(made[0].id)
    answered = json.loads((await client.files.content(done.output_file_id or "")).text)
    assert answered["response"]["body"]["choices"][0]["message"]["content"].endswith("heard hello")
    listed = [batch.id async for batch in batches.list(limit=1)]
    assert {*listed} >= {batch.id for batch in made}
    assert len(listed) == len({*listed})


async def test_jobs_are_listed_by_pages_and_a_published_one_has_its_checkpoint(
    gateway: Gateway, client: openai.AsyncOpenAI, tmp_path: Path
):
    jobs, file = client.fine_tuning.jobs, await put(client)
    mark: Any = {"run": "async"}
    made = [(await jobs.create(model=MODEL, training_file=file, metadata=mark)).id for _ in range(3)]
    page = await jobs.list(limit=1, metadata=mark)
    assert (len(page.data), page.has_more) == (1, True)
    assert {job.id async for job in page} == {*made}
    assert (await jobs.checkpoints.list(made[0])).data == []
    await asyncio.to_thread(publish, gateway.settings, made[0], tmp_path)
    done = await jobs.retrieve(made[0])
    assert (done.status, done.trained_tokens) == ("succeeded", 100)
    checkpoints = [one async for one in jobs.checkpoints.list(made[0])]
    assert [one.fine_tuned_model_checkpoint for one in checkpoints] == [done.fine_tuned_model]
    assert (checkpoints[0].step_number, checkpoints[0].metrics.valid_loss) == (4, 1.7)
    assert checkpoints[0].fine_tuning_job_id == made[0]
    told = [event.message async for event in jobs.list_events(made[0], limit=1)]
    assert told[0] == "The job is done."
    for job in made[1:]:
        assert (await jobs.cancel(job)).status == "cancelled"
