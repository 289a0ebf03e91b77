"""Each event is held against the SDK's own type, so that a field that a client reads cannot be missing."""

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from service.contract.responses import ResponseCreate
from service.domain.response_events import Events
from service.domain.response_objects import begun, echo, ended
from service.errors import EngineError

SDK = TypeAdapter(ResponseStreamEvent)
MESSAGE = [
    "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
    "content_part.done", "output_item.done",
]  # fmt: skip
CALL = [
    "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
    "function_call_arguments.done", "output_item.done",
]  # fmt: skip


def response() -> dict:
    wanted = ResponseCreate.model_validate({"model": "fanal", "input": "hello"})
    return begun("chatcmpl-ab", echo(wanted, recorded=True), {"temperature": 0.2})


def chunk(finish: str | None = None, **delta) -> dict:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int, arguments: str, name: str | None = None) -> dict:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": index, "function": function} | ({"id": f"c{index}"} if name else {})


def told(*chunks: dict) -> list[dict]:
    events = Events(response())
    said = events.begin()
    for part in chunks:
        said += events.take(part)
    return checked(said + events.end())


def checked(events: list[dict]) -> list[dict]:
    for event in events:
        SDK.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def names(events: list[dict]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}


def test_a_text_is_told_in_openais_order():
    events = told(
        chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo"), chunk("stop"), USAGE
    )
    assert names(events) == ["created", "in_progress", *MESSAGE, "completed"]
    last = Response.model_validate(events[-1]["response"])
    assert (last.id, last.status, last.output_text) == ("resp_ab", "completed", "Hello")
    assert last.usage is not None
    assert (last.usage.input_tokens, last.usage.output_tokens, last.usage.total_tokens) == (3, 4, 7)
    assert events[0]["response"]["output"] == []
    assert events[2]["item"]["content"] == []
    assert events[3]["part"]["text"] == ""


def test_a_text_and_two_calls_are_three_items_one_after_another():
    events = told(
        chunk(content="I "), chunk(content="look."),
        chunk(tool_calls=[call(0, '{"a"', "f")]), chunk(tool_calls=[call(0, ": 1}")]),
        chunk(tool_calls=[call(1, "{", "g")]), chunk(tool_calls=[call(1, "}")]), chunk("tool_calls"),
    )  # fmt: skip
    assert names(events) == ["created", "in_progress", *MESSAGE, *CALL, *CALL, "completed"]
    output = events[-1]["response"]["output"]
    assert [(item["id"], item["status"]) for item in output] == [
        ("msg_ab_0", "completed"), ("fc_ab_1", "completed"), ("fc_ab_2", "completed"),
    ]  # fmt: skip
    assert [(item["call_id"], item["name"], item["arguments"]) for item in output[1:]] == [
        ("c0", "f", '{"a": 1}'), ("c1", "g", "{}"),
    ]  # fmt: skip


def test_a_streamed_response_ends_as_the_same_answer_in_one_piece():
    events = told(
        chunk(content="I look."), chunk(tool_calls=[call(0, "{}", "f")]), chunk("tool_calls"), USAGE
    )
    function = {"name": "f", "arguments": "{}"}
    message = {"role": "assistant", "content": "I look.", "tool_calls": [{"id": "c0", "function": function}]}
    answer = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": USAGE["usage"]}
    whole = ended(events[0]["response"], answer, events[-1]["response"]["completed_at"])
    assert whole == events[-1]["response"]
    Response.model_validate(whole)


def test_an_answer_cut_at_the_limit_is_incomplete():
    events = told(chunk(content="Hel"), chunk(content="lo"), chunk("length"))
    assert names(events) == ["created", "in_progress", *MESSAGE, "incomplete"]
    last = events[-1]["response"]
    assert last["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["output"][0]["status"] == "incomplete"


def test_an_empty_answer_is_an_empty_message():
    events = told(chunk("stop"))
    assert Response.model_validate(events[-1]["response"]).output_text == ""
    assert len(events[-1]["response"]["output"]) == 1


def test_a_broken_answer_fails_with_what_there_was():
    events = Events(response())
    said = [*events.begin(), *events.take(chunk(content="Hel")), *events.fail("The engine is gone.")]
    last = checked(said)[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "The engine is gone."}
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_a_call_that_goes_on_after_its_end_is_a_fault_of_the_engine():
    events = Events(response())
    events.take(chunk(tool_calls=[call(0, "{", "f")]))
    events.take(chunk(tool_calls=[call(1, "{", "g")]))
    with pytest.raises(EngineError):
        events.take(chunk(tool_calls=[call(0, "}")]))
