import httpx
import pytest

from tests.gateway import Gateway


@pytest.fixture
def completion(gateway: Gateway) -> str:
    body = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]}
    return gateway.admin.post("/v1/chat/completions", json=body).json()["id"]


def give(gateway: Gateway, body: dict, key: str | None = None) -> httpx.Response:
    headers = {"idempotency-key": key} if key else {}
    return gateway.admin.post("/api/feedback", json=body, headers=headers)


def events(gateway: Gateway, completion: str) -> list[dict]:
    return gateway.admin.get("/api/feedback", params={"completion_id": completion}).json()["data"]


def test_a_repeated_request_changes_nothing(gateway: Gateway, completion: str):
    body = {"completion_id": completion, "type": "rating", "rating": -1, "reasons": ["wrong"]}
    answers = [give(gateway, body, "once").json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(events(gateway, completion)) == 1


def test_one_idempotency_key_is_not_for_two_requests(gateway: Gateway, completion: str):
    give(gateway, {"completion_id": completion, "type": "rating", "rating": 1}, "twice")
    other = give(gateway, {"completion_id": completion, "type": "rating", "rating": -1}, "twice")
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")
    assert len(events(gateway, completion)) == 1


def test_changing_and_retracting_a_rating_are_new_events(gateway: Gateway, completion: str):
    first = give(gateway, {"completion_id": completion, "type": "rating", "rating": 1}).json()
    second = give(gateway, {"completion_id": completion, "type": "rating", "rating": -1}).json()
    assert second["supersedes"] == first["id"]
    taken = [gateway.admin.delete(f"/api/feedback/{second['id']}").json() for _ in range(2)]
    assert taken[0] == taken[1]
    assert taken[0]["type"] == "retraction"
    assert [event["type"] for event in events(gateway, completion)] == ["retraction", "rating", "rating"]


@pytest.mark.parametrize(
    "body",
    [
        {"type": "rating"},
        {"type": "rating", "rating": 5},
        {"type": "correction"},
        {"type": "correction", "correction": "   "},
        {"type": "rating", "rating": 1, "correction": "two things at once"},
        {"type": "retraction"},
        {"type": "rating", "rating": 1, "surprise": True},
        {"type": "rating", "rating": 1, "reasons": ["because"]},
        {"type": "rating", "rating": 1, "preference": "tie"},
        {"type": "preference", "preference": "tie"},
        {"type": "preference", "preferred_completion_id": "chatcmpl-x", "preference": "worse"},
        {"type": "preference", "preferred_completion_id": "chatcmpl-x", "left_completion_id": "chatcmpl-y"},
    ],
)
def test_feedback_that_says_nothing_usable_is_refused(gateway: Gateway, completion: str, body: dict):
    answer = give(gateway, {"completion_id": completion, **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert events(gateway, completion) == []


def test_feedback_on_what_was_never_recorded_is_refused(gateway: Gateway):
    answer = give(gateway, {"completion_id": "chatcmpl-none", "type": "rating", "rating": 1})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "completion_id")


def test_a_user_cannot_rate_or_see_anothers_answers(gateway: Gateway, completion: str):
    give(gateway, {"completion_id": completion, "type": "rating", "rating": 1})
    with gateway.client_of("Eve") as eve:
        body = {"completion_id": completion, "type": "rating", "rating": -1}
        assert eve.post("/api/feedback", json=body).status_code == 404
        assert eve.get("/api/feedback").json()["data"] == []


def test_a_conversation_shows_its_ratings_and_corrections_again(gateway: Gateway):
    conversation = gateway.admin.post("/api/conversations", json={"assistant": "fanal"}).json()["id"]
    body = {
        "model": "fanal", "messages": [{"role": "user", "content": "Where is my parcel?"}],
        "metadata": {"conversation": conversation},
    }  # fmt: skip
    completion = gateway.admin.post("/v1/chat/completions", json=body).json()["id"]
    give(gateway, {"completion_id": completion, "type": "rating", "rating": -1, "reasons": ["wrong"]})
    give(gateway, {"completion_id": completion, "type": "correction", "correction": "At the harbour."})
    found = gateway.admin.get(f"/api/conversations/{conversation}").json()
    assert found["title"] == "Where is my parcel?"
    (turn,) = found["turns"]
    assert turn["question"] == "Where is my parcel?"
    assert turn["feedback"]["rating"] == -1
    assert turn["feedback"]["reasons"] == ["wrong"]
    assert turn["feedback"]["correction"] == "At the harbour."


def test_a_preference_says_how_it_ended_and_a_change_of_mind_replaces_it_either_way_round(
    gateway: Gateway, completion: str
):
    body = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]}
    other = gateway.admin.post("/v1/chat/completions", json=body).json()["id"]
    said = {"completion_id": completion, "type": "preference", "preferred_completion_id": other}
    first = give(gateway, said).json()
    assert (first["preference"], first["left_completion_id"]) == ("better", None)
    turned = {"completion_id": other, "type": "preference", "preferred_completion_id": completion}
    second = give(gateway, turned | {"preference": "tie", "left_completion_id": other}).json()
    assert (second["preference"], second["left_completion_id"], second["supersedes"]) == (
        "tie",
        other,
        first["id"],
    )
    third = gateway.admin.post("/v1/chat/completions", json=body).json()["id"]
    assert give(gateway, said | {"preferred_completion_id": third}).json()["supersedes"] is None
