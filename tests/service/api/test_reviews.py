import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import material, review_queue
from service.storage.local import Store
from tests.gateway import Gateway

Corrected = Callable[[], str]


@pytest.fixture(scope="module")
def gateway(own_gateway: Gateway) -> Gateway:
    """One of its own: what waits must be what these tests said."""
    return own_gateway


@pytest.fixture
def reviewer(gateway: Gateway) -> httpx.Client:
    """Somebody new, who judged nothing yet."""
    return gateway.client_of("Rita", "reviewer")


@pytest.fixture
def corrected(gateway: Gateway) -> Iterator[Corrected]:
    """An answer that somebody new corrected, for each call; after the test none of them waits any more."""
    said: list[tuple[httpx.Client, str]] = []

    def one() -> str:
        client = gateway.client_of("Speaker")
        body = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]}
        completion = client.post("/v1/chat/completions", json=body).json()["id"]
        better = {"completion_id": completion, "type": "correction", "correction": "good day"}
        client.post("/api/feedback", json=better).raise_for_status()
        said.append((client, completion))
        return completion

    yield one
    for client, completion in said:
        client.delete(f"/v1/chat/completions/{completion}").raise_for_status()


def judge(client: httpx.Client, completion: str, key: str | None = None, **more: Any) -> httpx.Response:
    headers = {"idempotency-key": key} if key else {}
    body = {"completion_id": completion, "verdict": "approve", **more}
    return client.post("/api/reviews", json=body, headers=headers)


def test_a_verdict_is_given_once_and_undone(reviewer: httpx.Client, corrected: Corrected):
    completion = corrected()
    found = reviewer.post("/api/reviews/next").json()
    assert (found["item"]["completion_id"], found["item"]["why"]) == (completion, "correction")
    rubric = {"accurate": "no", "polite": "yes"}
    given = [judge(reviewer, completion, "once", rubric=rubric).json() for _ in range(3)]
    assert given[0] == given[1] == given[2]
    assert (given[0]["verdict"], given[0]["rubric"]) == ("approve", rubric)
    assert reviewer.get("/api/reviews").json()["data"] == [given[0]]
    again = judge(reviewer, completion)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "review_not_waiting")
    undone = reviewer.delete(f"/api/reviews/{given[0]['id']}").json()
    assert undone["undone"]
    assert judge(reviewer, completion, verdict="reject").status_code == 201


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """The answers to calls that start together, each in a thread and by a connection of its own."""
    ready = threading.Barrier(len(calls))
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(lambda call: (ready.wait(), call())[1], calls))


def test_reviewers_who_ask_at_once_get_an_answer_each_and_the_first_verdict_alone_counts(
    gateway: Gateway, corrected: Corrected, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(review_queue, "_one_in", lambda *_: False)  # some answers wait for two verdicts
    waiting = {corrected() for _ in range(4)}
    team = [gateway.client_of("Racer", "reviewer") for _ in waiting]
    for _ in range(3):  # what each is shown is kept for them
        shown = at_once([partial(one.post, "/api/reviews/next") for one in team])
        assert {one.json()["item"]["completion_id"] for one in shown} == waiting
    for completion in waiting:
        given = at_once([partial(judge, one, completion) for one in team])
        assert sorted(one.status_code for one in given) == [201, 409, 409, 409]
        assert {one.json()["error"]["code"] for one in given if one.is_error} == {"review_not_waiting"}


def test_a_rejected_answer_is_left_out_of_the_next_round(
    gateway: Gateway, reviewer: httpx.Client, corrected: Corrected
):
    completion = corrected()
    judge(reviewer, completion, verdict="reject").raise_for_status()
    ready = gateway.admin.get("/api/assistants/fanal/readiness").json()
    assert ready["excluded"]["rejected"] >= 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/reviews/next"), ("POST", "/api/reviews"), ("GET", "/api/reviews"),
        ("GET", "/api/reviews/agreement"), ("GET", "/api/reviews/golden"), ("PUT", "/api/reviews/golden/x"),
        ("DELETE", "/api/reviews/golden/x"), ("DELETE", "/api/reviews/x"),
    ],
)  # fmt: skip
def test_reviews_are_for_reviewers(gateway: Gateway, method: str, path: str):
    bodies = {"POST": {"completion_id": "x", "verdict": "approve"}, "PUT": {"expected": "approve"}}
    answer = gateway.client_of("Nosy").request(method, path, json=bodies.get(method))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_permissions")
    assert httpx.request(method, f"{gateway.url}{path}", json=bodies.get(method)).status_code == 401


