import json
import sqlite3
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response
from openai.types.responses.response import IncompleteDetails
from pydantic import BaseModel

from service import sample
from tests.gateway import Gateway

INSTRUCTIONS = sample.company()["assistant"]["instructions"]
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


@pytest.fixture
def client(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)


def post(gateway: Gateway, **body) -> httpx.Response:
    return gateway.admin.post("/v1/responses", json={"model": "fanal", "input": "hello"} | body)


def sent(gateway: Gateway) -> list[tuple[str, str]]:
    """Role and content of what the engine got last."""
    return [(message["role"], message["content"]) for message in gateway.engine_bodies[-1]["messages"]]


def record(gateway: Gateway, response_id: str) -> dict:
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.row_factory = sqlite3.Row
        key = response_id.replace("resp_", "chatcmpl-")
        row = database.execute("select * from completions where id = ?", (key,)).fetchone()
    return dict(row) if row else {}


def as_dict(item: Any) -> dict[str, Any]:
    return item.to_dict()


def without_end(response: Response) -> dict:
    """`completed_at` is taken just before and just after the end is written down."""
    return response.model_dump(exclude={"completed_at"})


def test_a_response_is_recorded_as_a_completion_and_found_again(gateway: Gateway, client: openai.OpenAI):
    given = client.responses.create(
        model="fanal", input="hello", temperature=0.5, max_output_tokens=50, metadata={"ticket": "7"}
    )
    assert given.status == "completed"
    assert given.output_text.endswith("heard hello")
    assert given.usage is not None
    assert given.usage.input_tokens == 3
    assert given.usage.total_tokens == 3 + given.usage.output_tokens
    assert (given.temperature, given.max_output_tokens, given.metadata) == (0.5, 50, {"ticket": "7"})
    kept = record(gateway, given.id)
    assert (kept["status"], kept["output"], kept["instructions"]) == (
        "complete", given.output_text, INSTRUCTIONS,
    )  # fmt: skip
    assert '"max_completion_tokens": 50' in kept["sampling"]
    assert sent(gateway) == [("system", INSTRUCTIONS), ("user", "hello")]
    again = client.responses.retrieve(given.id)
    assert without_end(again) == without_end(given)
    assert abs((again.completed_at or 0) - (given.completed_at or 0)) <= 1


def test_the_sdk_gathers_a_stream_into_the_response_that_is_kept(gateway: Gateway, client: openai.OpenAI):
    with client.responses.stream(model="fanal", input="a b c") as stream:
        events = list(stream)
        final = stream.get_final_response()
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == final.output_text
    assert final.output_text.endswith("heard a b c")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert events[-1].type == "response.completed"
    kept = record(gateway, final.id)
    assert (kept["status"], kept["output"]) == ("complete", final.output_text)
    again = client.responses.retrieve(final.id)
    assert as_dict(again.output[0])["id"] == as_dict(final.output[0])["id"]
    assert (again.output_text, again.usage) == (final.output_text, final.usage)


async def test_the_asynchronous_client_streams_too(gateway: Gateway):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as client:
        whole = await client.responses.create(model="fanal", input="hello")
        assert whole.output_text.endswith("heard hello")
        async with client.responses.stream(model="fanal", input="again") as stream:
            final = await stream.get_final_response()
        assert final.output_text.endswith("heard again")
        events = await client.responses.create(model="fanal", input="raw", stream=True)
        assert [event.type async for event in events][-1] == "response.completed"


def test_each_event_has_its_name_in_a_line_of_its_own(gateway: Gateway):
    answer = post(gateway, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-tailorbird-release"] == "fanal@base"
    blocks = answer.text.strip().split("\n\n")
    for block in blocks:
        name, data = block.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]
    assert len(blocks) > 6


