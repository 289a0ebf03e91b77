import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace

import httpx
import openai
import pytest

from tests.gateway import Gateway

CLIENT = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None))
"""One for all: a new one each time costs more than the gateway does."""


def make_key(gateway: Gateway, **limits: int) -> tuple[str, str]:
    made = gateway.admin.post("/api/keys", json={"name": "app", "limits": limits}).raise_for_status().json()
    return made["key"]["id"], made["secret"]


def ask(gateway: Gateway, secret: str, question: str = "hello", **body) -> httpx.Response:
    body = {"model": "fanal", "messages": [{"role": "user", "content": question}], "max_tokens": 20} | body
    headers = {"authorization": f"Bearer {secret}"}
    return CLIENT.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers)


def rows(gateway: Gateway, query: str, *values) -> list:
    with closing(sqlite3.connect(gateway.settings.home / "tailorbird.db", timeout=15)) as database, database:
        return database.execute(query, values).fetchall()


def spent(gateway: Gateway, key_id: str) -> tuple[int, int]:
    found = rows(gateway, "select requests, tokens from spendings where budget_id = ?", key_id)
    return found[0] if found else (0, 0)


def held_open(gateway: Gateway, key_id: str) -> int:
    query = "select count(*) from reservations where budget_id = ? and open"
    return rows(gateway, query, key_id)[0][0]


def at_once(gateway: Gateway, secret: str, count: int, **body) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: ask(gateway, secret, **body), range(count)))


@pytest.mark.heavy
def test_of_a_hundred_requests_at_once_exactly_ten_pass_a_limit_of_ten(gateway: Gateway, monkeypatch):
    monkeypatch.setattr(gateway.settings, "max_waiting", 200)
    key_id, secret = make_key(gateway, requests_per_minute=10)
    before = len(gateway.engine_bodies)
    answers = at_once(gateway, secret, 100)
    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 90}
    assert len(gateway.engine_bodies) - before == 10
    assert spent(gateway, key_id)[0] == 10


@pytest.mark.heavy
def test_a_hundred_requests_at_once_never_spend_more_than_the_days_budget(gateway: Gateway, monkeypatch):
    monkeypatch.setattr(gateway.settings, "max_waiting", 200)
    key_id, secret = make_key(gateway, tokens_per_day=9_000)
    answers = at_once(gateway, secret, 100, model=gateway.settings.model_name, messages=[
        {"role": "user", "content": "word " * 400}
    ])  # fmt: skip
    used = sum(a.json()["usage"]["total_tokens"] for a in answers if a.status_code == 200)
    assert {answer.status_code for answer in answers} == {200, 429}
    assert {a.json()["error"]["code"] for a in answers if a.status_code == 429} == {"insufficient_quota"}
    passed = sum(answer.status_code == 200 for answer in answers)
    assert spent(gateway, key_id) == (passed, used)
    assert used <= 9_000
    assert held_open(gateway, key_id) == 0


def test_a_refusal_has_openais_shape_and_says_when_to_come_again(gateway: Gateway):
    _, secret = make_key(gateway, requests_per_minute=1)
    assert ask(gateway, secret).status_code == 200
    answer = ask(gateway, secret)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (429, "rate_limit_exceeded", "requests")
    assert 50 < int(answer.headers["retry-after-ms"]) / 1000 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-should-retry" not in answer.headers


def test_the_sdk_waits_as_told_and_is_then_served(gateway: Gateway, monkeypatch):
    key_id, secret = make_key(gateway, requests_per_minute=1)
    assert ask(gateway, secret).status_code == 200
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        rows(gateway, "update reservations set at = at - ? where budget_id = ?", seconds, key_id)

    clock = SimpleNamespace(**vars(time) | {"sleep": sleep})
    monkeypatch.setattr("openai._base_client.time", clock)
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=1)
    answer = client.chat.completions.with_raw_response.create(
        model="fanal", messages=[{"role": "user", "content": "hello"}]
    )
    assert answer.retries_taken == 1
    assert 1 < slept[0] <= 60
    assert answer.parse().choices[0].message.content


def test_the_sdk_does_not_come_again_on_a_day_that_is_spent(gateway: Gateway):
    key_id, secret = make_key(gateway, tokens_per_day=3000)
    assert ask(gateway, secret).status_code == 200
    rows(gateway, "update spendings set tokens = 2999 where budget_id = ?", key_id)
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=5)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(
            model="fanal", messages=[{"role": "user", "content": "word " * 100}], max_tokens=20
        )
    assert caught.value.code == "insufficient_quota"
    assert caught.value.type == "insufficient_quota"
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
    assert int(caught.value.response.headers["retry-after"]) <= 86_400


def test_headers_say_what_is_left_streamed_or_whole(gateway: Gateway):
    _, secret = make_key(gateway, requests_per_minute=5, tokens_per_minute=100_000)
    whole = ask(gateway, secret)
    streamed = ask(gateway, secret, stream=True)
    for answer, left in ((whole, "4"), (streamed, "3")):
        assert answer.headers["x-ratelimit-limit-requests"] == "5"
        assert answer.headers["x-ratelimit-remaining-requests"] == left
        assert answer.headers["x-ratelimit-reset-requests"] == "1m0s"
        assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
        assert 90_000 < int(answer.headers["x-ratelimit-remaining-tokens"]) < 100_000
        assert answer.headers["x-ratelimit-reset-tokens"] == "1m0s"


