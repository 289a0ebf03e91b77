import asyncio
import json
import os
import sqlite3
import time
from pathlib import Path

import httpx
import openai
import pytest

from service.db.session import Database
from service.domain import files
from service.storage.local import YOUNG
from tests.gateway import Gateway
from tests.published import publish

ROW = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def upload(gateway: Gateway, content: bytes, purpose: str = "fine-tune") -> httpx.Response:
    return gateway.admin.post("/v1/files", files={"file": ("rows.jsonl", content)}, data={"purpose": purpose})


def lines(*rows: object) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def count(gateway: Gateway) -> int:
    return len(gateway.admin.get("/v1/files").json()["data"])


def test_the_sdk_uploads_lists_reads_and_deletes(gateway: Gateway):
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key)
    content = lines(ROW, ROW, ROW)
    file = client.files.create(file=("mine.jsonl", content), purpose="fine-tune")
    assert (file.status, file.bytes, file.filename) == ("processed", len(content), "mine.jsonl")
    assert client.files.wait_for_processing(file.id).id == file.id
    assert file.id in [one.id for one in client.files.list(limit=1)]
    assert client.files.content(file.id).read() == content
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\n\n  \n", "empty"),
        (lines(ROW, "{broken"), "line 2: not valid JSON"),
        (lines(ROW, ROW, "[1]"), "line 3: a JSON object"),
        (lines(ROW, {"messages": [{"role": "wizard", "content": "x"}]}), "line 2: 'messages"),
        (lines(ROW, {"messages": [{"role": "user", "content": "x"}]}), "line 2:"),
        (
            lines({"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "x"}]}),
            "last message",
        ),
        (lines({"text": "x"}), "line 1: neither 'messages'"),
        (b'{"messages": "\xff\xfe"}', "line 1: not UTF-8"),
        (lines("[" * 100_000), "line 1:"),
        (lines(ROW, '{"messages": "\\ud83d"}'), "line 2: half of a character"),
        (lines(ROW, '{"messages": ' + "9" * 5000 + "}"), "line 2: a number"),
    ],
)
def test_a_file_that_cannot_train_is_refused_with_its_line_and_leaves_nothing(
    gateway: Gateway, content, said
):
    before = count(gateway)
    answer = upload(gateway, content)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert said in error["message"]
    if error["code"] == "invalid_file":
        assert error["message"].startswith(f"rows.jsonl, line {error['line']}: ")
    assert count(gateway) == before
    assert list((gateway.settings.home / "incoming").iterdir()) == []


def test_a_file_past_the_limit_is_refused_and_leaves_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gateway.settings, "max_upload_mb", 1)
    answer = upload(gateway, lines(*[ROW] * 20_000))
    assert answer.status_code == 413
    assert list((gateway.settings.home / "incoming").iterdir()) == []


def test_fifty_megabytes_of_text_are_read_or_refused_by_line(gateway: Gateway):
    answer = upload(gateway, b"x" * 50_000_000)
    assert answer.status_code == 400
    assert "line 1: longer than 4 MiB" in answer.json()["error"]["message"]


def test_paging_goes_on_behind_the_last_id(gateway: Gateway):
    made = [upload(gateway, lines(ROW, {**ROW, "n": i})).json()["id"] for i in range(3)]
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key)
    seen = [file.id for file in client.files.list(limit=1, order="asc", purpose="fine-tune")]
    assert len(seen) == len(set(seen))
    assert set(made) <= set(seen)


def test_a_user_sees_only_their_own_files(gateway: Gateway):
    file = upload(gateway, lines(ROW)).json()["id"]
    with gateway.client_of("Oscar") as other:
        assert other.get(f"/v1/files/{file}").status_code == 404
        assert other.get(f"/v1/files/{file}/content").status_code == 404
        assert other.delete(f"/v1/files/{file}").status_code == 404
        assert other.get("/v1/files").json()["data"] == []


def test_held_out_questions_need_something_to_be_scored_against(gateway: Gateway):
    assert upload(gateway, lines({"question": "q", "facts": ["f"]}), "evals").status_code == 200
    answer = upload(gateway, lines({"question": "q"}), "evals")
    assert "line 1: a case needs" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q", "facts": ["f"]}, "the same case as line 1 ('case-"),
        ({"question": "other", "facts": ["f"], "id": "one"}, "the same case as line 2 ('one')"),
        ({"question": " ", "facts": ["f"]}, "'question' is empty"),
        ({"messages": [], "facts": ["f"]}, "'messages' do not end with the user's question"),
        (
            {
                "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
                "facts": ["f"],
            },
            "'messages' do not end with the user's question",
        ),
    ],
)
def test_held_out_questions_that_no_evaluation_could_ask_are_refused_at_the_door(
    gateway: Gateway, row: dict, said: str
):
    good = [{"question": "q", "facts": ["f"]}, {"question": "another", "facts": ["f"], "id": "one"}]
    mark = "\ufeff".encode()
    assert upload(gateway, mark + lines(*good), "evals").json()["rows"] == 2
    error = upload(gateway, mark + lines(*good, row), "evals").json()["error"]
    assert (error["code"], error["line"]) == ("invalid_file", 3)
    assert said in error["message"]


def expire(gateway: Gateway, file_id: str) -> None:
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.execute("update files set expires_at = created_at - 1 where id = ?", (file_id,))


