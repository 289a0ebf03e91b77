"""The newer wire over the real engine."""

from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.running import Running
from tests.service.api.test_responses import WEATHER

pytestmark = pytest.mark.heavy


def test_the_real_engine_answers_in_a_chain_streamed_and_whole(service: Running):
    client = openai.OpenAI(base_url=f"{service.api_url}/v1", api_key=service.admin_key, timeout=180)
    first = client.responses.create(model="fanal", input="Where is the harbour?", max_output_tokens=24)
    assert first.status in ("completed", "incomplete")
    assert first.output_text
    assert first.usage is not None
    assert first.usage.output_tokens <= 24
    with client.responses.stream(model="fanal", input="And then?", previous_response_id=first.id) as stream:
        events: list[Any] = list(stream)
    # The model may write up to its limit.
    assert events[-1].type in ("response.completed", "response.incomplete")
    final = events[-1].response
    assert final.output_text == "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert client.responses.retrieve(final.id).output_text == final.output_text
    items = client.responses.input_items.list(first.id, order="asc").data
    assert [item.type for item in items] == ["message"]


def test_the_real_engine_is_bound_to_a_schema_and_to_a_function(service: Running):
    class Price(BaseModel):
        crowns: int

    client = openai.OpenAI(base_url=f"{service.api_url}/v1", api_key=service.admin_key, timeout=180)
    parsed = client.responses.parse(
        model="fanal",
        input="What does a bicycle cost?",
        text_format=Price,
        max_output_tokens=64,
        temperature=0,
    )
    assert isinstance(parsed.output_parsed, Price)
    choice: Any = {"type": "function", "name": "weather"}
    with client.responses.stream(
        model="fanal", input="The weather of Oslo?", tools=[WEATHER], tool_choice=choice,
        max_output_tokens=200, temperature=0,
    ) as stream:  # fmt: skip
        kinds = [event.type for event in stream]
    assert "response.function_call_arguments.delta" in kinds
    assert kinds[-1] in ("response.completed", "response.incomplete")
