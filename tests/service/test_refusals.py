"""What a failure of ours looks like from outside: OpenAI's body, and when to come again."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import create_async_engine

from service import first_start
from service.app import create_app
from service.db import session as sessions
from service.db.session import Database
from service.settings import Settings
from tests.fake_engine import create_fake_engine
from tests.gateway import Gateway
from tests.serving import serving


@pytest.fixture
def settings(tmp_path: Path, schema: Path) -> Settings:
    shutil.copy(schema, tmp_path)
    return Settings(home=tmp_path)


@pytest.mark.heavy
async def test_while_no_connection_to_the_database_is_left_callers_are_told_to_come_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    await first_start.prepare(settings)
    one = partial(create_async_engine, pool_size=1, max_overflow=0, pool_timeout=0.2)
    monkeypatch.setattr(sessions, "create_async_engine", one)
    app = create_app(settings, [])
    headers = {"authorization": f"Bearer {(settings.home / 'admin.key').read_text().strip()}"}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://gateway", headers=headers
        )
        await stack.enter_async_context(client)
        async with app.state.house.database.reading() as holder:
            await holder.execute(text("SELECT 1"))
            answers = [
                await client.get("/api/me"),
                await client.get("/v1/models"),
                await client.post("/v1/chat/completions", json={}),
            ]
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
        assert answer.json()["error"]["type"] == "server_error"
        assert answer.headers["retry-after"] == "2"
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", '{"model": "fanal", "input": "half a character: \\ud800"}'),
        ("/v1/fine_tuning/jobs", '{"model": "fanal", "training_file": "\\udfff"}'),
        ("/api/conversations", '{"assistant": "fanal", "\\ud800": "a name"}'),
        ("/v1/completions", '{"model": "ft:any", "prompt": "a", "max_tokens": 1' + "0" * 30 + "}"),
        ("/v1/chat/completions", '{"model": "fanal", "messages": ' + "[" * 400 + "]" * 400 + "}"),
    ],
)  # fmt: skip
def test_json_that_nothing_behind_us_can_take_is_refused_by_name(gateway: Gateway, path: str, body: str):
    refused = gateway.admin.post(path, content=body, headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_json")
    assert "cannot be passed on" in refused.json()["error"]["message"]


def talk(extra: str) -> str:
    """A request whose message has a field of the caller's own."""
    return f'{{"model": "fanal", "messages": [{{"role": "user", "content": "a", "extra": {extra}}}]}}'