def forget(gateway: Gateway) -> None:
    """What the gateway does now and then."""

    async def once() -> None:
        database = Database(gateway.settings.database)
        async with database.writing() as session:
            await files.forget_needless(session)
        await database.close()

    asyncio.run(once())


def rows_with(gateway: Gateway, file_id: str) -> int:
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        return database.execute("select count(*) from files where id = ?", (file_id,)).fetchone()[0]


def test_a_file_lives_as_long_as_it_was_asked_to(gateway: Gateway):
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key)
    life = {"anchor": "created_at", "seconds": 3600}
    file = client.files.create(
        file=("a.jsonl", lines(ROW, ROW, ROW)), purpose="fine-tune", expires_after=life
    )
    assert file.expires_at == file.created_at + 3600
    forever = client.files.create(file=("a.jsonl", lines(ROW, ROW, ROW)), purpose="fine-tune")
    assert forever.expires_at is None
    expire(gateway, file.id)
    seen = [one.id for one in client.files.list()]
    assert (file.id in seen, forever.id in seen) == (False, True)
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            ask(file.id)
    with pytest.raises(openai.BadRequestError, match="No file"):
        client.fine_tuning.jobs.create(model="fanal", training_file=file.id)


@pytest.mark.parametrize(
    ("life", "param"),
    [
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "last_used", "expires_after[seconds]": "3600"}, "expires_after[anchor]"),
        ({"expires_after[seconds]": "3600"}, "expires_after"),
    ],
)  # fmt: skip
def test_a_strange_expiry_is_refused(gateway: Gateway, life: dict[str, str], param: str):
    answer = gateway.admin.post(
        "/v1/files", files={"file": ("a", lines(ROW))}, data={"purpose": "fine-tune", **life}
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_an_expired_file_stays_for_the_job_that_needs_it(gateway: Gateway):
    needed = upload(gateway, lines(ROW, ROW, ROW)).json()["id"]
    needless = upload(gateway, lines(ROW, ROW, {**ROW, "n": 1})).json()["id"]
    body = {"model": "fanal", "training_file": needed}
    gateway.admin.post("/v1/fine_tuning/jobs", json=body).raise_for_status()
    expire(gateway, needed)
    assert gateway.admin.delete(f"/v1/files/{needless}").status_code == 200
    forget(gateway)
    assert (rows_with(gateway, needed), rows_with(gateway, needless)) == (1, 0)


def test_what_nobody_refers_to_is_swept_from_the_disk_once_it_is_old(gateway: Gateway):
    from service.storage.local import Store

    store = Store(gateway.settings.home)
    kept, orphan, young = (store.put_bytes(lines({**ROW, "n": n})) for n in (10, 11, 12))
    for sha256 in (kept, orphan):
        os.utime(store.file(sha256), (time.time() - YOUNG - 9,) * 2)
    assert {kept, orphan} <= set(store.old_files())
    assert young not in set(store.old_files())
    for sha256 in (orphan, young):
        store.remove_old(sha256)
    assert [Path(store.file(one)).exists() for one in (kept, orphan, young)] == [True, False, True]


def test_requests_for_a_batch_are_read_as_lines_and_live_thirty_days(gateway: Gateway):
    request = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}
    file = upload(gateway, lines(request), "batch").json()
    assert file["expires_at"] == file["created_at"] + 30 * 86_400
    assert (
        "line 2: not valid JSON" in upload(gateway, lines(request, "{"), "batch").json()["error"]["message"]
    )


def test_what_the_steps_of_a_training_gave_is_a_file_of_its_owners(gateway: Gateway, tmp_path: Path):
    with gateway.client_of("Trainer") as owner, gateway.client_of("Stranger") as other:
        trainer, stranger = (
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=one.headers["authorization"][7:])
            for one in (owner, other)
        )
        rows = trainer.files.create(file=("rows.jsonl", lines(*[ROW] * 4)), purpose="fine-tune")
        job = trainer.fine_tuning.jobs.create(model="smollm2-135m-instruct", training_file=rows.id)
        assert job.result_files == []
        publish(gateway.settings, job.id, tmp_path)
        tuned = trainer.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
        assert tuned
        further = stranger.files.create(file=("rows.jsonl", lines(*[ROW] * 4)), purpose="fine-tune")
        with pytest.raises(openai.PermissionDeniedError):  # what is made of it could be taken along
            stranger.fine_tuning.jobs.create(model=tuned, training_file=further.id)
        own = trainer.fine_tuning.jobs.create(model=tuned, training_file=rows.id)
        trainer.fine_tuning.jobs.cancel(own.id)
        (file,) = trainer.fine_tuning.jobs.retrieve(job.id).result_files
        assert [one.id for one in trainer.files.list(purpose="fine-tune-results")] == [file]
        assert trainer.files.content(file).text == (
            "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.0,0.5,,\n2,1.0,0.75,1.5,0.6\n"
        )
        with pytest.raises(openai.NotFoundError):
            stranger.files.content(file)
        with pytest.raises(openai.BadRequestError, match="holds the figures of a training"):
            trainer.fine_tuning.jobs.create(model="smollm2-135m-instruct", training_file=file)
        trainer.files.delete(file)
        assert trainer.fine_tuning.jobs.retrieve(job.id).result_files == []
