"""What a chain takes over from the record of the response before."""

import pytest

from service.contract.chat import Message
from service.db import tables
from service.domain import responses
from service.domain.chat import Route, messages_as_sent, with_whole_texts
from training.rows import plain

HELLO = {"role": "user", "content": "hello"}
NOTE = {"role": "developer", "content": "Answer in French."}


def kept(messages: list[dict], instructions: str | None, assistants: str, **fields) -> tables.Completion:
    """The record of a response, its messages as they were sent to the engine."""
    own = [{"role": "system", "content": instructions}] if instructions else []
    route = Route("fanal", "base", "base", instructions=assistants)
    sent = messages_as_sent(route, [Message.model_validate(message) for message in [*own, *messages]])
    fields = {"sampling": {}, "metadata_": {}, "created_at": 1.0, "ended_at": 2.0} | fields
    return tables.Completion(
        id="chatcmpl-ab", messages=sent, instructions=assistants,
        begun={"instructions": instructions, "created_at": 1}, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("assistants", ["", "You are Fanal.", "You are Fanal.\n"])
@pytest.mark.parametrize("instructions", [None, "Be brief."])
@pytest.mark.parametrize("before", [[], [NOTE]])
def test_what_was_asked_comes_back_without_any_instructions(assistants, instructions, before):
    found = responses.asked_messages(kept([*before, HELLO], instructions, assistants))
    assert [message["content"] for message in found] == [m["content"] for m in [*before, HELLO]]
    assert found[-1]["role"] == "user"


def test_parts_of_a_message_reach_the_engine_as_the_one_text_that_the_trainer_reads():
    asked = [Message.model_validate(NOTE)]
    assert messages_as_sent(Route("fanal", "base", "base"), asked) == plain(asked)
    message = Message.model_validate(
        {
            "role": "user",
            "content": [{"type": "text", "text": "How much "}, {"type": "text", "text": "is it?"}],
        }
    )
    body = {"messages": messages_as_sent(Route("fanal", "base", "base"), [message]), "temperature": 0}
    assert with_whole_texts(body) == {"messages": plain([message]), "temperature": 0}
    assert plain([message])[0]["content"] == "How much is it?"
    assert isinstance(body["messages"][0]["content"], list)  # so it is recorded


def test_a_record_without_a_whole_answer_still_shows_what_it_has():
    row = kept([HELLO], None, "", status="interrupted", output="Hel", finish_reason=None, response=None)
    shown = responses.shown(row)
    assert shown["status"] == "cancelled"
    assert shown["output"][0]["content"][0]["text"] == "Hel"
    assert shown["output"][0]["status"] == "incomplete"
    assert shown["usage"] is None
