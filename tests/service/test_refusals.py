"""What a failure of ours looks like from outside: OpenAI's body, and when to come again."""

import shutil
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service import first_start
from service.app import create_app
from service.db import session as sessions
from service.settings import Settings
from tests.gateway import Gateway


@pytest.fixture
def settings(tmp_path: Path, schema: Path) -> Settings:
    shutil.copy(schema, tmp_path)
    return Settings(home=tmp_path)


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
