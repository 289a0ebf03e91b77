import json
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from service.domain import batches
from tests.gateway import Gateway

pytestmark = pytest.mark.heavy  # work beside requests, which is waited for

CHAT = "/v1/chat/completions"


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


def line(custom_id: str, text: str = "hello", **change) -> dict:
    body = {"model": "fanal", "messages": [{"role": "user", "content": text}]} | change.pop("body", {})
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | change


def put(client: openai.OpenAI, *lines: dict | str) -> str:
    content = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines).encode()
    return client.files.create(file=("in.jsonl", content), purpose="batch").id


def begin(client: openai.OpenAI, *lines: dict | str, endpoint=CHAT, **more):
    return client.batches.create(
        input_file_id=put(client, *lines), endpoint=endpoint, completion_window="24h", **more
    )


def ended(client: openai.OpenAI, batch_id: str):
    for _ in range(600):
        batch = client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        time.sleep(0.05)
    raise AssertionError(f"the batch did not end: {batch.status}")


def lines_of(client: openai.OpenAI, file_id: str | None) -> list[dict]:
    assert file_id is not None
    return [json.loads(one) for one in client.files.content(file_id).text.splitlines()]


def test_every_line_is_answered_in_openais_format(gateway: Gateway, client: openai.OpenAI):
    batch = begin(client, *[line(f"q{n}", f"one two {n}") for n in range(5)], metadata={"run": "a"})
    assert (batch.status, batch.object, batch.completion_window) == ("validating", "batch", "24h")
    assert batch.expires_at == batch.created_at + 86_400
    batch = ended(client, batch.id)
    assert (batch.status, batch.metadata, batch.model) == ("completed", {"run": "a"}, "fanal")
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 5, "completed": 5, "failed": 0}
    moments = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert moments == sorted(moments)
    assert (batch.error_file_id, batch.errors, batch.failed_at) == (None, None, None)
    answered = lines_of(client, batch.output_file_id)
    assert sorted(one["custom_id"] for one in answered) == [f"q{n}" for n in range(5)]
    for one in answered:
        assert one["id"].startswith("batch_req_")
        assert one["error"] is None
        assert one["response"]["status_code"] == 200
        assert one["response"]["request_id"].startswith("req_")
        said = one["response"]["body"]["choices"][0]["message"]["content"]
        assert said.endswith(f"heard one two {one['custom_id'][1:]}")
    assert batch.usage is not None
    assert batch.usage.total_tokens == sum(
        one["response"]["body"]["usage"]["total_tokens"] for one in answered
    )
    file = client.files.retrieve(batch.output_file_id or "")
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert file.expires_at == file.created_at + 30 * 86_400
    assert not (gateway.settings.home / "batches" / batch.id).exists()


def test_lines_are_recorded_in_the_name_of_who_made_the_batch(gateway: Gateway):
    with gateway.client_of("Betty") as betty:
        api = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=betty.headers["authorization"][7:])
        batch = ended(api, begin(api, line("a", "remember me")).id)
        answer = lines_of(api, batch.output_file_id)[0]["response"]["body"]
        sent = {"completion_id": answer["id"], "type": "rating", "rating": 1}
        assert betty.post("/api/feedback", json=sent).status_code == 201
        assert [one["id"] for one in betty.get("/v1/batches").json()["data"]] == [batch.id]


