"""Stored completions as the official SDK lists, reads, notes on and deletes them."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.gateway import Gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, word: str, **body: Any) -> str:
    """The id of a new completion."""
    messages: Any = [{"role": "user", "content": word}]
    return client.chat.completions.create(**({"model": "fanal", "messages": messages} | body)).id


def row(gateway: Gateway, completion_id: str) -> dict[str, Any]:
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.row_factory = sqlite3.Row
        return dict(database.execute("select * from completions where id = ?", (completion_id,)).fetchone())


def test_the_list_is_ones_own_by_time_and_goes_on_page_by_page(client: openai.OpenAI):
    made = [ask(client, f"page {number}", metadata={"list": "pages"}) for number in range(5)]
    ask(client, "kept out", metadata={"list": "pages"}, store=False)
    wanted = {"list": "pages"}
    assert [kept.id for kept in client.chat.completions.list(metadata=wanted, limit=2)] == made
    newest = client.chat.completions.list(metadata=wanted, limit=2, order="desc")
    assert ([kept.id for kept in newest.data], newest.has_more) == (made[:2:-1], True)
    assert [kept.id for kept in client.chat.completions.list(metadata=wanted, order="desc")] == made[::-1]
    last = client.chat.completions.list(metadata=wanted, after=made[3])
    assert ([kept.id for kept in last.data], last.has_more) == (made[4:], False)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.list(after="chatcmpl-nothing")
    assert refused.value.param == "after"


def test_model_and_metadata_filter_the_list(gateway: Gateway, client: openai.OpenAI):
    one = ask(client, "x", metadata={"team": "a b", "stage": "1"})
    two = ask(client, "x", metadata={"team": "a b", "stage": "2"}, model=gateway.settings.model_name)
    found = client.chat.completions.list(metadata={"team": "a b"})
    assert [kept.id for kept in found.data] == [one, two]
    assert [k.id for k in client.chat.completions.list(metadata={"team": "a b", "stage": "2"}).data] == [two]
    assert [k.id for k in client.chat.completions.list(metadata={"team": "a b"}, model="fanal").data] == [one]
    assert client.chat.completions.list(metadata={"team": "c"}).data == []
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.list(metadata={'te"am': "a"})


def test_a_stored_completion_is_the_answer_that_was_given(client: openai.OpenAI):
    messages: Any = [{"role": "user", "content": "hello"}]
    answer = client.chat.completions.create(
        model="fanal", messages=messages, temperature=0.5, metadata={"a": "b"}
    )
    kept: Any = client.chat.completions.retrieve(answer.id)
    assert (kept.choices, kept.usage, kept.created) == (answer.choices, answer.usage, answer.created)
    assert (kept.metadata, kept.temperature) == ({"a": "b"}, 0.5)


def test_only_the_metadata_changes(client: openai.OpenAI):
    made = ask(client, "x", metadata={"before": "b"})
    changed: Any = client.chat.completions.update(made, metadata={"c": "d"})
    assert changed.metadata == {"c": "d"}
    assert [k.id for k in client.chat.completions.list(metadata={"c": "d"}).data] == [made]
    assert client.chat.completions.list(metadata={"before": "b"}).data == []
    cleared: Any = client.chat.completions.update(made, metadata=None)
    assert cleared.metadata == {}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.update(made, metadata={"k": "v" * 513})
    assert refused.value.param == "metadata"


def test_the_messages_are_the_callers_without_the_assistants_instructions(client: openai.OpenAI):
    parts = [{"type": "text", "text": "How much "}, {"type": "text", "text": "is it?"}]
    made = ask(
        client, "", messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    )
    found = client.chat.completions.messages.list(made).data
    assert [(m.id, m.role, m.content) for m in found] == [
        (f"{made}-0", "system", "Be brief."),
        (f"{made}-1", "user", "How much is it?"),
    ]
    assert [part.model_dump(exclude_none=True) for part in found[1].content_parts or []] == parts
    first = client.chat.completions.messages.list(made, order="desc", limit=1)
    assert ([m.id for m in first.data], first.has_more) == ([f"{made}-1"], True)
    assert [m.content for m in client.chat.completions.messages.list(ask(client, "alone")).data] == ["alone"]


def test_instructions_with_blanks_around_them_are_not_taken_for_the_callers(
    gateway: Gateway, client: openai.OpenAI
):
    assistant = {"name": "blanks", "title": "Blanks", "instructions": "\nBe kind.\n"}
    gateway.admin.post("/api/assistants", json=assistant).raise_for_status()
    made = ask(client, "alone", model="blanks")
    assert [m.content for m in client.chat.completions.messages.list(made).data] == ["alone"]
    own: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    made = ask(client, "", model="blanks", messages=own)
    found = client.chat.completions.messages.list(made).data
    assert [m.content for m in found] == ["Be brief.", "hello"]


def test_deleting_erases_what_was_said(gateway: Gateway, client: openai.OpenAI):
    made = ask(client, "a secret", metadata={"a": "secret"})
    deleted = client.chat.completions.delete(made)
    assert (deleted.id, deleted.deleted, deleted.object) == (made, True, "chat.completion.deleted")
    for call in (
        client.chat.completions.retrieve,
        client.chat.completions.delete,
        client.chat.completions.messages.list,
    ):
        with pytest.raises(openai.NotFoundError):
            call(made)
    assert made not in [kept.id for kept in client.chat.completions.list(limit=100)]
    kept = row(gateway, made)
    assert "secret" not in str(kept)
    assert kept["completion_tokens"], "how much was used stays"
    opinion = {"completion_id": made, "type": "rating", "rating": 1}
    assert gateway.admin.post("/api/feedback", json=opinion).status_code == 404


def test_what_feedback_leads_back_to_is_hidden_and_kept_for_it(gateway: Gateway, client: openai.OpenAI):
    conversation = gateway.admin.post("/api/conversations", json={"assistant": "fanal"}).json()["id"]
    made, better = (ask(client, "hello", metadata={"conversation": conversation}) for _ in range(2))
    opinion = {"completion_id": made, "type": "preference", "preferred_completion_id": better}
    gateway.admin.post("/api/feedback", json=opinion).raise_for_status()
    for completion_id in (made, better):
        client.chat.completions.delete(completion_id)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.retrieve(completion_id)
        kept = row(gateway, completion_id)
        assert kept["response"] == "null"
        assert kept["output"] == "smollm2- heard hello"
        assert kept["conversation_id"] == conversation, "which split it belongs to hangs on it"
    assert gateway.admin.get(f"/api/conversations/{conversation}").json()["turns"] == []


def test_a_stranger_sees_nothing_and_a_reviewer_reads_but_does_not_change(
    gateway: Gateway, client: openai.OpenAI
):
    made = ask(client, "x")
    address = f"/v1/chat/completions/{made}"
    with gateway.client_of("Stranger") as stranger:
        assert stranger.get("/v1/chat/completions").json()["data"] == []
        assert stranger.get(address).status_code == 404
        assert stranger.get(f"{address}/messages").status_code == 404
        assert stranger.post(address, json={"metadata": {}}).status_code == 404
        assert stranger.delete(address).status_code == 404
        assert stranger.get(f"/v1/chat/completions?after={made}").status_code == 400
    with gateway.client_of("Reviewer", "reviewer") as reviewer:
        assert reviewer.get(address).json()["id"] == made
        assert reviewer.get("/v1/chat/completions").json()["data"] == []
        assert reviewer.post(address, json={"metadata": {}}).status_code == 404
        assert reviewer.delete(address).status_code == 404
    assert client.chat.completions.retrieve(made).id == made


def test_what_broke_off_is_not_stored(gateway: Gateway, client: openai.OpenAI):
    stream = client.chat.completions.create(
        model="fanal", messages=[{"role": "user", "content": "BREAK a b c"}], stream=True
    )
    first = next(stream)
    with pytest.raises(openai.APIError):
        list(stream)
    assert row(gateway, first.id)["status"] == "failed"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(first.id)


def test_a_stream_recorded_before_streams_were_kept_whole_is_shown_from_its_columns(
    gateway: Gateway, client: openai.OpenAI
):
    made = ask(client, "old")
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.execute("update completions set response = 'null' where id = ?", (made,))
    kept = client.chat.completions.retrieve(made)
    assert kept.choices[0].message.content == "smollm2- heard old"
    assert (kept.choices[0].finish_reason, kept.usage and kept.usage.prompt_tokens) == ("stop", 3)


def test_an_answer_that_was_asked_as_a_response_is_no_chat(client: openai.OpenAI):
    asked = client.responses.create(model="fanal", input="hello", metadata={"by": "response"})
    assert asked.status == "completed"
    assert client.chat.completions.list(metadata={"by": "response"}).data == []


async def test_the_async_client_is_served_alike(gateway: Gateway):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="fanal", messages=[{"role": "user", "content": "x"}], metadata={"by": "async"}
        )
        listed = [kept.id async for kept in client.chat.completions.list(metadata={"by": "async"}, limit=1)]
        assert listed == [answer.id]
        changed: Any = await client.chat.completions.update(answer.id, metadata={"by": "nobody"})
        assert changed.metadata == {"by": "nobody"}
        assert [m.content async for m in client.chat.completions.messages.list(answer.id)] == ["x"]
        assert (await client.chat.completions.delete(answer.id)).deleted
