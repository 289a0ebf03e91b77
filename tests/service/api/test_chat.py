import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import httpx
import openai
import pytest

from service import sample
from service.api import relay
from service.domain.endings import Ending
from tests.gateway import Gateway, running_gateway

INSTRUCTIONS = sample.company()["assistant"]["instructions"]


def ask(gateway: Gateway, **body) -> httpx.Response:
    body = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]} | body
    return gateway.admin.post("/v1/chat/completions", json=body)


def record(gateway: Gateway, completion_id: str) -> dict:
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.row_factory = sqlite3.Row
        row = database.execute("select * from completions where id = ?", (completion_id,)).fetchone()
    return dict(row) if row else {}


def test_an_answer_is_recorded_with_what_produced_it(gateway: Gateway):
    answer = ask(gateway, temperature=0.5, seed=7)
    assert answer.headers["x-tailorbird-release"] == "fanal@base"
    assert answer.headers["x-tailorbird-adapter"] == "base"
    assert answer.headers["x-request-id"].startswith("req_")
    kept = record(gateway, answer.json()["id"])
    assert kept["status"] == "complete"
    assert kept["output"] == answer.json()["choices"][0]["message"]["content"]
    assert kept["instructions"] == INSTRUCTIONS
    assert '"temperature": 0.5' in kept["sampling"]
    assert '"seed": 7' in kept["sampling"]
    assert kept["engine"] == "vllm 0.0.fake"


def test_instructions_come_first_and_the_callers_own_follow(gateway: Gateway):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    ask(gateway, messages=messages)
    sent = gateway.engine_bodies[-1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user"]
    assert sent[0]["content"] == f"{INSTRUCTIONS}\n\nBe brief."


def test_the_base_model_gets_no_instructions(gateway: Gateway):
    assert ask(gateway, model=gateway.settings.model_name).status_code == 200
    assert [message["role"] for message in gateway.engine_bodies[-1]["messages"]] == ["user"]


def test_what_the_engine_remembers_of_prompts_is_each_persons_own(gateway: Gateway):
    question = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]}
    with gateway.client_of("anna") as anna, gateway.client_of("ben") as ben:
        for client in (anna, anna, ben):
            client.post("/v1/chat/completions", json=question).raise_for_status()
        prompt = {"model": gateway.settings.model_name, "prompt": "hello"}
        ben.post("/v1/completions", json=prompt).raise_for_status()
    first, again, other, raw = [body["cache_salt"] for body in gateway.engine_bodies[-4:]]
    assert first == again != other == raw
    assert len(first) >= 32


def test_store_false_leaves_no_record(gateway: Gateway):
    assert record(gateway, ask(gateway, store=False).json()["id"]) == {}


@pytest.mark.heavy
def test_a_service_that_records_nothing_answers_and_keeps_no_word(tmp_path: Path, schema: Path):
    with running_gateway(tmp_path, schema, record=False) as silent:
        whole = ask(silent, messages=[{"role": "user", "content": "hello rarissime"}])
        assert whole.json()["choices"][0]["message"]["content"]
        streamed = ask(silent, messages=[{"role": "user", "content": "hello rarissime"}], stream=True)
        assert streamed.text.rstrip().endswith("data: [DONE]")
        rating = {"completion_id": whole.json()["id"], "type": "rating", "rating": 1}
        assert silent.admin.post("/api/feedback", json=rating).status_code == 404
        assert (
            silent.admin.post("/api/duels", json={"assistant": "fanal", "question": "hello"}).status_code
            == 409
        )
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"rarissime" not in kept


def test_the_sdk_streams_and_the_record_is_there_when_the_stream_ends(gateway: Gateway):
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key)
    options: dict = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model="fanal",
            messages=[{"role": "user", "content": "a b c"}],
            stream=True,
            stream_options=options,
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.endswith("heard a b c")
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert {chunk.model for chunk in chunks} == {"fanal"}
    kept = record(gateway, chunks[0].id)
    assert (kept["status"], kept["output"], kept["finish_reason"]) == ("complete", text, "stop")


