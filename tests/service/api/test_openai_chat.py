"""Chat completions and raw prompts as the official SDK asks for them, sync and async, to OpenAI's letter."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.gateway import Gateway

HELLO: list[Any] = [{"role": "user", "content": "a b c"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK: Any = {"type": "function", "function": {"name": "clock"}}
WITH_USAGE: Any = {"include_usage": True}


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


def base(gateway: Gateway) -> str:
    return gateway.settings.model_name


def sent(gateway: Gateway) -> dict[str, Any]:
    """What the engine was asked last."""
    return gateway.engine_bodies[-1]


def stored(client: openai.OpenAI, completion_id: str) -> Any:
    return client.chat.completions.retrieve(completion_id)


def test_what_shapes_an_answer_reaches_the_engine_and_what_changes_nothing_does_not(
    gateway: Gateway, client: openai.OpenAI
):
    shaping: dict[str, Any] = {
        "n": 2, "seed": 7, "temperature": 0.3, "top_p": 0.9, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "max_completion_tokens": 20,
    }  # fmt: skip
    harmless: dict[str, Any] = {
        "user": "u", "service_tier": "auto", "safety_identifier": "s", "prompt_cache_key": "k", "verbosity": "low",
        "reasoning_effort": "low", "modalities": ["text"], "metadata": {"a": "b"},
    }  # fmt: skip
    answer = client.chat.completions.create(
        model="fanal", messages=HELLO, stop="END", logit_bias={"12": -100}, **shaping, **harmless
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert shaping.items() <= sent(gateway).items()
    assert sent(gateway)["stop"] == ["END"]
    assert sent(gateway)["logit_bias"] == {"12": -100}
    assert not harmless.keys() & sent(gateway).keys()


def test_an_answer_has_openais_fields_and_none_of_the_engines(client: openai.OpenAI):
    raw = client.chat.completions.with_raw_response.create(model="fanal", messages=HELLO).http_response.json()
    assert raw.keys() == {"id", "object", "created", "model", "choices", "usage"}
    assert raw["object"] == "chat.completion"
    assert raw["choices"][0].keys() == {"index", "finish_reason", "logprobs", "message"}
    assert raw["choices"][0]["message"].keys() == {"role", "content", "refusal"}


def test_a_developer_speaks_as_the_system_and_a_message_without_content_is_empty(
    gateway: Gateway, client: openai.OpenAI
):
    call: Any = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
        {"role": "user", "content": [{"type": "text", "text": "Say it."}]},
    ]
    client.chat.completions.create(model=base(gateway), messages=messages)
    roles = [message["role"] for message in sent(gateway)["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user"]
    assert sent(gateway)["messages"][2] == {"role": "assistant", "content": "", "tool_calls": [call]}


def test_log_probabilities_come_whole_and_streamed(client: openai.OpenAI):
    asked: dict[str, Any] = {"model": "fanal", "messages": HELLO, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked).choices[0].logprobs
    assert whole is not None
    assert [len(one.top_logprobs) for one in whole.content or []] == [2] * 5
    chunks = list(client.chat.completions.create(**asked, stream=True))
    streamed = [one for chunk in chunks if (got := chunk.choices[0].logprobs) for one in got.content or []]
    assert streamed == whole.content
    assert stored(client, chunks[0].id).choices[0].logprobs == whole


def test_required_tools_are_called(gateway: Gateway, client: openai.OpenAI):
    answer = client.chat.completions.create(
        model="fanal",
        messages=HELLO,
        tools=[WEATHER, CLOCK],
        tool_choice="required",
        parallel_tool_calls=True,
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert [call.function.name for call in choice.message.tool_calls or []] == ["weather", "clock"]  # type: ignore[union-attr]
    assert sent(gateway)["tools"] == [WEATHER, CLOCK]
    assert sent(gateway)["parallel_tool_calls"] is True


def test_a_named_tool_streams_in_deltas_and_is_recorded_whole(client: openai.OpenAI):
    named: Any = {"type": "function", "function": {"name": "weather"}}
    chunks = list(
        client.chat.completions.create(
            model="fanal", messages=HELLO, tools=[WEATHER, CLOCK], tool_choice=named, stream=True
        )
    )
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert deltas[0].function is not None
    assert (deltas[0].id, deltas[0].function.name) == ("call_0", "weather")
    arguments = "".join(delta.function.arguments or "" for delta in deltas if delta.function)
    assert json.loads(arguments) == {"city": "Riga"}
    message = stored(client, chunks[0].id).choices[0].message
    assert message.content is None
    assert message.tool_calls[0].function.arguments == arguments
    assert len(message.tool_calls) == 1


def test_the_sdks_own_stream_helper_gathers_tools(client: openai.OpenAI):
    with client.chat.completions.stream(
        model="fanal", messages=HELLO, tools=[WEATHER, CLOCK], tool_choice="required", n=1
    ) as stream:
        answer = stream.get_final_completion()
    assert [call.function.name for call in answer.choices[0].message.tool_calls or []] == ["weather", "clock"]


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_an_answer_can_be_bound_to_json(gateway: Gateway, client: openai.OpenAI, kind: str):
    schema = {
        "name": "heard",
        "schema": {"type": "object", "properties": {"heard": {"default": None}}},
        "strict": True,
    }
    wanted: Any = {"type": kind} | ({"json_schema": schema} if kind == "json_schema" else {})
    answer = client.chat.completions.create(model="fanal", messages=HELLO, response_format=wanted)
    assert json.loads(answer.choices[0].message.content or "") == {"heard": "a b c"}
    assert sent(gateway)["response_format"] == wanted


def test_figures_end_a_stream_that_asked_for_them_and_are_null_before(client: openai.OpenAI):
    chunks = list(
        client.chat.completions.create(
            model="fanal", messages=HELLO, stream=True, stream_options=WITH_USAGE, n=2
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])
    kept = stored(client, chunks[0].id)
    assert [choice.message.content for choice in kept.choices] == ["smollm2- heard a b c"] * 2
    assert [choice.finish_reason for choice in kept.choices] == ["stop", "stop"]
    assert kept.usage == chunks[-1].usage
    assert (kept.object, kept.model) == ("chat.completion", "fanal")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"kv_transfer_params": {}}, "kv_transfer_params"),
        ({"ec_transfer_params": {}}, "ec_transfer_params"),
        ({"wizardry": 1}, "wizardry"),
        ({"n": 9}, "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_completion_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"tools": []}, "tools"),
        ({"messages": [*HELLO, {"role": "tool", "content": "noon"}]}, "messages"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools.0.function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_by_name(client: openai.OpenAI, change: dict[str, Any], param: str):
    body = {"model": "fanal", "messages": HELLO} | change
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/chat/completions", body=body, cast_to=object)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "asked", "null"),
    [
        ("/chat/completions", {"messages": HELLO}, ("functions", "audio", "tools", "stop", "stream", "stream_options",
         "store", "logprobs", "parallel_tool_calls", "metadata")),
        ("/completions", {"prompt": "x"}, ("stream", "stream_options", "echo", "logprobs", "suffix", "best_of")),
        ("/responses", {"input": "x"}, ("stream", "store", "background", "parallel_tool_calls", "metadata")),
    ],
)  # fmt: skip
def test_a_parameter_that_is_null_counts_as_left_out(
    gateway: Gateway, client: openai.OpenAI, path: str, asked: dict[str, Any], null: tuple[str, ...]
):
    body = {"model": base(gateway), **asked, **dict.fromkeys(null)}
    assert client.post(path, body=body, cast_to=object)
    assert not sent(gateway).get("stream")


def test_a_raw_prompt_is_gone_on_from_and_recorded_apart_from_chats(gateway: Gateway, client: openai.OpenAI):
    answer = client.completions.create(
        model=base(gateway), prompt="Once upon", n=2, stop=["."], logprobs=1, max_tokens=8, seed=3, user="u"
    )
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert [choice.text for choice in answer.choices] == ["smollm2- heard Once upon"] * 2
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs == [-0.5] * 4
    assert sent(gateway)["prompt"] == "Once upon"
    assert (sent(gateway)["logprobs"], sent(gateway)["stop"], sent(gateway)["max_tokens"]) == (1, ["."], 8)
    assert "messages" not in sent(gateway)
    with pytest.raises(openai.NotFoundError):
        stored(client, answer.id)
    opinion = {"completion_id": answer.id, "type": "rating", "rating": 1}
    assert gateway.admin.post("/api/feedback", json=opinion).status_code == 201


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [("one", 1), (["one", "two"], 2), ([1, 2, 3], 1), ([[1, 2], [3, 4]], 2)],
)
def test_a_prompt_is_text_or_tokens_one_or_several(
    gateway: Gateway, client: openai.OpenAI, prompt: Any, choices: int
):
    answer = client.completions.create(model=base(gateway), prompt=prompt)
    assert len(answer.choices) == choices
    assert sent(gateway)["prompt"] == prompt


def test_a_raw_prompt_streams_with_figures(gateway: Gateway, client: openai.OpenAI):
    chunks = list(
        client.completions.create(
            model=base(gateway), prompt=["one", "two"], stream=True, stream_options=WITH_USAGE
        )
    )
    second = "".join(part.text for chunk in chunks for part in chunk.choices if part.index == 1)
    assert second.startswith("smollm2- heard")
    assert chunks[-1].usage is not None
    assert {chunk.model for chunk in chunks} == {base(gateway)}
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_a_raw_prompt_that_breaks_off_is_an_error(gateway: Gateway, client: openai.OpenAI):
    with pytest.raises(openai.APIError, match="engine"):
        list(client.completions.create(model=base(gateway), prompt="BREAK a b c", stream=True))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": "fanal"}, "model"),
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", [1]]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ["x"] * 17}, "prompt"),
        ({"prompt_embeds": "abc"}, "prompt_embeds"),
        ({"logprobs": 21}, "logprobs"),
    ],
)
def test_a_raw_prompt_that_cannot_be_served_is_refused_by_name(
    gateway: Gateway, client: openai.OpenAI, change: dict[str, Any], param: str
):
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/completions", body={"model": base(gateway), "prompt": "x"} | change, cast_to=object)
    assert refused.value.param == param


async def test_the_async_client_is_served_alike(gateway: Gateway):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="fanal", messages=HELLO, tools=[CLOCK], tool_choice="required"
        )
        assert [call.function.name for call in answer.choices[0].message.tool_calls or []] == ["clock"]  # type: ignore[union-attr]
        stream = await client.chat.completions.create(
            model="fanal", messages=HELLO, stream=True, stream_options=WITH_USAGE
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage is not None
        text = await client.completions.create(model=base(gateway), prompt="one", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in text]) == "smollm2- heard one"
        kept = await client.chat.completions.retrieve(chunks[0].id)
        assert kept.choices[0].message.content == "smollm2- heard a b c"


def told(client: openai.OpenAI, wire: str, model: str, said: str) -> Iterator[Any]:
    """What a stream says, event by event, on each of the three wires."""
    if wire == "responses":
        return iter(client.responses.create(model="fanal", input=said, stream=True))
    if wire == "completions":
        return iter(client.completions.create(model=model, prompt=said, stream=True))
    messages: list[Any] = [{"role": "user", "content": said}]
    return iter(client.chat.completions.create(model="fanal", messages=messages, stream=True))


@pytest.mark.parametrize("wire", ["chat", "completions", "responses"])
def test_an_answer_that_the_engine_aborts_is_an_error_though_its_stream_ends_as_if_all_were_well(
    gateway: Gateway, client: openai.OpenAI, wire: str
):
    """vllm-project/vllm#57082: `"finish_reason": "abort"`, and then `[DONE]`."""
    said: list[Any] = []
    stream = told(client, wire, base(gateway), "SLOW ABORT a b")
    if wire == "responses":
        said.extend(stream)
        assert said[-1].type == "response.failed"
        assert "response.completed" not in {event.type for event in said}
        name = said[0].response.id.replace("resp_", "chatcmpl-")
    else:
        with pytest.raises(openai.APIError, match="broke off"):
            said.extend(stream)
        assert {part.finish_reason for chunk in said for part in chunk.choices} == {None}
        name = said[0].id
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        row = database.execute(
            "select status, finish_reason from completions where id = ?", (name,)
        ).fetchone()
    assert row == ("failed", "abort")


def test_a_whole_answer_that_the_engine_aborts_is_an_error(client: openai.OpenAI):
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model="fanal", messages=[{"role": "user", "content": "ABORT"}])
    assert (refused.value.status_code, refused.value.code) == (502, "engine_error")