def test_three_responses_make_a_chain(gateway: Gateway, client: openai.OpenAI):
    first = client.responses.create(model="fanal", input="one", instructions="Be brief.")
    assert sent(gateway)[0] == ("system", f"{INSTRUCTIONS}\n\nBe brief.")
    second = client.responses.create(
        model="fanal", previous_response_id=first.id, input=[{"role": "user", "content": "two"}]
    )
    with client.responses.stream(model="fanal", previous_response_id=second.id, input="three") as stream:
        third = stream.get_final_response()
    chain = [
        ("user", "one"), ("assistant", first.output_text), ("user", "two"), ("assistant", second.output_text),
        ("user", "three"),
    ]  # fmt: skip
    assert sent(gateway) == [("system", INSTRUCTIONS), *chain]
    assert third.previous_response_id == second.id
    listed = client.responses.input_items.list(third.id, order="asc", limit=2)
    items = [(item["type"], item["role"], item["content"][0]["text"]) for item in map(as_dict, listed)]
    assert items == [("message", role, text) for role, text in chain]
    newest = as_dict(client.responses.input_items.list(third.id, limit=1).data[0])
    assert newest["content"][0]["text"] == "three"


def test_a_chain_outlives_the_deletion_of_its_beginning(gateway: Gateway, client: openai.OpenAI):
    first = client.responses.create(model="fanal", input="one")
    second = client.responses.create(model="fanal", input="two", previous_response_id=first.id)
    client.responses.delete(first.id)
    for ask in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            ask(first.id)
    assert "one" not in json.dumps(record(gateway, first.id))
    client.responses.create(model="fanal", input="three", previous_response_id=second.id)
    assert ("user", "one") in sent(gateway)