def test_a_review_is_undone_by_its_author_alone(
    gateway: Gateway, reviewer: httpx.Client, corrected: Corrected
):
    given = judge(reviewer, corrected()).raise_for_status().json()
    assert gateway.admin.delete(f"/api/reviews/{given['id']}").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"verdict": "correct"}, {"verdict": "correct", "correction": "  "}, {"verdict": "skip"},
        {"verdict": "approve", "correction": "x"}, {"verdict": "approve", "skip_reason": "unclear"},
        {"verdict": "perhaps"}, {"rubric": {"accurate": "very"}}, {"rubric": {"colour": "yes"}}, {"surprise": 1},
    ],
)  # fmt: skip
def test_a_verdict_that_says_nothing_usable_is_refused(reviewer: httpx.Client, body: dict[str, Any]):
    assert judge(reviewer, "chatcmpl-x", **body).status_code == 400


def test_an_agreed_verdict_is_listed_to_who_agreed_on_it(
    gateway: Gateway, reviewer: httpx.Client, corrected: Corrected
):
    completion = corrected()
    path = f"/api/reviews/golden/{completion}"
    assert reviewer.put(path, json={"expected": "approve"}).json()["error"]["code"] == "golden_unjudged"
    judge(reviewer, completion).raise_for_status()
    assert reviewer.put(path, json={"expected": "approve"}).json()["expected"] == "approve"
    assert reviewer.put(path, json={"expected": "reject"}).json()["error"]["code"] == "golden_differs"
    assert [one["completion_id"] for one in reviewer.get("/api/reviews/golden").json()["data"]] == [
        completion
    ]
    assert gateway.admin.get("/api/reviews/golden").json()["data"] == []
    assert reviewer.delete(path).json()["deleted"]
    assert reviewer.get("/api/reviews/golden").json()["data"] == []


def test_agreement_is_told_of_one_assistant_or_of_all(reviewer: httpx.Client, corrected: Corrected):
    judge(reviewer, corrected()).raise_for_status()
    found = reviewer.get("/api/reviews/agreement").json()
    assert reviewer.get("/api/me").json()["name"] in [one["name"] for one in found["people"]]
    assert reviewer.get("/api/reviews/agreement", params={"assistant": "none"}).json()["people"] == []


def test_an_assistant_whose_feedback_cannot_be_sorted_holds_up_no_review_of_another(
    gateway: Gateway, reviewer: httpx.Client, corrected: Corrected, monkeypatch: pytest.MonkeyPatch
):
    take_in = material.take_in

    async def breaks(session: AsyncSession, store: Store, name: str) -> bool:
        if name == "broken":
            raise OperationalError("select", {}, sqlite3.OperationalError("Could not decode to UTF-8 column"))
        return await take_in(session, store, name)

    monkeypatch.setattr(material, "take_in", breaks)
    gateway.admin.post("/api/assistants", json={"name": "broken", "title": "B"}).raise_for_status()
    body = {"model": "broken", "messages": [{"role": "user", "content": "hello"}]}
    unsorted = gateway.admin.post("/v1/chat/completions", json=body).json()["id"]
    better = {"completion_id": unsorted, "type": "correction", "correction": "good day"}
    gateway.admin.post("/api/feedback", json=better).raise_for_status()
    completion = corrected()
    found = reviewer.post("/api/reviews/next").raise_for_status().json()
    assert found["item"]["completion_id"] == completion
    gateway.admin.delete(f"/v1/chat/completions/{unsorted}").raise_for_status()
