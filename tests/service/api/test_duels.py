import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.gateway import Gateway


def start(client: httpx.Client, question: str = "hello", **more: Any) -> dict[str, Any]:
    body = {"assistant": "fanal", "question": question, **more}
    return client.post("/api/duels", json=body).raise_for_status().json()


def vote(client: httpx.Client, duel: dict[str, Any], key: str | None = None, **given: Any) -> httpx.Response:
    headers = {"idempotency-key": key} if key else {}
    return client.post(f"/api/duels/{duel['id']}/vote", json=given, headers=headers)


@pytest.fixture(scope="module")
def person(gateway: Gateway) -> httpx.Client:
    return gateway.client_of("Duellist")


@contextmanager
def database(gateway: Gateway) -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def test_both_answers_come_together_and_nothing_says_who_wrote_them(gateway: Gateway, person: httpx.Client):
    answer = person.post("/api/duels", json={"assistant": "fanal", "question": "who are you?"})
    duel = answer.json()
    assert (duel["status"], duel["names"], duel["feedback_id"]) == ("ready", None, None)
    assert "who are you?" in duel["a"]
    assert "who are you?" in duel["b"]
    assert not [name for name in answer.headers if name.startswith("x-tailorbird")]
    with database(gateway) as connection:
        row = connection.execute("select * from duels where id = ?", (duel["id"],)).fetchone()
        asked = [connection.execute("select * from completions where id = ?", (row[side],)).fetchone()
                 for side in ("a_completion_id", "b_completion_id")]  # fmt: skip
    assert [one["channel"] for one in asked] == ["duel", "duel"]
    assert asked[0]["messages"] == asked[1]["messages"]
    assert asked[0]["sampling"] != asked[1]["sampling"]  # each has its own seed
    listed = person.get("/v1/chat/completions").json()["data"]
    assert not {one["id"] for one in asked} & {one["id"] for one in listed}
    assert person.get(f"/v1/chat/completions/{row['a_completion_id']}").status_code == 404


def test_a_choice_becomes_a_preference_and_tells_the_names(gateway: Gateway, person: httpx.Client):
    duel = start(person)
    decided = vote(person, duel, choice="b", strength=3, reasons=["accurate"], comment="It is right.").json()
    names = decided["names"]
    assert (decided["status"], names["pairing"], names["a"], names["b"]) == ("decided", "same", 0, 0)
    given = person.get("/api/feedback", params={"completion_id": names["a_completion_id"]}).json()["data"]
    assert [(one["type"], one["preferred_completion_id"], one["preference"]) for one in given] == [
        ("preference", names["b_completion_id"], "better")
    ]
    assert given[0]["left_completion_id"] == names["a_completion_id"], (
        "on the screen, the first stands on the left"
    )
    assert (given[0]["id"], given[0]["comment"]) == (decided["feedback_id"], "It is right.")
    assert person.get(f"/api/duels/{duel['id']}").json() == decided


def test_an_answer_that_was_cut_off_is_told_by_its_side_alone(gateway: Gateway, person: httpx.Client):
    duel = start(person)
    assert duel["cut_off"] == []
    with database(gateway) as connection:
        row = connection.execute("select * from duels where id = ?", (duel["id"],)).fetchone()
        cut = "update completions set finish_reason = 'length' where id = ?"
        connection.execute(cut, (row["b_completion_id"],))
    shown = person.get(f"/api/duels/{duel['id']}").json()
    assert (shown["cut_off"], shown["names"]) == (["b"], None)


@pytest.mark.parametrize("choice", ["tie", "both_bad"])
def test_neither_is_better_is_kept_and_trains_nothing(gateway: Gateway, choice: str):
    assistant = f"no-{choice.replace('_', '-')}"
    gateway.admin.post("/api/assistants", json={"name": assistant, "title": "No"}).raise_for_status()
    duel = start(gateway.admin, assistant=assistant)
    assert vote(gateway.admin, duel, choice=choice).json()["choice"] == choice
    (given,) = gateway.admin.get("/api/feedback", params={"assistant": assistant}).json()["data"]
    assert (given["type"], given["preference"]) == ("preference", choice)
    assert gateway.admin.get(f"/api/assistants/{assistant}/readiness").json()["pairs"] == 0


def test_a_choice_is_made_once_and_a_repeat_of_it_changes_nothing(person: httpx.Client):
    duel = start(person)
    answers = [vote(person, duel, "once", choice="a").json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    again = vote(person, duel, choice="b")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "duel_over")
    given = person.get("/api/feedback", params={"completion_id": answers[0]["names"]["b_completion_id"]})
    assert len(given.json()["data"]) == 1