def test_the_model_calls_a_function_and_gets_what_it_gave(gateway: Gateway, client: openai.OpenAI):
    first = client.responses.create(model="fanal", input="Weather?", tools=[WEATHER], tool_choice="required")
    body = gateway.engine_bodies[-1]
    assert body["tools"][0]["function"]["name"] == "weather"
    (call,) = first.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.status) == ("weather", {"city": "Riga"}, "completed")
    given: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    chained = client.responses.create(
        model="fanal",
        previous_response_id=first.id,
        input=[given],
        tools=[WEATHER],
    )
    roles = [message["role"] for message in gateway.engine_bodies[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool"]
    assert gateway.engine_bodies[-1]["messages"][2]["tool_calls"][0]["id"] == call.call_id
    assert chained.output_text.endswith("heard rain")
    replayed: Any = [{"role": "user", "content": "Weather?"}, call.to_dict(), given]
    client.responses.create(model="fanal", input=replayed, tools=[WEATHER])
    assert [message["role"] for message in gateway.engine_bodies[-1]["messages"]] == roles


def test_a_streamed_call_is_gathered_and_kept(client: openai.OpenAI):
    with client.responses.stream(
        model="fanal", input="Weather?", tools=[WEATHER], tool_choice="required"
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert "response.function_call_arguments.delta" in [event.type for event in events]
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert json.loads(done.arguments) == {"city": "Riga"}
    again = client.responses.retrieve(final.id)
    assert [item.to_dict() for item in again.output] == [
        {k: v for k, v in item.to_dict().items() if k != "parsed_arguments"} for item in final.output
    ]


def test_a_schema_reaches_the_engine_and_the_sdk_parses_the_answer(gateway: Gateway, client: openai.OpenAI):
    class Heard(BaseModel):
        heard: str

    parsed = client.responses.parse(model="fanal", input="hello", text_format=Heard)
    assert parsed.output_parsed == Heard(heard="hello")
    asked = gateway.engine_bodies[-1]["response_format"]
    assert (asked["type"], asked["json_schema"]["name"]) == ("json_schema", "Heard")
    assert "heard" in asked["json_schema"]["schema"]["properties"]
    with client.responses.stream(model="fanal", input="again", text_format=Heard) as stream:
        assert stream.get_final_response().output_parsed == Heard(heard="again")


def test_an_answer_cut_at_the_limit_is_incomplete(client: openai.OpenAI):
    whole = client.responses.create(model="fanal", input="a b", max_output_tokens=1)
    events: list[Any] = list(
        client.responses.create(model="fanal", input="a b", max_output_tokens=1, stream=True)
    )
    assert events[-1].type == "response.incomplete"
    for response in (whole, events[-1].response):
        assert response.status == "incomplete"
        assert response.incomplete_details == IncompleteDetails(reason="max_output_tokens")
        assert client.responses.retrieve(response.id).status == "incomplete"


def test_an_engine_that_breaks_off_is_a_failure_and_never_an_end(gateway: Gateway, client: openai.OpenAI):
    events = list(client.responses.create(model="fanal", input="BREAK a b c", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error is not None
    assert "response.completed" not in {event.type for event in events}
    kept = client.responses.retrieve(events[-1].response.id)
    assert (kept.status, kept.output_text) == ("failed", events[-1].response.output_text)
    with client.responses.stream(model="fanal", input="BREAK a b c") as stream, pytest.raises(RuntimeError):
        stream.get_final_response()
    assert post(gateway, input="BREAK").status_code == 502
    refused = post(gateway, previous_response_id=kept.id)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "previous_response_id")


def test_a_call_that_goes_on_after_its_end_is_a_failure_in_the_stream_and_in_the_record(
    client: openai.OpenAI,
):
    events: list[Any] = list(
        client.responses.create(
            model="fanal", input="GOES ON", tools=[WEATHER], tool_choice="required", stream=True
        )
    )
    assert (events[0].type, events[-1].type) == ("response.created", "response.failed")
    assert client.responses.retrieve(events[-1].response.id).status == "failed"


def test_a_reader_who_leaves_leaves_a_cancelled_response(gateway: Gateway, client: openai.OpenAI):
    stream = client.responses.create(model="fanal", input="SLOW " * 40, stream=True)
    first = next(stream)
    assert first.type == "response.created"
    assert client.responses.retrieve(first.response.id).status == "in_progress"
    assert post(gateway, previous_response_id=first.response.id).status_code == 409
    assert gateway.admin.delete(f"/v1/responses/{first.response.id}").status_code == 409
    stream.close()
    status = None
    for _ in range(100):
        if (status := client.responses.retrieve(first.response.id).status) != "in_progress":
            break
    assert status == "cancelled"
    assert record(gateway, first.response.id)["status"] == "interrupted"


def test_store_false_can_neither_be_retrieved_nor_gone_on_from(gateway: Gateway, client: openai.OpenAI):
    given = client.responses.create(model="fanal", input="hello", store=False)
    assert given.output_text
    assert record(gateway, given.id) == {}
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(given.id)
    refused = post(gateway, previous_response_id=given.id)
    assert refused.status_code == 404
    assert refused.json()["error"]["param"] == "previous_response_id"
    assert refused.json()["error"]["code"] == "previous_response_not_found"


def test_a_chat_completion_is_no_response(gateway: Gateway):
    body = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]}
    key = gateway.admin.post("/v1/chat/completions", json=body).json()["id"]
    for name in (key, key.replace("chatcmpl-", "resp_")):
        assert gateway.admin.get(f"/v1/responses/{name}").status_code == 404


def test_another_persons_response_is_not_found_whatever_their_role(gateway: Gateway, client: openai.OpenAI):
    given = client.responses.create(model="fanal", input="my secret")
    with gateway.client_of("Mallory", "administrator") as other:
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items")):
            assert other.request(method, f"/v1/responses/{given.id}{path}").status_code == 404
        body = {"model": "fanal", "input": "and?", "previous_response_id": given.id}
        assert other.post("/v1/responses", json=body).status_code == 404
    assert client.responses.retrieve(given.id).id == given.id


def test_feedback_takes_a_responses_id(gateway: Gateway, client: openai.OpenAI):
    given = client.responses.create(model="fanal", input="What does a bicycle cost?")
    body = {"completion_id": given.id, "type": "correction", "correction": "4 crowns."}
    said = gateway.admin.post("/api/feedback", json=body)
    assert said.status_code == 201
    assert said.json()["completion_id"] == given.id.replace("resp_", "chatcmpl-")
    listed = gateway.admin.get("/api/feedback", params={"completion_id": given.id}).json()["data"]
    assert [one["correction"] for one in listed] == ["4 crowns."]
    client.responses.delete(given.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(given.id)
    assert record(gateway, given.id)["output"] == given.output_text, "feedback leads back to it"