def test_without_a_limit_there_are_no_such_headers_and_nothing_is_counted(gateway: Gateway):
    answer = ask(gateway, gateway.key)
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert answer.headers["x-request-id"]
    listed = gateway.admin.get("/v1/models")
    assert listed.headers["x-request-id"]
    assert listed.headers["openai-processing-ms"]
    assert "openai-processing-ms" not in gateway.admin.get("/api/keys").headers


def test_what_the_engine_refuses_costs_nothing(gateway: Gateway):
    key_id, secret = make_key(gateway, requests_per_minute=3, tokens_per_day=100_000)
    for stream in (False, True):
        assert ask(gateway, secret, "TOO LONG", stream=stream).status_code == 400
    assert ask(gateway, secret, "hello", metadata={"conversation": "conv_nobodys"}).status_code == 404
    assert (spent(gateway, key_id), held_open(gateway, key_id)) == ((0, 0), 0)


def test_a_reader_who_leaves_pays_for_what_was_written(gateway: Gateway):
    key_id, secret = make_key(gateway, tokens_per_day=100_000)
    body = {"model": "fanal", "messages": [{"role": "user", "content": "SLOW " * 60}], "stream": True}
    headers = {"authorization": f"Bearer {secret}"}
    with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, headers=headers) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        read = [next(lines) for _ in range(5)]
    assert not any('"usage":{' in line for line in read)
    for _ in range(200):
        if held_open(gateway, key_id) == 0:
            break
        ask(gateway, gateway.key)
    assert held_open(gateway, key_id) == 0
    requests, tokens = spent(gateway, key_id)
    assert requests == 1
    assert 3 + 4 <= tokens < 3 + 62


def test_an_answer_that_breaks_off_pays_for_what_was_written(gateway: Gateway):
    key_id, secret = make_key(gateway, tokens_per_day=100_000)
    ask(gateway, secret, "BREAK a b c d", stream=True)
    assert spent(gateway, key_id) == (1, 3 + 2)


def test_figures_of_each_chunk_stay_inside_and_the_last_ones_reach_who_asked(gateway: Gateway):
    _, secret = make_key(gateway, tokens_per_day=100_000)
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret)
    chunks = list(
        client.chat.completions.create(
            model="fanal", messages=[{"role": "user", "content": "a"}], stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage is not None


def test_a_ledger_that_cannot_be_written_lets_nothing_through(gateway: Gateway):
    _, secret = make_key(gateway, requests_per_minute=5)
    before = len(gateway.engine_bodies)
    rows(gateway, "alter table spendings rename to aside")
    try:
        answer = ask(gateway, secret)
    finally:
        rows(gateway, "alter table aside rename to spendings")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert answer.headers["retry-after"]
    assert len(gateway.engine_bodies) == before
    assert ask(gateway, secret).status_code == 200


def test_an_administrator_changes_what_a_key_may_spend_at_once(gateway: Gateway):
    key_id, secret = make_key(gateway, requests_per_minute=1)
    assert [ask(gateway, secret).status_code for _ in range(2)] == [200, 429]
    changed = gateway.admin.patch(f"/api/keys/{key_id}", json={"limits": {"requests_per_minute": 3}})
    assert changed.json()["limits"] == {
        "requests_per_minute": 3, "tokens_per_minute": None, "tokens_per_day": None
    }  # fmt: skip
    assert [ask(gateway, secret).status_code for _ in range(3)] == [200, 200, 429]
    listed = {key["id"]: key["limits"] for key in gateway.admin.get("/api/keys").json()["data"]}
    assert listed[key_id]["requests_per_minute"] == 3
    assert gateway.admin.patch("/api/keys/key_none", json={"limits": {}}).status_code == 404
    wrong = gateway.admin.patch(f"/api/keys/{key_id}", json={"limits": {"tokens_per_day": -1}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "limits.tokens_per_day")


def test_only_an_administrator_decides_about_limits_and_nobody_gets_more_by_making_keys(gateway: Gateway):
    with gateway.client_of("Uma") as user:
        own = user.get("/api/keys").json()["data"][0]["id"]
        assert user.patch(f"/api/keys/{own}", json={"limits": {}}).status_code == 403
        assert user.post("/api/keys", json={"name": "n", "limits": {}}).status_code == 403
        gateway.admin.patch(f"/api/keys/{own}", json={"limits": {"requests_per_minute": 2}})
        second = user.post("/api/keys", json={"name": "second"}).json()
        secret = user.headers["authorization"].removeprefix("Bearer ")
        session = user.post("/api/session", json={"key": secret}).json()["token"]
    assert second["key"]["limits"]["requests_per_minute"] == 2
    assert [ask(gateway, key).status_code for key in (secret, second["secret"])] == [200, 200]
    assert [ask(gateway, key).status_code for key in (secret, second["secret"], session)] == [429] * 3


def test_the_houses_default_holds_for_who_has_no_limit_and_a_zero_lifts_it(gateway: Gateway, monkeypatch):
    monkeypatch.setattr(gateway.settings, "requests_per_minute", 1)
    _, plain = make_key(gateway)
    _, free = make_key(gateway, requests_per_minute=0)
    assert [ask(gateway, plain).status_code for _ in range(2)] == [200, 429]
    assert [ask(gateway, free).status_code for _ in range(3)] == [200] * 3


def test_overload_is_refused_with_a_time_to_come_again(gateway: Gateway, monkeypatch):
    monkeypatch.setattr(gateway.settings, "max_waiting", 3)
    answers = at_once(gateway, gateway.key, 12, question="LATE SLOW a", stream=True)
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 9 - 3
    assert {answer.json()["error"]["code"] for answer in refused} == {"rate_limit_exceeded"}
    assert all(answer.headers["retry-after"] and answer.headers["retry-after-ms"] for answer in refused)