def test_no_word_is_given_away_before_the_question_is_written_down(gateway: Gateway):
    path = gateway.settings.home / "tailorbird.db"
    with sqlite3.connect(path, isolation_level=None, check_same_thread=False) as holder:
        holder.execute("BEGIN IMMEDIATE")  # the engine answers at once; the record has to wait
        threading.Timer(0.4, holder.execute, ["COMMIT"]).start()
        body = {"model": "fanal", "messages": [{"role": "user", "content": "SLOW " * 200}], "stream": True}
        with gateway.admin.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()  # held: an iterator that nobody holds closes its connection
            first = next(lines)
            assert not holder.in_transaction
            assert record(gateway, json.loads(first[6:])["id"])["status"] == "running"


@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_written_down_is_not_answered(gateway: Gateway, stream: bool):
    path, message = gateway.settings.home / "tailorbird.db", {"role": "user", "content": "a b"}
    body = {"model": "fanal", "messages": [message], "stream": stream}
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("ALTER TABLE completions RENAME TO gone")
    try:
        answer = gateway.admin.post("/v1/chat/completions", json=body)
    finally:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("ALTER TABLE gone RENAME TO completions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert "heard" not in answer.text
    assert gateway.admin.post("/v1/chat/completions", json=body).status_code == 200
    assert "tailorbird_answers_under_way 0.0" in gateway.admin.get("/metrics").text


def test_a_key_that_is_revoked_is_refused_from_the_next_request_on(gateway: Gateway):
    with gateway.client_of("Ines") as other:
        asks = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]}
        assert other.post("/v1/chat/completions", json=asks).status_code == 200
        (mine,) = other.get("/api/keys").raise_for_status().json()["data"]
        gateway.admin.delete(f"/api/keys/{mine['id']}").raise_for_status()
        assert other.post("/v1/chat/completions", json=asks).status_code == 401


def test_what_is_changed_about_an_assistant_holds_from_the_next_request_on(gateway: Gateway):
    for instructions in ("Be brief.", "Be long.", INSTRUCTIONS):
        change = {"instructions": instructions}
        gateway.admin.patch("/api/assistants/fanal", json=change).raise_for_status()
        assert record(gateway, ask(gateway).json()["id"])["instructions"] == instructions


def test_usage_is_left_out_of_a_stream_that_did_not_ask_for_it(gateway: Gateway):
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key)
    stream = client.chat.completions.create(
        model="fanal", messages=[{"role": "user", "content": "a"}], stream=True
    )
    assert all(chunk.choices for chunk in stream)


def test_an_engine_that_breaks_off_is_an_error_and_never_an_end(gateway: Gateway):
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    stream = client.chat.completions.create(
        model="fanal", messages=[{"role": "user", "content": "BREAK a b c"}], stream=True
    )
    first = next(stream)
    with pytest.raises(openai.APIError, match="engine"):
        list(stream)
    assert record(gateway, first.id)["status"] == "failed"
    assert ask(gateway, messages=[{"role": "user", "content": "BREAK"}]).status_code == 502


