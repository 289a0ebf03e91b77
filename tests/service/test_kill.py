"""`kill -9` of the gateway while it writes: what was confirmed is there once, what was not is not or is once when it is
sent again, and nothing is charged that was not answered, or twice."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway_process import GatewayProcess, gateway_process
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy  # gateways that are started and killed

FEEDBACK = "select id, completion_id from feedback"
CHARGED = "select coalesce(sum(requests), 0), coalesce(sum(tokens), 0) from spendings"
ANSWERED = """select count(*), coalesce(sum(prompt_tokens + completion_tokens), 0) from completions
    where status = 'complete'"""
HELD = "select count(*), coalesce(sum(tokens), 0) from reservations where open"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> Iterator[GatewayProcess]:
    """One whose every key has a budget."""
    home = tmp_path_factory.mktemp("killed")
    with gateway_process(home, schema, TAILORBIRD_TOKENS_PER_DAY="1000000") as running:
        yield running


@pytest.fixture
def http(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {gateway.key}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=30) as client:
        yield client


def rows(gateway: GatewayProcess, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(gateway.home / "tailorbird.db", timeout=15)) as database:
        return database.execute(query).fetchall()


def asked(said: str, **more: Any) -> dict[str, Any]:
    return {"model": "fanal", "messages": [{"role": "user", "content": said}], **more}


def answered(http: httpx.Client) -> str:
    return http.post("/v1/chat/completions", json=asked("a")).raise_for_status().json()["id"]


def rate(http: httpx.Client, completion: str) -> str:
    """The id of the feedback; the completion's is its key."""
    body = {"completion_id": completion, "type": "rating", "rating": -1}
    given = http.post("/api/feedback", json=body, headers={"idempotency-key": completion})
    return given.raise_for_status().json()["id"]


until = partial(wait_until, every=0.005)


def charged_what_was_answered(gateway: GatewayProcess) -> None:
    """To the token: neither more, nor less, and nothing is held for somebody who is gone."""
    assert rows(gateway, CHARGED) == rows(gateway, ANSWERED)
    assert rows(gateway, HELD) == [(0, 0)]


def test_a_kill_inside_the_writing_of_feedback_and_of_what_an_answer_took_leaves_neither(
    gateway: GatewayProcess, http: httpx.Client
):
    completion, came = answered(http), []
    before = rows(gateway, CHARGED)

    def listen() -> None:
        with suppress(httpx.HTTPError), http.stream(
            "POST", "/v1/chat/completions", json=asked("SLOW a b c d", stream=True)
        ) as answer:  # fmt: skip
            came.extend(line for line in answer.iter_lines() if line)

    def give() -> None:
        with suppress(httpx.HTTPError):
            came.append(rate(http, completion))

    with closing(sqlite3.connect(gateway.home / "tailorbird.db", isolation_level=None)) as other:
        threads = [threading.Thread(target=listen)]
        threads[0].start()
        until(lambda: came)
        other.execute(
            "BEGIN IMMEDIATE"
        )  # whoever writes now stands inside its transaction, at its first statement
        threads.append(threading.Thread(target=give))
        threads[1].start()
        until(lambda: any('"finish_reason":"stop"' in line for line in came))
        time.sleep(0.2)
        gateway.kill()
    for thread in threads:
        thread.join()
    assert "data: [DONE]" not in came, "an end that is not written down is none"
    assert rows(gateway, HELD)[0][0] == 1
    gateway.start_again()
    assert rows(gateway, FEEDBACK) == []
    assert rows(gateway, CHARGED) == before
    assert rows(gateway, "select status from completions order by rowid") == [("complete",), ("interrupted",)]
    charged_what_was_answered(gateway)
    assert rate(http, completion) == rate(http, completion)
    assert len(rows(gateway, FEEDBACK)) == 1


def test_a_kill_amid_many_writers_loses_nothing_that_was_confirmed_and_doubles_nothing(
    gateway: GatewayProcess, http: httpx.Client
):
    completions, at_once, moment = [answered(http) for _ in range(24)], 8, 10
    confirmed: dict[str, str] = {}
    told: list[str] = []
    before = len(rows(gateway, FEEDBACK))

    def give(completion: str) -> None:
        with suppress(httpx.HTTPError):
            confirmed[completion] = rate(http, completion)

    def ask(_: int) -> None:
        with suppress(httpx.HTTPError):
            told.append(answered(http))

    with ThreadPoolExecutor(at_once) as pool:
        for number, completion in enumerate(completions):
            pool.submit(give, completion)
            pool.submit(ask, number)
        until(lambda: len(rows(gateway, FEEDBACK)) >= before + moment)
        gateway.kill()
    assert moment - at_once <= len(confirmed) < len(completions), "the kill came too late to matter"
    kept = {completion: given for given, completion in rows(gateway, FEEDBACK)}
    assert {completion: kept.get(completion) for completion in confirmed} == confirmed
    gateway.start_again()
    charged_what_was_answered(gateway)
    complete = {one for (one,) in rows(gateway, "select id from completions where status = 'complete'")}
    assert complete >= {*completions, *told}
    again = {completion: rate(http, completion) for completion in completions}
    assert again | confirmed == again
    assert len(rows(gateway, FEEDBACK)) == before + len(completions)