@pytest.mark.parametrize(
    "kind", ["application/JSON", "Application/Json; charset=utf-8", "application/LD+JSON"]
)
def test_json_is_looked_at_as_strictly_however_its_type_is_written(gateway: Gateway, kind: str):
    refused = gateway.admin.post(
        "/v1/chat/completions", content=talk('"\\ud800"'), headers={"content-type": kind}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_json")
    assert "cannot be passed on" in refused.json()["error"]["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_no_value_of_json_is_refused_with_its_place(gateway: Gateway, number: str):
    content, headers = talk(f'{{"weight": [{number}]}}'), {"content-type": "application/json"}
    refused = gateway.admin.post("/v1/chat/completions", content=content, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_json")
    assert "NaN or Infinity" in refused.json()["error"]["message"]
    assert "line 1 column" in refused.json()["error"]["message"]


def test_a_byte_order_mark_and_words_like_nan_in_a_text_are_no_mistake(gateway: Gateway):
    content = b"\xef\xbb\xbf" + talk('"NaN and Infinity"').encode()
    headers = {"content-type": "application/json"}
    gateway.admin.post("/v1/chat/completions", content=content, headers=headers).raise_for_status()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/fine_tuning/jobs",
        "/v1/batches",
        "/api/feedback",
    ],
)
@pytest.mark.parametrize(
    "body", [b'{"model": "\xff\xfe"}', b'{"model": "\xc3', b'{"model": "\xed\xa0\x80"}', b"\x80"]
)
def test_a_body_that_is_no_utf8_is_refused_in_openais_shape(gateway: Gateway, path: str, body: bytes):
    refused = gateway.admin.post(path, content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 400
    told = refused.json()["error"]
    assert told.keys() == {"message", "type", "param", "code"}
    assert (told["type"], told["code"]) == ("invalid_request_error", "invalid_json")


@dataclass
class Disk:
    """The disk under SQLite, as far as SQLite knows: once `full`, no page can be added."""

    full: bool = False

    def under(self, database: Database) -> None:
        event.listen(database._engine.sync_engine, "begin", self._tell)

    def _tell(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {1 if self.full else 1 << 30}")


@asynccontextmanager
async def on_disk(settings: Settings, disk: Disk) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """A gateway whose database lies on `disk`, over a double that fills it when it answers FILL."""
    await first_start.prepare(settings)
    fake = create_fake_engine()

    @fake.middleware("http")
    async def fill(request: Request, call_next: Any) -> Response:
        if b"FILL" in await request.body():
            while not recorded(settings):  # noqa: ASYNC110 - a row sets no event
                await asyncio.sleep(0.01)
            disk.full = True
        return await call_next(request)

    headers = {"authorization": f"Bearer {(settings.home / 'admin.key').read_text().strip()}"}
    with serving(fake) as engine:
        app = create_app(settings, [engine])
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client,
        ):
            disk.under(app.state.house.database)
            for _ in range(200):
                if (await client.get("/readyz")).status_code == 200:
                    break
                await asyncio.sleep(0.01)
            yield app, client
            assert app.state.house.under_way == 0


def question(said: str, **more: object) -> dict[str, object]:
    """Long enough to need pages of its own, as its answer, which repeats it, does."""
    return {"model": "fanal", "messages": [{"role": "user", "content": f"{said} {'x' * 400_000}"}]} | more


def spent(settings: Settings) -> list[tuple[int, int, int]]:
    """Of each budget: requests, tokens, and how many requests still hold some."""
    with closing(sqlite3.connect(settings.home / "tailorbird.db")) as database:
        return database.execute(
            "select requests, tokens, (select count(*) from reservations where open) from spendings"
        ).fetchall()


def recorded(settings: Settings) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(settings.home / "tailorbird.db")) as database:
        return database.execute("select status, output from completions").fetchall()


@pytest.mark.heavy
async def test_while_others_hold_the_database_what_writes_is_told_to_come_again_and_what_reads_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sessions, "PATIENCE", 2.0)
    async with on_disk(settings, Disk()) as (_, client):
        asked = {"model": "fanal", "messages": [{"role": "user", "content": "a"}]}
        answer = (await client.post("/v1/chat/completions", json=asked)).json()
        given = {"completion_id": answer["id"], "type": "rating", "rating": 1}
        key = (await client.post("/api/keys", json={"name": "n", "limits": {"tokens_per_day": 9999}})).json()
        limited = {"authorization": f"Bearer {key['secret']}"}
        with closing(sqlite3.connect(settings.home / "tailorbird.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(30):
                refused = await asyncio.gather(
                    client.post("/v1/chat/completions", json=asked),
                    client.post("/v1/chat/completions", json=asked | {"stream": True}),
                    client.post("/v1/chat/completions", json=asked, headers=limited),
                    *(client.post("/api/feedback", json=given) for _ in range(20)),
                )
            assert (await client.get("/api/feedback")).json()["data"] == []
            assert (await client.get("/readyz")).status_code == 200
        for one in refused:
            error, told = one.json()["error"], one.headers
            assert (one.status_code, error["type"], error["param"]) == (503, "server_error", None)
            assert error["code"] in ("database_unavailable", "ledger_unavailable")
            assert (told["retry-after"], told["retry-after-ms"]) == ("2", "2000")
        assert [one[0] for one in recorded(settings)] == ["complete"]
        assert spent(settings) == []
        assert (await client.post("/api/feedback", json=given)).status_code == 201
        assert len((await client.get("/api/feedback")).json()["data"]) == 1
        again = await client.post("/v1/chat/completions", json=asked, headers=limited)
        assert spent(settings) == [(1, again.json()["usage"]["total_tokens"], 0)]


@pytest.mark.heavy
@pytest.mark.parametrize("budget", [None, 9999])
async def test_nothing_is_asked_or_kept_when_the_disk_is_full_before(settings: Settings, budget: int | None):
    settings.tokens_per_day, disk = budget, Disk()
    async with on_disk(settings, disk) as (_, client):
        disk.full = True
        refused = await client.post("/v1/chat/completions", json=question("a"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "disk_full")
        disk.full = False
        assert recorded(settings) == []
        assert all((requests, tokens, open) == (0, 0, 0) for requests, tokens, open in spent(settings))
        assert (await client.post("/v1/chat/completions", json=question("a"))).status_code == 200
    ((status, output),) = recorded(settings)
    assert (status, len(output) > 400_000) == ("complete", True)


@pytest.mark.heavy
@pytest.mark.parametrize("budget", [None, 9999])
async def test_an_answer_that_cannot_be_recorded_is_refused_and_not_half_written(
    settings: Settings, budget: int | None
):
    settings.tokens_per_day, disk = budget, Disk()
    async with on_disk(settings, disk) as (_, client):
        refused = await client.post("/v1/chat/completions", json=question("FILL"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "disk_full")
        assert recorded(settings) == [("running", "")]
        assert spent(settings) == ([(1, settings.max_model_len, 1)] if budget else []), (
            "counted at its most until it is written what it took"
        )
        disk.full = False
    async with on_disk(settings, disk):
        assert recorded(settings) == [("interrupted", "")]
        assert spent(settings) == ([(0, 0, 0)] if budget else [])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("path", "body", "end", "budget"),
    [
        ("/v1/chat/completions", question("FILL", stream=True), '"code":"disk_full"', None),
        (
            "/v1/responses",
            {"model": "fanal", "input": "FILL " + "x" * 400_000, "stream": True},
            "response.failed",
            9999,
        ),
    ],
)
async def test_a_stream_that_cannot_be_recorded_ends_in_an_error_and_never_as_if_it_were_kept(
    settings: Settings, path: str, body: dict[str, object], end: str, budget: int | None
):
    settings.tokens_per_day, disk = budget, Disk()
    async with on_disk(settings, disk) as (_, client):
        answer = await client.post(path, json=body)
        last = answer.text.strip().split("\n\n")[-1]
        assert (answer.status_code, end in last) == (200, True)
        assert "[DONE]" not in answer.text
        assert "response.completed" not in answer.text
    assert recorded(settings) == [("running", "")]
    assert spent(settings) == ([(1, settings.max_model_len, 1)] if budget else [])


async def test_a_mistake_of_ours_is_told_in_openais_form_with_the_id_to_look_for(
    settings: Settings,
):
    async def broken() -> None:
        raise ZeroDivisionError("a secret of the house")

    app = create_app(settings, [])
    app.add_api_route("/v1/broken", broken)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.get("/v1/broken")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"].startswith("req_")