def test_refused_lines_come_in_the_error_file(client: openai.OpenAI):
    batch = begin(client, line("good"), line("broken", "BREAK"), line("long", "TOO LONG"))
    batch = ended(client, batch.id)
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 1, "failed": 2}
    assert [one["custom_id"] for one in lines_of(client, batch.output_file_id)] == ["good"]
    wrong = {one["custom_id"]: one for one in lines_of(client, batch.error_file_id)}
    assert wrong["long"]["response"]["status_code"] == 400
    assert wrong["long"]["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert wrong["broken"]["response"]["status_code"] == 502


def test_nothing_is_asked_when_one_line_is_wrong_and_each_is_told(gateway: Gateway, client: openai.OpenAI):
    before = len(gateway.engine_bodies)
    batch = begin(
        client,
        line("a"),
        line("a"),
        line("b", method="GET"),
        line("c", url="/v1/completions"),
        line("d", body={"temperature": 9}),
        line("e", body={"model": "nobody"}),
        line("f", body={"stream": True}),
        line("g", body={"chat_template": "x"}),
        {"method": "POST", "url": CHAT, "body": {}},
        line("h", body={"messages": []}),
        line("i", body={"model": "fanal@²"}),
    )
    batch = ended(client, batch.id)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.failed_at is not None
    assert batch.errors is not None
    told = {error.line: error for error in batch.errors.data or []}
    assert sorted(told) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    codes = {number: error.code for number, error in told.items()}
    assert (codes[2], codes[4], codes[6]) == ("duplicate_custom_id", "mismatched_url", "model_not_found")
    assert codes[11] == "model_not_found"
    assert (codes[8], told[8].param) == ("unsupported_parameter", "body.chat_template")
    assert "'method'" in (told[3].message or "")
    assert "'temperature'" in (told[5].message or "")
    assert "custom_id" in (told[9].message or "")
    assert all(f"Line {number}:" in error.message for number, error in told.items() if number not in (6, 11))
    assert len(gateway.engine_bodies) == before


@pytest.mark.parametrize(
    ("endpoint", "body", "kind"),
    [
        ("/v1/completions", {"model": "smollm2-135m-instruct", "prompt": "go on"}, "text_completion"),
        ("/v1/responses", {"model": "fanal", "input": "hello"}, "response"),
    ],
)
def test_other_endpoints_have_batches_too(client: openai.OpenAI, endpoint, body, kind):
    one = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
    batch = ended(client, begin(client, one, endpoint=endpoint).id)
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 1, lines_of(client, batch.error_file_id)
    assert lines_of(client, batch.output_file_id)[0]["response"]["body"]["object"] == kind
    assert batch.usage is not None
    assert batch.usage.total_tokens > 0


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_at_once(gateway: Gateway, client, change, param):
    body = {"input_file_id": put(client, line("a")), "endpoint": CHAT, "completion_window": "24h"} | change
    answer = gateway.admin.post("/v1/batches", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_file_of_another_purpose_makes_no_batch(gateway: Gateway, client: openai.OpenAI):
    row = json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})
    file = client.files.create(file=("a.jsonl", row.encode()), purpose="fine-tune").id
    with pytest.raises(openai.BadRequestError, match="purpose 'fine-tune'"):
        client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
    with gateway.client_of("Zoe") as other:
        body = {"input_file_id": put(client, line("a")), "endpoint": CHAT, "completion_window": "24h"}
        assert other.post("/v1/batches", json=body).json()["error"]["param"] == "input_file_id"


def test_a_create_that_is_sent_again_makes_no_second_batch(gateway: Gateway, client: openai.OpenAI):
    body = {"input_file_id": put(client, line("a")), "endpoint": CHAT, "completion_window": "24h"}

    def create(headers: dict[str, str], change: dict | None = None) -> httpx.Response:
        return gateway.admin.post("/v1/batches", json=body | (change or {}), headers=headers)

    first, again = (create({"idempotency-key": "k-1"}).json()["id"] for _ in range(2))
    assert first == again
    assert create({"x-stainless-retry-count": "1"}).json()["id"] == first
    other = create({"idempotency-key": "k-1"}, {"metadata": {"a": "b"}})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")
    assert create({}).json()["id"] != first


def test_paging_goes_through_every_batch_newest_first(client: openai.OpenAI):
    made = {begin(client, line("a")).id for _ in range(3)}
    seen = list(client.batches.list(limit=2))
    assert made <= {batch.id for batch in seen}
    assert len(seen) == len({batch.id for batch in seen})
    assert [batch.created_at for batch in seen] == sorted((b.created_at for b in seen), reverse=True)
    with pytest.raises(openai.BadRequestError):
        client.batches.list(limit=101)


def test_another_persons_batch_is_not_there(gateway: Gateway, client: openai.OpenAI):
    batch = ended(client, begin(client, line("a")).id)
    with gateway.client_of("Nosy") as other:
        assert other.get(f"/v1/batches/{batch.id}").status_code == 404
        assert other.post(f"/v1/batches/{batch.id}/cancel").status_code == 404
        assert other.get(f"/v1/files/{batch.output_file_id}/content").status_code == 404
        assert other.get("/v1/batches").json()["data"] == []


def test_what_has_ended_cannot_be_cancelled(client: openai.OpenAI):
    batch = ended(client, begin(client, line("a")).id)
    with pytest.raises(openai.ConflictError, match="completed"):
        client.batches.cancel(batch.id)


def test_a_person_has_only_so_many_batches_under_way(gateway: Gateway, client, monkeypatch):
    monkeypatch.setattr(batches, "MAX_UNFINISHED", 0)
    with pytest.raises(openai.RateLimitError):
        begin(client, line("a"))


def test_the_answers_live_as_long_as_was_asked(client: openai.OpenAI):
    life = {"anchor": "created_at", "seconds": 3600}
    batch = ended(client, begin(client, line("a"), output_expires_after=life).id)
    file = client.files.retrieve(batch.output_file_id or "")
    assert file.expires_at == file.created_at + 3600