def test_a_mistake_of_ours_in_the_middle_is_recorded_as_a_failure(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    ids: list[str] = []

    def mistaken(data: bytes, asked: relay.Asked, ending: Ending) -> dict | None:
        ids.append(asked.completion_id)
        return taken(data, asked, ending) if len(ids) < 3 else {"no": 1 / 0}

    taken = relay._taken
    monkeypatch.setattr(relay, "_taken", mistaken)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(gateway, messages=[{"role": "user", "content": "SLOW a b c"}], stream=True)
    assert record(gateway, ids[0])["status"] == "failed"


def test_a_reader_who_leaves_leaves_an_interrupted_record(gateway: Gateway):
    body = {"model": "fanal", "messages": [{"role": "user", "content": "SLOW " * 40}], "stream": True}
    with gateway.admin.stream("POST", "/v1/chat/completions", json=body) as response:
        line = next(line for line in response.iter_lines() if '"content":"smol' in line)
    completion_id = line.split('"id":"')[1].split('"')[0]
    for _ in range(100):
        kept = record(gateway, completion_id)
        if kept["status"] != "running":
            break
        ask(gateway)
    assert kept["status"] == "interrupted"
    assert kept["output"]


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"model": "nobody"}, 404, "model", "model_not_found"),
        ({"model": "fanal@9"}, 404, "model", "model_not_found"),
        ({"model": "ft:nothing"}, 404, "model", "model_not_found"),
        ({"messages": []}, 400, "messages", "invalid_value"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "messages.0.role", "invalid_value"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "messages.0", "invalid_value"),
        ({"n": 10_000}, 400, "n", "invalid_value"),
        ({"temperature": 9}, 400, "temperature", "invalid_value"),
        ({"chat_template": "{{ messages }}"}, 400, "chat_template", "unsupported_parameter"),
        ({"cache_salt": "other"}, 400, "cache_salt", "unsupported_parameter"),
    ],
)
def test_a_bad_request_is_told_in_openais_shape(gateway: Gateway, change, status, param, code):
    answer = ask(gateway, **change)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_nothing_answers_without_a_good_key(gateway: Gateway):
    for headers in ({}, {"authorization": "Bearer tb-wrong"}, {"authorization": "Basic abc"}):
        for method, path in (
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/models"),
            ("GET", "/api/feedback"),
        ):
            answer = httpx.request(
                method, gateway.url + path, headers=headers, json={} if method == "POST" else None
            )
            assert answer.status_code == 401, path
            assert answer.json()["error"]["code"] == "invalid_api_key"


def test_every_route_refuses_a_stranger(gateway: Gateway):
    description = httpx.get(f"{gateway.url}/openapi.json", timeout=60).json()
    open_to_all = {("get", "/healthz"), ("get", "/readyz"), ("post", "/api/session")}
    for path, methods in description["paths"].items():
        for method in methods.keys() & {"get", "post", "patch", "delete", "put"}:
            if (method, path) in open_to_all:
                continue
            answer = httpx.request(method, gateway.url + path.replace("{", "").replace("}", ""), json={})
            assert answer.status_code == 401, (method, path)


def test_an_unknown_address_and_broken_json_have_openais_shape(gateway: Gateway):
    assert gateway.admin.get("/v1/nothing").json()["error"]["code"] == "unknown_url"
    broken = gateway.admin.post(
        "/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
    )
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")


def test_a_conversation_without_a_name_is_none(gateway: Gateway):
    refused = ask(gateway, metadata={"conversation": ""})
    assert (refused.status_code, refused.json()["error"]["type"]) == (404, "invalid_request_error")


def test_another_persons_conversation_cannot_be_written_to(gateway: Gateway):
    conversation = gateway.admin.post("/api/conversations", json={"assistant": "fanal"}).json()["id"]
    with gateway.client_of("Mallory") as other:
        body = {
            "model": "fanal", "messages": [{"role": "user", "content": "hello"}],
            "metadata": {"conversation": conversation},
        }  # fmt: skip
        assert other.post("/v1/chat/completions", json=body).status_code == 404
        assert other.get(f"/api/conversations/{conversation}").status_code == 404
    assert gateway.admin.get(f"/api/conversations/{conversation}").json()["turns"] == []


@pytest.mark.parametrize("stream", [True, False])
def test_a_reader_who_leaves_before_the_first_word_frees_the_place(gateway: Gateway, stream: bool):
    body = {"model": "fanal", "messages": [{"role": "user", "content": "LATE SLOW a"}], "stream": stream}
    with pytest.raises(httpx.ReadTimeout):
        gateway.admin.post("/v1/chat/completions", json=body, timeout=0.3)
    latest = "select status from completions order by created_at desc"
    status = "running"
    for _ in range(100):
        under_way = gateway.admin.get("/api/status").json()["chats_under_way"]
        with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
            (status,) = database.execute(latest).fetchone()
        if under_way == 0 and status != "running":
            break
    assert (under_way, status) == (0, "interrupted")
