"""OpenAI's wire on the real engine: tools, JSON, log-probabilities, raw prompts, and what is stored of them."""

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from service.settings import EMBEDDED
from tests.loop.steps import sdk
from tests.running import Running
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy

HELLO: list[Any] = [{"role": "user", "content": "What is the weather in Riga?"}]
CITIES: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Riga", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": CITIES, "strict": True}}
CLOCK: Any = {"type": "function", "function": {"name": "clock", "parameters": CITIES, "strict": True}}
NAMED: Any = {"type": "function", "function": {"name": "weather"}}
AS_JSON: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITIES, "strict": True}}


def brief(**more: Any) -> dict[str, Any]:
    """A question for the base model, answered in its likeliest words."""
    return {"model": EMBEDDED, "messages": HELLO, "temperature": 0, "max_completion_tokens": 120} | more


@pytest.fixture
def client(service: Running) -> openai.OpenAI:
    return sdk(service)


def test_a_named_tool_is_called_whole_and_streamed(client: openai.OpenAI):
    asked: dict[str, Any] = brief(tools=[WEATHER, CLOCK], tool_choice=NAMED)
    whole = client.chat.completions.create(**asked)
    calls: Any = whole.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather"]
    assert json.loads(calls[0].function.arguments)["city"] in ("Riga", "Rome")
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert strangers([whole, *chunks]) == set()
    parts = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    arguments = "".join((part.function and part.function.arguments) or "" for part in parts)
    assert json.loads(arguments)["city"] in ("Riga", "Rome")
    kept: Any = client.chat.completions.retrieve(chunks[0].id).choices[0].message.tool_calls
    assert [(call.id, call.function.name) for call in kept] == [(parts[0].id, "weather")]
    assert kept[0].function.arguments == arguments


def test_some_tool_is_called_when_one_is_required(client: openai.OpenAI):
    answer = client.chat.completions.create(
        **brief(tools=[WEATHER, CLOCK], tool_choice="required", parallel_tool_calls=False)
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert [call.function.name in ("weather", "clock") for call in choice.message.tool_calls or []] == [True]  # type: ignore[union-attr]


def test_a_tools_result_is_taken_up_in_words(client: openai.OpenAI):
    call: Any = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Riga"}'},
    }
    messages = [
        {"role": "developer", "content": "Answer in one sentence."},
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "It rains."},
    ]
    answer = client.chat.completions.create(**brief(messages=messages, tools=[WEATHER]))
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")
    assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


def test_an_answer_is_bound_to_json(client: openai.OpenAI):
    whole = client.chat.completions.create(**brief(response_format=AS_JSON))
    assert json.loads(whole.choices[0].message.content or "")["city"] in ("Riga", "Rome")
    stream = client.chat.completions.create(**brief(response_format=AS_JSON), stream=True)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert json.loads(said)["city"] in ("Riga", "Rome")
    free = client.chat.completions.create(
        **brief(max_completion_tokens=8, response_format={"type": "json_object"})
    )
    assert (free.choices[0].message.content or "").lstrip().startswith("{")


def test_log_probabilities_are_those_of_the_answers_tokens_whole_and_streamed(client: openai.OpenAI):
    asked: dict[str, Any] = brief(max_completion_tokens=12, logprobs=True, top_logprobs=3)
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.logprobs is not None
    content = choice.logprobs.content or []
    assert "".join(one.token for one in content if one.token != "<|im_end|>") == choice.message.content
    assert all(one.logprob <= 0 and len(one.top_logprobs) == 3 for one in content)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert strangers(chunks) == set()
    parts = [chunk.choices[0] for chunk in chunks]
    streamed = [one for part in parts if part.logprobs for one in part.logprobs.content or []]
    said = "".join(part.delta.content or "" for part in parts)
    assert (
        "".join(one.token for one in streamed if one.token != "<|im_end|>") == said == choice.message.content
    )
    assert [one.logprob for one in streamed] == pytest.approx([one.logprob for one in content], abs=0.01)
    assert all(len(one.top_logprobs) == 3 for one in streamed)
    kept: Any = client.chat.completions.retrieve(chunks[0].id).choices[0].logprobs
    assert kept.content == streamed


