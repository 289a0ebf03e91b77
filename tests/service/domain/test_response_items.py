import pytest

from service.contract.responses import Item
from service.domain.response_items import check_calls, input_items, output_items, to_messages
from service.errors import BadInput

CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Oslo"}'}


def items(*values: dict) -> list[Item]:
    return [Item.model_validate(value) for value in values]


def test_a_message_may_be_a_string_or_parts_of_text():
    parts = [{"type": "input_text", "text": "Hello "}, {"type": "input_text", "text": "there"}]
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}
    assert to_messages(
        items({"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}, answer)
    ) == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hello there"},
        {"role": "assistant", "content": "Hi."},
    ]


def test_calls_after_a_text_of_the_assistant_belong_to_its_message():
    second = CALL | {"call_id": "c2"}
    given = [{"type": "function_call_output", "call_id": key, "output": "rain"} for key in ("c1", "c2")]
    messages = to_messages(items({"role": "assistant", "content": "I look."}, CALL, second, *given))
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool"]
    assert [call["id"] for call in messages[0]["tool_calls"]] == ["c1", "c2"]
    assert messages[0]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert messages[2] == {"role": "tool", "tool_call_id": "c2", "content": "rain"}
    check_calls(messages)


def test_a_call_after_another_turn_is_a_message_of_its_own():
    messages = to_messages(items({"role": "user", "content": "Weather?"}, CALL))
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert "content" not in messages[1]


def test_an_output_that_nothing_called_for_is_refused():
    with pytest.raises(BadInput, match="c9"):
        check_calls(to_messages(items({"type": "function_call_output", "call_id": "c9", "output": "rain"})))


def test_input_items_lead_back_to_the_same_messages():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        *to_messages(items({"role": "assistant", "content": "I look."}, CALL)),
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    found = input_items(messages, "ab")
    assert [item["type"] for item in found] == [
        "message", "message", "message", "function_call", "function_call_output",
    ]  # fmt: skip
    assert len({item["id"] for item in found}) == 5
    assert to_messages(items(*found)) == messages


def test_only_the_last_item_of_a_cut_answer_is_incomplete():
    message = {"content": "I look.", "tool_calls": to_messages(items(CALL))[0]["tool_calls"]}
    found = output_items({"role": "assistant", **message}, "ab", whole=False)
    assert [(item["id"], item["status"]) for item in found] == [
        ("msg_ab_0", "completed"),
        ("fc_ab_1", "incomplete"),
    ]


def test_an_empty_answer_is_an_empty_message_and_a_broken_one_is_nothing():
    empty = {"role": "assistant", "content": ""}
    assert output_items(empty, "ab", whole=True)[0]["content"][0]["text"] == ""
    assert output_items(empty, "ab", whole=False) == []
