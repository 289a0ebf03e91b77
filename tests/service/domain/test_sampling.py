import pytest

from service.contract.chat import ChatRequest
from service.domain import sampling
from service.errors import BadInput

TOOL = {"type": "function", "function": {"name": "clock"}}


def request(**more) -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "x"}]} | more)


def test_tools_are_refused_where_the_engine_cannot_read_a_call():
    with pytest.raises(BadInput, match="TAILORBIRD_TOOL_PARSER") as refused:
        sampling.check(request(tools=[TOOL]), tools=False)
    assert refused.value.param == "tools"
    sampling.check(request(), tools=False)
    sampling.check(request(tools=[TOOL]), tools=True)


def test_a_field_of_the_engine_that_shapes_one_answer_passes_and_others_do_not():
    sampling.check(request(top_k=3, user="u", audio=None), tools=True)
    with pytest.raises(BadInput, match="session_id"):
        sampling.check(request(session_id="x"), tools=True)
