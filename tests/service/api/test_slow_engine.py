"""An engine that stands still is a timeout of the service's, on every wire, before and after the first token."""

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.gateway import Gateway, running_gateway

pytestmark = pytest.mark.heavy  # answers that are waited for


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, schema: Any) -> Iterator[Gateway]:
    """One with little patience."""
    with running_gateway(tmp_path_factory.mktemp("slow"), schema, answer_timeout=0.6) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    until_ready(gateway)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


def asked(client: openai.OpenAI, said: str, **more: Any) -> Any:
    return client.chat.completions.create(model="fanal", messages=[{"role": "user", "content": said}], **more)


def until_ready(gateway: Gateway) -> None:
    while gateway.admin.get("/readyz").status_code != 200:
        time.sleep(0.05)


def last_status(gateway: Gateway) -> str:
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        return database.execute("select status from completions order by rowid desc").fetchone()[0]


@pytest.mark.parametrize("stream", [False, True])
def test_before_the_first_token_it_is_a_504(gateway: Gateway, client: openai.OpenAI, stream: bool):
    with pytest.raises(openai.InternalServerError) as refused:
        asked(client, "HANG", stream=stream)
    assert (refused.value.status_code, refused.value.code) == (504, "engine_timeout")
    assert last_status(gateway) == "failed"


@pytest.mark.parametrize("stream", [False, True])
def test_the_other_wires_say_it_alike(gateway: Gateway, client: openai.OpenAI, stream: bool):
    for ask in (
        lambda: client.completions.create(model=gateway.settings.model_name, prompt="HANG", stream=stream),
        lambda: client.responses.create(model="fanal", input="HANG", stream=stream),
    ):
        until_ready(gateway)  # the one before it found the engine hung
        with pytest.raises(openai.InternalServerError) as refused:
            ask()
        assert (refused.value.status_code, refused.value.code) == (504, "engine_timeout")


def test_in_the_middle_of_a_stream_it_is_an_error_event(gateway: Gateway, client: openai.OpenAI):
    stream = asked(client, "STALL a b c d", stream=True)
    said = []
    with pytest.raises(openai.APIError) as broken:
        said.extend(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "smollm2- heard"
    assert broken.value.code == "engine_timeout"
    assert {chunk.choices[0].finish_reason for chunk in said} == {None}
    assert last_status(gateway) == "failed"


def test_in_the_middle_of_a_response_it_is_a_failure(client: openai.OpenAI):
    events = list(client.responses.create(model="fanal", input="STALL a b c d", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None
    assert "did not answer in time" in events[-1].response.error.message
