import pytest
from pydantic import ValidationError

from service.contract.responses import ResponseCreate
from service.domain.response_requests import as_chat, refuse_unserved
from service.errors import BadInput

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}


def wanted(**fields) -> ResponseCreate:
    return ResponseCreate.model_validate({"model": "fanal", "input": "hello"} | fields)


def test_a_string_is_a_message_of_the_user():
    chat = as_chat(wanted(), [])
    assert chat.model_dump(exclude_none=True) == {
        "model": "fanal", "messages": [{"role": "user", "content": "hello"}], "stream": False,
    }  # fmt: skip


def test_instructions_come_first_then_what_went_before_then_the_input():
    before = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    chat = as_chat(wanted(instructions="Be brief."), before)
    assert [message.text() for message in chat.messages] == ["Be brief.", "one", "two", "hello"]
    assert chat.messages[0].role == "system"


def test_blank_instructions_are_none():
    assert [message.role for message in as_chat(wanted(instructions="  "), []).messages] == ["user"]


def test_what_shapes_the_answer_reaches_the_chat_under_its_name_there():
    chat = as_chat(
        wanted(
            temperature=0.5, top_p=0.9, max_output_tokens=7, metadata={"a": "b"}, store=False, stream=True,
            tools=[TOOL], tool_choice={"type": "function", "name": "weather"}, parallel_tool_calls=False,
            text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        ),
        [],
    )  # fmt: skip
    assert (chat.temperature, chat.top_p, chat.max_completion_tokens) == (0.5, 0.9, 7)
    assert (chat.metadata, chat.store, chat.stream, chat.wants_usage) == ({"a": "b"}, False, True, True)
    assert chat.parallel_tool_calls is False
    assert chat.tool_choice == {"type": "function", "function": {"name": "weather"}}
    body = chat.sampling()
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True},
        }
    ]


def test_a_schema_is_sent_as_it_is():
    schema = {"type": "object", "properties": {"schema_": {"type": "string"}}}
    chat = as_chat(wanted(text={"format": {"type": "json_schema", "name": "x", "schema": schema}}), [])
    assert chat.response_format is not None
    assert chat.response_format.json_schema is not None
    assert chat.response_format.json_schema.schema_ == schema
    assert as_chat(wanted(text={"format": {"type": "text"}}), []).response_format is None


def test_a_choice_of_tools_without_tools_says_nothing():
    assert as_chat(wanted(tool_choice="auto", parallel_tool_calls=True), []).tool_choice is None


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("background", True),
        ("context_management", [{"type": "compaction"}]),
        ("conversation", "conv_1"),
        ("moderation", {"model": "omni"}),
        ("prompt", {"id": "pmpt_1"}),
        ("prompt_cache_options", {"mode": "explicit"}),
        ("service_tier", "priority"),
        ("stream_options", {"include_obfuscation": True}),
        ("top_logprobs", 3),
        ("truncation", "auto"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(param: str, value):
    with pytest.raises(BadInput) as refusal:
        refuse_unserved(wanted(**{param: value}))
    assert (refusal.value.param, refusal.value.code) == (param, "unsupported_parameter")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"reasoning": "high"}, "reasoning"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice"),
    ],
)
def test_a_part_that_cannot_be_honoured_is_refused_by_name(fields: dict, param: str):
    with pytest.raises(BadInput) as refusal:
        refuse_unserved(wanted(**fields))
    assert refusal.value.param == param


def test_what_asks_for_nothing_passes():
    refuse_unserved(
        wanted(
            background=False, truncation="disabled", service_tier="auto", conversation=None, top_logprobs=0,
            reasoning={"effort": None, "summary": None}, include=["reasoning.encrypted_content"],
            text={"verbosity": "medium"}, stream_options={"include_obfuscation": False}, max_tool_calls=3,
            user="u", safety_identifier="s", prompt_cache_key="k", prompt_cache_retention="24h",
        )
    )  # fmt: skip
    refuse_unserved(wanted(reasoning={"effort": "none"}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"input": []}, "at least 1"),
        ({"input": "  "}, "needs content"),
        ({"input": [{"role": "user"}]}, "needs 'content'"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input_image"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input_file"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "x"}]}]}, "type 'x'"),
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "file_search"),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "code_interpreter"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "mcp"),
        ({"tools": [{"type": "computer_use_preview"}]}, "computer_use_preview"),
        ({"tool_choice": {"type": "web_search"}}, "send 'none'"),
        ({"text": {"format": {"type": "json_schema"}}}, "needs 'name'"),
        ({"surprise": 1}, "Extra inputs"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_read_says_where(fields: dict, said: str):
    with pytest.raises(ValidationError) as refusal:
        wanted(**fields)
    first = refusal.value.errors()[0]
    assert said in first["msg"]
    assert first["loc"][0] == next(iter(fields))


def test_a_functions_arguments_are_bound_unless_told_otherwise():
    for given, bound in (({}, True), ({"strict": False}, False)):
        chat = as_chat(wanted(tools=[{"type": "function", "name": "weather", **given}]), [])
        assert chat.sampling()["tools"][0]["function"]["strict"] is bound