def test_what_the_engine_counts_at_each_word_for_a_key_with_a_budget_reaches_the_caller_once_at_the_end(
    service: Running, client: openai.OpenAI
):
    """The engine is asked for `continuous_usage_stats`, so that who leaves early pays for what was written."""
    with service.client() as http:
        made = {"name": "counted", "limits": {"tokens_per_day": 1_000_000}}
        counted = client.with_options(api_key=http.post("/api/keys", json=made).json()["secret"])
    asked: dict[str, Any] = brief(max_completion_tokens=4, stream=True)
    raw = counted.chat.completions.with_raw_response.create(**asked, stream_options={"include_usage": True})
    assert "x-ratelimit-remaining-tokens" in raw.headers
    chunks = list(raw.parse())
    assert strangers(chunks) == set()
    assert all("usage" in one.model_fields_set and one.usage is None for one in chunks[:-1])
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 4)
    unasked = list(counted.chat.completions.create(**asked))
    assert strangers(unasked) == set()
    assert not any("usage" in one.model_fields_set for one in unasked)


def test_several_answers_stop_where_they_should(client: openai.OpenAI):
    asked: dict[str, Any] = brief(n=2, seed=3, temperature=0.9, stop=["e"])
    usage: Any = {"include_usage": True}
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=usage))
    assert strangers(chunks) == set()
    kept = client.chat.completions.retrieve(chunks[0].id)
    assert [choice.index for choice in kept.choices] == [0, 1]
    assert all("e" not in (choice.message.content or "") for choice in kept.choices)
    assert chunks[-1].usage == kept.usage


def test_a_raw_prompt_is_gone_on_from(client: openai.OpenAI):
    asked: dict[str, Any] = {"model": EMBEDDED, "temperature": 0, "max_tokens": 8}
    answer = client.completions.create(**asked, prompt="The capital of France is", logprobs=2)
    assert answer.choices[0].text.strip()
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.token_logprobs or []) == 8
    stream = list(client.completions.create(**asked, prompt="The capital of France is", stream=True))
    assert strangers([answer, *stream]) == set()
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == answer.choices[0].text
    several = client.completions.create(**asked | {"temperature": 1}, prompt=["One two three", "A B C"], n=2)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert client.completions.create(**asked, prompt=[504, 3575, 282]).choices[0].text


def test_a_batch_is_worked_off_beside_a_stream(client: openai.OpenAI):
    lines = [
        {"custom_id": f"line-{n}", "method": "POST", "url": "/v1/chat/completions",
         "body": brief(max_completion_tokens=16) | {"messages": [{"role": "user", "content": f"What is {n} and {n}?"}]}}
        for n in range(3)
    ]  # fmt: skip
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=("lines.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    words = [
        choice.delta.content
        for chunk in client.chat.completions.create(**brief(stream=True))
        for choice in chunk.choices
        if choice.delta.content
    ]
    assert len(words) > 3
    wait_until(lambda: client.batches.retrieve(batch.id).status == "completed", 180, "the batch did not end")
    ended = client.batches.retrieve(batch.id)
    assert (ended.request_counts and ended.request_counts.completed) == 3
    assert ended.output_file_id
    answers = [json.loads(line) for line in client.files.content(ended.output_file_id).text.splitlines()]
    assert {answer["custom_id"] for answer in answers} == {"line-0", "line-1", "line-2"}
    assert all(answer["response"]["body"]["choices"][0]["message"]["content"] for answer in answers)


def strangers(found: Any) -> set[str]:
    """Names of fields, at any depth, that the SDK's own types do not know: the engine's, which no caller should see."""
    if isinstance(found, list):
        return {name for one in found for name in strangers(one)}
    if isinstance(found, BaseModel):
        return {*(found.model_extra or ())} | strangers([value for _, value in found])
    return set()
