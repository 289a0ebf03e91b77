import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from service.api import uploads as api
from service.domain import uploads
from service.storage import parts
from tests.gateway import Gateway

ROW = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
CONTENT = "".join(json.dumps({**ROW, "n": n}) + "\n" for n in range(2000)).encode()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


def begin(client: openai.OpenAI, size: int = len(CONTENT), **more) -> str:
    upload = client.uploads.create(
        bytes=size, filename="rows.jsonl", mime_type="text/jsonl", purpose="fine-tune", **more
    )
    assert upload.status == "pending"
    return upload.id


def send(client: openai.OpenAI, upload_id: str, data: bytes) -> str:
    return client.uploads.parts.create(upload_id, data=data).id


def folder(gateway: Gateway, upload_id: str) -> Path:
    return gateway.settings.home / "uploads" / upload_id


def test_the_sdk_cuts_a_file_and_gets_it_back_whole(gateway: Gateway, client: openai.OpenAI, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(CONTENT)
    done = client.uploads.upload_file_chunked(
        file=path, mime_type="text/jsonl", purpose="fine-tune", part_size=50_000,
        md5=hashlib.md5(CONTENT).hexdigest(),
    )  # fmt: skip
    assert (done.status, done.bytes) == ("completed", len(CONTENT))
    assert done.file is not None
    assert (done.file.purpose, done.file.bytes, done.file.filename) == (
        "fine-tune",
        len(CONTENT),
        "rows.jsonl",
    )
    assert client.files.content(done.file.id).read() == CONTENT
    assert not folder(gateway, done.id).exists()
    assert list((gateway.settings.home / "incoming").iterdir()) == []


def test_the_order_is_the_completions_and_not_that_of_coming(client: openai.OpenAI):
    upload = begin(client)
    last, first = send(client, upload, CONTENT[1000:]), send(client, upload, CONTENT[:1000])
    done = client.uploads.complete(upload, part_ids=[first, last])
    assert done.file is not None
    assert client.files.content(done.file.id).read() == CONTENT


def test_a_completion_that_is_sent_again_gives_the_same_file(client: openai.OpenAI):
    upload = begin(client)
    part = send(client, upload, CONTENT)
    first, again = (client.uploads.complete(upload, part_ids=[part]) for _ in range(2))
    assert first.file is not None
    assert again.file is not None
    assert first.file.id == again.file.id


@pytest.mark.parametrize("how", ["a file", "a part", "a completion"])
def test_nobody_waits_while_bytes_come_to_rest_on_the_disk(
    gateway: Gateway, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch, how: str
):
    upload = begin(client)
    part = send(client, upload, CONTENT) if how == "a completion" else ""
    ways: dict[str, Callable[[], object]] = {
        "a file": lambda: client.files.create(file=("rows.jsonl", CONTENT), purpose="fine-tune"),
        "a part": lambda: send(client, upload, CONTENT),
        "a completion": lambda: client.uploads.complete(upload, part_ids=[part]),
    }
    syncing, synced, sync = threading.Event(), threading.Event(), os.fsync

    def slowly(file: int) -> None:
        syncing.set()
        assert synced.wait(20)
        sync(file)

    monkeypatch.setattr(os, "fsync", slowly)
    with ThreadPoolExecutor(1) as aside:
        sent = aside.submit(ways[how])
        try:
            assert syncing.wait(20)
            assert gateway.admin.get("/healthz").status_code == 200
            assert not sent.done()
        finally:
            synced.set()
        sent.result()
    if how == "a part":
        client.uploads.cancel(upload)


@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_a_completion_that_comes_too_late_for_the_parts_says_what_the_record_says(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch, end: str
):
    upload = begin(client)
    part = send(client, upload, CONTENT)
    begun, ended, read = threading.Event(), threading.Event(), parts.read_whole

    def late(paths: Iterable[Path]) -> Iterator[bytes]:
        if not begun.is_set():
            begun.set()
            assert ended.wait(20)
        return read(paths)

    monkeypatch.setattr(api, "read_whole", late)
    with ThreadPoolExecutor(1) as aside:
        first = aside.submit(client.uploads.complete, upload, part_ids=[part])
        try:
            assert begun.wait(20)
            if end == "complete":
                second = client.uploads.complete(upload, part_ids=[part])
            else:
                second = client.uploads.cancel(upload)
        finally:
            ended.set()
        if end == "complete":
            assert first.result() == second
            assert second.status == "completed"
        else:
            with pytest.raises(openai.ConflictError, match="cancelled"):
                first.result()


def test_parts_that_are_not_the_announced_file_make_none(client: openai.OpenAI):
    upload = begin(client)
    half = send(client, upload, CONTENT[:1000])
    with pytest.raises(openai.BadRequestError, match="1000 bytes"):
        client.uploads.complete(upload, part_ids=[half])
    with pytest.raises(openai.BadRequestError, match="No part 'part_strange'"):
        client.uploads.complete(upload, part_ids=[half, "part_strange"])
    with pytest.raises(openai.BadRequestError, match="twice"):
        client.uploads.complete(upload, part_ids=[half, half])
    rest = send(client, upload, CONTENT[1000:])
    with pytest.raises(openai.BadRequestError, match="md5"):
        client.uploads.complete(upload, part_ids=[half, rest], md5="0" * 32)
    assert client.uploads.complete(upload, part_ids=[half, rest]).status == "completed"


def test_a_completed_file_is_checked_like_any_other(client: openai.OpenAI):
    content = b'{"text": "x"}\n'
    upload = begin(client, len(content))
    part = send(client, upload, content)
    with pytest.raises(openai.BadRequestError, match="line 1: neither 'messages'"):
        client.uploads.complete(upload, part_ids=[part])


def test_a_cancelled_upload_takes_no_more_and_leaves_nothing(gateway: Gateway, client: openai.OpenAI):
    upload = begin(client)
    part = send(client, upload, CONTENT)
    assert client.uploads.cancel(upload).status == "cancelled"
    assert client.uploads.cancel(upload).status == "cancelled"
    assert not folder(gateway, upload).exists()
    with pytest.raises(openai.ConflictError, match="cancelled"):
        send(client, upload, CONTENT)
    with pytest.raises(openai.ConflictError, match="cancelled"):
        client.uploads.complete(upload, part_ids=[part])


def test_an_upload_ends_after_an_hour(gateway: Gateway, client: openai.OpenAI):
    upload = begin(client)
    part = send(client, upload, CONTENT)
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.execute("update uploads set expires_at = created_at - 1 where id = ?", (upload,))
    with pytest.raises(openai.ConflictError, match="expired"):
        client.uploads.complete(upload, part_ids=[part])
    with pytest.raises(openai.ConflictError, match="expired"):
        send(client, upload, CONTENT)


def test_sizes_are_limited(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(openai.APIStatusError) as caught:
        begin(client, 600 << 20)
    assert (caught.value.status_code, caught.value.param) == (413, "bytes")
    monkeypatch.setattr(uploads, "MAX_PART", 1000)
    upload = begin(client, 800)
    with pytest.raises(openai.APIStatusError) as caught:
        send(client, upload, b"x" * 1001)
    assert caught.value.status_code == 413
    for _ in range(uploads.ROOM):
        send(client, upload, b"x" * 800)
    with pytest.raises(openai.BadRequestError, match="far more have come"):
        send(client, upload, b"x")
    client.uploads.cancel(upload)


def test_a_refused_part_leaves_nothing(
    gateway: Gateway, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(uploads, "MAX_PART", 10)
    upload = begin(client)
    with pytest.raises(openai.APIStatusError):
        send(client, upload, b"x" * 11)
    assert list(folder(gateway, upload).iterdir()) == []
    client.uploads.cancel(upload)


def test_a_person_has_only_so_many_uploads_under_way(gateway: Gateway):
    with gateway.client_of("Hoarder") as other:
        body = {"bytes": 10, "filename": "x", "mime_type": "x", "purpose": "fine-tune"}
        made = [other.post("/v1/uploads", json=body) for _ in range(uploads.MAX_PENDING + 1)]
        assert [answer.status_code for answer in made] == [200] * uploads.MAX_PENDING + [429]
        other.post(f"/v1/uploads/{made[0].json()['id']}/cancel").raise_for_status()
        assert other.post("/v1/uploads", json=body).status_code == 200


def test_another_persons_upload_is_not_there(gateway: Gateway, client: openai.OpenAI):
    upload = begin(client)
    with gateway.client_of("Ursula", "reviewer") as other:
        for path, sent in (
            ("parts", {"files": {"data": b"x"}}), ("complete", {"json": {"part_ids": ["x"]}}), ("cancel", {}),
        ):  # fmt: skip
            assert other.post(f"/v1/uploads/{upload}/{path}", **sent).status_code == 404, path
    client.uploads.cancel(upload)


@pytest.mark.parametrize("purpose", ["assistants", "vision", "user_data", "batch_output", "other"])
def test_a_purpose_that_nothing_reads_is_refused(gateway: Gateway, purpose: str):
    body = {"bytes": 10, "filename": "x", "mime_type": "x", "purpose": purpose}
    answer = gateway.admin.post("/v1/uploads", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "purpose")


def test_a_files_expiry_is_said_when_the_upload_begins(client: openai.OpenAI):
    upload = begin(client, expires_after={"anchor": "created_at", "seconds": 7200})
    done = client.uploads.complete(upload, part_ids=[send(client, upload, CONTENT)])
    assert done.file is not None
    assert done.file.expires_at == done.file.created_at + 7200