def test_nothing_can_be_chosen_once_the_names_are_told(person: httpx.Client):
    duel = start(person)
    told = person.post(f"/api/duels/{duel['id']}/reveal").json()
    assert (told["status"], told["names"]["a"], told["choice"]) == ("revealed", 0, None)
    assert vote(person, duel, choice="a").json()["error"]["code"] == "duel_over"


def test_nothing_can_be_chosen_nor_read_before_both_answers_are_complete(
    gateway: Gateway, person: httpx.Client
):
    duel = start(person)
    with database(gateway) as connection:
        connection.execute("update duels set status = 'writing' where id = ?", (duel["id"],))
    refused = vote(person, duel, choice="a")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "duel_not_ready")
    assert person.post(f"/api/duels/{duel['id']}/reveal").status_code == 409
    seen = person.get(f"/api/duels/{duel['id']}").json()
    assert (seen["a"], seen["b"], seen["names"]) == (None, None, None)


def test_an_answer_that_breaks_off_ends_the_duel_and_gives_both_places_back(
    gateway: Gateway, person: httpx.Client
):
    broken = person.post("/api/duels", json={"assistant": "fanal", "question": "BREAK"})
    assert broken.status_code == 502
    duel = person.get("/api/duels", params={"limit": 1}).json()["data"][0]
    assert (duel["status"], duel["a"]) == ("failed", None)
    assert vote(person, duel, choice="a").json()["error"]["code"] == "duel_failed"
    assert gateway.admin.get("/api/status").json()["chats_under_way"] == 0


def test_a_duel_is_its_owners_alone(gateway: Gateway, person: httpx.Client):
    duel = start(person)
    for other in (gateway.client_of("Onlooker"), gateway.admin):
        assert other.get(f"/api/duels/{duel['id']}").status_code == 404
        assert vote(other, duel, choice="a").status_code == 404
        assert duel["id"] not in {one["id"] for one in other.get("/api/duels").json()["data"]}
    assert httpx.post(f"{gateway.url}/api/duels", json={}).status_code == 401


@pytest.mark.parametrize(
    "given", [{}, {"choice": "c"}, {"choice": "tie", "strength": 2}, {"choice": "a", "strength": 4}]
)
def test_a_choice_that_says_nothing_usable_is_refused(person: httpx.Client, given: dict[str, Any]):
    assert vote(person, start(person), **given).status_code == 400


def test_a_pairing_that_the_assistant_has_not_releases_for_is_refused(person: httpx.Client):
    body = {"assistant": "fanal", "question": "hello", "pairing": "releases"}
    refused = person.post("/api/duels", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "too_few_releases")


def test_a_deleted_duel_is_erased_unless_a_choice_leads_back_to_it(gateway: Gateway, person: httpx.Client):
    kept, dropped = start(person, "kept secret"), start(person, "dropped secret")
    names = vote(person, kept, choice="a").json()["names"]
    with database(gateway) as connection:
        query = "select a_completion_id, b_completion_id from duels where id = ?"
        answers = connection.execute(query, (dropped["id"],)).fetchone()
    for duel in (kept, dropped):
        assert gateway.admin.delete(f"/api/duels/{duel['id']}").status_code == 404
        assert person.delete(f"/api/duels/{duel['id']}").json()["deleted"]
        assert person.get(f"/api/duels/{duel['id']}").status_code == 404
    with database(gateway) as connection:
        query = "select messages, output, deleted_at from completions where id = ?"
        for completion in answers:
            row = connection.execute(query, (completion,)).fetchone()
            assert (row["messages"], row["output"]) == ("[]", "")
        row = connection.execute(query, (names["a_completion_id"],)).fetchone()
        assert "kept secret" in row["output"]
        assert row["deleted_at"] is not None


def test_an_administrator_closes_comparing_to_users_and_opens_it_again(
    gateway: Gateway, person: httpx.Client
):
    wanted, reviewer = {"assistant": "fanal", "question": "hello"}, gateway.client_of("Judge", "reviewer")
    assert person.get("/api/me").json()["compares"]
    for opened in (False, True):
        gateway.admin.patch("/api/house-rules", json={"users_compare": opened}).raise_for_status()
        assert gateway.admin.get("/api/house-rules").json() == {
            "retention_days": None,
            "users_compare": opened,
        }
        assert person.get("/api/me").json()["compares"] is opened
        answer = person.post("/api/duels", json=wanted)
        assert answer.status_code == (201 if opened else 403)
        assert opened or answer.json()["error"]["code"] == "compare_closed"
        assert reviewer.post("/api/duels", json=wanted).status_code == 201
    (entry, _) = gateway.admin.get("/api/audit", params={"action": "house_rules.changed"}).json()["data"][:2]
    assert entry["detail"] == {"users_compare": True}
