"""What applications do with the official SDK beside asking: its helpers, what they send back, and templates' habits."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel

from tests.gateway import Gateway

HELLO: list[Any] = [{"role": "user", "content": "a b c"}]


class Heard(BaseModel):
    heard: str


class Weather(BaseModel):
    city: str


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


def sent(gateway: Gateway) -> list[dict[str, Any]]:
    """The messages that the engine got last, without the assistant's instructions."""
    return gateway.engine_bodies[-1]["messages"][1:]


def test_the_sdk_reads_answers_and_calls_into_models_whole_and_streamed(client: openai.OpenAI):
    asked: dict[str, Any] = {"model": "fanal", "messages": HELLO}
    whole = client.chat.completions.parse(**asked, response_format=Heard)
    assert whole.choices[0].message.parsed == Heard(heard="a b c")
    with client.chat.completions.stream(**asked, response_format=Heard, n=3) as stream:
        answers = [choice.message.parsed for choice in stream.get_final_completion().choices]
    assert answers == [Heard(heard="a b c")] * 3
    calls = client.chat.completions.parse(
        **asked, tools=[pydantic_function_tool(Weather)], tool_choice="required"
    ).choices[0].message.tool_calls  # fmt: skip
    assert [call.function.parsed_arguments for call in calls or []] == [Weather(city="Riga")]


@pytest.mark.parametrize("form", ["as it came", "as a dictionary"])
def test_an_answer_that_called_several_tools_is_sent_back_with_what_they_gave(
    gateway: Gateway, client: openai.OpenAI, form: str
):
    tools: list[Any] = [
        pydantic_function_tool(Weather), {"type": "function", "function": {"name": "clock"}}
    ]  # fmt: skip
    message = client.chat.completions.create(
        model="fanal", messages=HELLO, tools=tools, tool_choice="required", parallel_tool_calls=True
    ).choices[0].message  # fmt: skip
    given = [
        {"role": "tool", "tool_call_id": call.id, "content": f"of {call.id}"} for call in message.tool_calls or []
    ]  # fmt: skip
    back: Any = message if form == "as it came" else message.model_dump()
    answer = client.chat.completions.create(model="fanal", messages=[*HELLO, back, *given], tools=tools)  # type: ignore[list-item]
    assert answer.choices[0].message.content == "smollm2- heard of call_1"
    called, *results = sent(gateway)[1:]
    assert called.keys() == {"role", "content", "tool_calls"}
    assert [call["function"]["name"] for call in called["tool_calls"]] == ["Weather", "clock"]
    assert results == given


def test_the_answer_as_it_came_over_the_wire_is_there_for_who_wants_it(client: openai.OpenAI):
    raw = client.chat.completions.with_raw_response.create(model="fanal", messages=HELLO)
    assert raw.headers["x-tailorbird-release"] == "fanal@base"
    assert raw.request_id == raw.parse()._request_id == raw.headers["x-request-id"]
    with client.chat.completions.with_streaming_response.create(
        model="fanal", messages=HELLO, stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


@pytest.mark.parametrize("said", ["Grüße 👩‍👩‍👧 \u202e\u05e2 \x00 ﷽ 𝕏", "x " * 400_000])
def test_any_character_and_a_very_long_question_arrive_as_they_were_sent(
    gateway: Gateway, client: openai.OpenAI, said: str
):
    answer = client.chat.completions.create(model="fanal", messages=[{"role": "user", "content": said}])
    assert answer.choices[0].message.content == f"smollm2- heard {said}"
    assert sent(gateway)[-1]["content"] == said


def test_a_template_whose_system_message_was_left_empty_asks_as_one_without(
    gateway: Gateway, client: openai.OpenAI
):
    silent: list[Any] = [{"role": "system", "content": ""}, {"role": "developer", "content": ""}]
    client.chat.completions.create(model="fanal", messages=[*silent, *HELLO])
    assert sent(gateway) == HELLO
    with pytest.raises(openai.BadRequestError, match="needs content"):
        client.chat.completions.create(model="fanal", messages=[{"role": "user", "content": ""}])


def test_the_likeliest_token_alone_may_be_asked_for_as_at_openai(gateway: Gateway, client: openai.OpenAI):
    client.chat.completions.create(model="fanal", messages=HELLO, top_p=0)
    assert 0 < gateway.engine_bodies[-1]["top_p"] < 1e-3
    client.responses.create(model="fanal", input="hello", top_p=0)
    assert 0 < gateway.engine_bodies[-1]["top_p"] < 1e-3


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ],
    ids=lambda part: part["type"],
)
def test_a_part_that_is_no_text_is_refused_by_its_type(client: openai.OpenAI, part: Any):
    with pytest.raises(openai.BadRequestError, match=f"'{part['type']}' are not served, only text"):
        client.chat.completions.create(model="fanal", messages=[{"role": "user", "content": [part]}])


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_json_that_does_not_say_that_it_is_json_is_refused_with_the_header_to_send(
    gateway: Gateway, kind: str | None
):
    headers = {"content-type": kind} if kind else {}
    refused = gateway.admin.post("/v1/chat/completions", content=b'{"model": "fanal"}', headers=headers)
    assert refused.status_code == 400
    assert "Send it with the header 'content-type: application/json'" in refused.json()["error"]["message"]
