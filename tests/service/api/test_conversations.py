import sqlite3

import httpx
import pytest

from service.api import relay
from tests.gateway import Gateway


@pytest.fixture(scope="module")
def person(gateway: Gateway) -> httpx.Client:
    return gateway.client_of("Talker")


def begin(person: httpx.Client, *questions: str, **more: str) -> str:
    """A new conversation in which these were asked one after the other."""
    conversation = person.post("/api/conversations", json={"assistant": "fanal"}).json()["id"]
    for question in questions:
        ask(person, conversation, question, **more)
    return conversation


def ask(person: httpx.Client, conversation: str, question: str, **metadata: str) -> str:
    body = {
        "model": "fanal", "messages": [{"role": "user", "content": question}],
        "metadata": {"conversation": conversation, **metadata},
    }  # fmt: skip
    return person.post("/v1/chat/completions", json=body).raise_for_status().json()["id"]


def found(person: httpx.Client, words: str) -> dict[str, str]:
    answer = person.get("/api/conversations", params={"search": words}).raise_for_status().json()
    return {one["id"]: one["match"] for one in answer["data"]}


def read(person: httpx.Client, conversation: str) -> dict:
    return person.get(f"/api/conversations/{conversation}").raise_for_status().json()


def change(person: httpx.Client, conversation: str, **wanted: object) -> httpx.Response:
    return person.patch(f"/api/conversations/{conversation}", json=wanted)


# Found again


def test_a_word_of_a_question_is_found_whatever_its_case_and_accents(person: httpx.Client):
    conversation = begin(person, "first", "Combien coûte l'ÉLÈVE à bord ?")
    for words in ("élève", "ELEVE", "eleve a BORD"):
        assert "l'ÉLÈVE à bord" in found(person, words)[conversation]


def test_a_word_of_an_answer_is_found(person: httpx.Client):
    conversation = begin(person, "pelican")
    assert "heard pelican" in found(person, "HEARD pelican")[conversation]


def test_a_word_of_the_title_is_found(person: httpx.Client):
    conversation = begin(person, "anything")
    change(person, conversation, title="Réunion du comité")
    assert found(person, "reunion du comite") == {conversation: "Réunion du comité"}


def test_the_assistants_instructions_and_the_signs_of_sql_find_nothing(
    gateway: Gateway, person: httpx.Client
):
    begin(person, "anything at all")
    (words,) = [
        one["instructions"][:30]
        for one in gateway.admin.get("/api/assistants").json()["data"]
        if one["name"] == "fanal"
    ]
    assert found(person, words) == {}
    assert found(person, "%") == {}
    assert found(person, "any_hing") == {}


def test_nobody_finds_what_another_wrote(gateway: Gateway, person: httpx.Client):
    begin(person, "a very private heron")
    with gateway.client_of("Seeker", "administrator") as other:
        assert found(other, "heron") == {}


def test_pinned_conversations_come_first(person: httpx.Client):
    older, newer = begin(person, "older"), begin(person, "newer")
    assert change(person, older, pinned=True).json()["pinned"] is True
    listed = [one["id"] for one in person.get("/api/conversations").json()["data"]]
    assert listed.index(older) < listed.index(newer)
    change(person, older, pinned=False)


def test_all_conversations_are_come_to_page_by_page(gateway: Gateway, person: httpx.Client):
    with gateway.client_of("Pager") as pager:
        made = [pager.post("/api/conversations", json={"assistant": "fanal"}).json()["id"] for _ in range(5)]
        pager.patch(f"/api/conversations/{made[0]}", json={"pinned": True}).raise_for_status()
        whole = [one["id"] for one in pager.get("/api/conversations").json()["data"]]
        paged, more = [], True
        while more:
            query = {"limit": 2} | ({"after": paged[-1]} if paged else {})
            answer = pager.get("/api/conversations", params=query).json()
            paged += [one["id"] for one in answer["data"]]
            more = answer["has_more"]
        assert paged == whole
        assert (sorted(whole), whole[0]) == (sorted(made), made[0])
    assert person.get("/api/conversations", params={"after": made[0]}).status_code == 404


def test_a_deleted_conversation_is_not_listed_found_or_read(person: httpx.Client):
    conversation = begin(person, "a short-lived ibis")
    assert person.delete(f"/api/conversations/{conversation}").json()["deleted"] is True
    assert found(person, "ibis") == {}
    assert person.get(f"/api/conversations/{conversation}").status_code == 404
    assert conversation not in {one["id"] for one in person.get("/api/conversations").json()["data"]}


# Raw prompts


def test_a_raw_prompt_is_no_turn_of_a_conversation(gateway: Gateway, person: httpx.Client):
    conversation = begin(person, "hello")
    body = {"model": gateway.settings.model_name, "prompt": "x", "metadata": {"conversation": conversation}}
    refused = person.post("/v1/completions", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "metadata")
    assert "/v1/chat/completions" in refused.json()["error"]["message"]


def test_one_that_was_recorded_in_a_conversation_before_is_not_seen_there(
    gateway: Gateway, person: httpx.Client
):
    conversation = begin(person, "an old cormorant")
    body = {"model": gateway.settings.model_name, "prompt": "an old cormorant of mine"}
    prompt = person.post("/v1/completions", json=body).raise_for_status().json()["id"]
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.execute("update completions set conversation_id = ? where id = ?", (conversation, prompt))
    second = ask(person, conversation, "and then?")
    shown = read(person, conversation)
    assert [turn["question"] for turn in shown["turns"]] == ["an old cormorant", "and then?"]
    assert shown["path"][-1] == second
    assert "of mine" not in found(person, "old cormorant")[conversation]
    assert found(person, "cormorant of mine") == {}
    assert "of mine" not in person.get(f"/api/conversations/{conversation}/export").raise_for_status().text
    share = person.post(f"/api/conversations/{conversation}/share").raise_for_status().json()["share"]
    person.get(f"/api/conversations/shared/{share}").raise_for_status()


# Branches


def test_an_answer_asked_for_again_is_a_branch_and_the_newest_is_shown(person: httpx.Client):
    conversation = begin(person, "one", "two")
    one, two = (turn["completion_id"] for turn in read(person, conversation)["turns"])
    again = ask(person, conversation, "two", follows=one)
    third = ask(person, conversation, "three", follows=again)
    now = read(person, conversation)
    assert now["path"] == [one, again, third]
    turns = {turn["completion_id"]: turn for turn in now["turns"]}
    assert [turns[id]["follows"] for id in (one, two, again, third)] == [None, one, one, again]
    assert turns[two]["prompt"] == turns[again]["prompt"] != ""
    assert turns[one]["prompt"] == ""


def test_a_turn_whose_answer_was_cut_off_says_so_also_to_whom_it_is_shared(
    gateway: Gateway, person: httpx.Client
):
    conversation = begin(person, "long", "short")
    first = read(person, conversation)["turns"][0]["completion_id"]
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as connection:
        connection.execute("update completions set finish_reason = 'length' where id = ?", (first,))
    assert [turn["cut_off"] for turn in read(person, conversation)["turns"]] == [True, False]
    share = person.post(f"/api/conversations/{conversation}/share").raise_for_status().json()["share"]
    shown = person.get(f"/api/conversations/shared/{share}").raise_for_status().json()
    assert [turn["cut_off"] for turn in shown["turns"]] == [True, False]


def test_an_earlier_branch_is_shown_again_with_what_followed_it(person: httpx.Client):
    conversation = begin(person, "one", "two", "three")
    one, two, three = read(person, conversation)["path"]
    changed = ask(person, conversation, "two, changed", follows=one)
    assert read(person, conversation)["path"] == [one, changed]
    assert change(person, conversation, shown=two).status_code == 200
    assert read(person, conversation)["path"] == [one, two, three]
    ask(person, conversation, "four", follows=three)
    assert len(read(person, conversation)["path"]) == 4


def test_a_first_question_can_be_changed_too(person: httpx.Client):
    conversation = begin(person, "one")
    changed = ask(person, conversation, "one, changed", follows="start")
    assert read(person, conversation)["path"] == [changed]


def test_a_turn_of_another_conversation_is_not_shown(person: httpx.Client):
    conversation, other = begin(person, "one"), begin(person, "another")
    refused = change(person, conversation, shown=read(person, other)["path"][0])
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "shown")


def test_a_change_that_changes_nothing_is_refused(person: httpx.Client):
    assert change(person, begin(person, "one")).status_code == 400


# Shared


def test_a_colleague_with_the_link_reads_what_was_shared_and_nothing_more(
    gateway: Gateway, person: httpx.Client
):
    conversation = begin(person, "shared question")
    share = person.post(f"/api/conversations/{conversation}/share").raise_for_status().json()["share"]
    ask(person, conversation, "asked later")
    with gateway.client_of("Colleague") as other:
        shown = other.get(f"/api/conversations/shared/{share}").raise_for_status().json()
        assert [turn["question"] for turn in shown["turns"]] == ["shared question"]
        assert shown["person"].startswith("Talker")
        assert "feedback" not in shown["turns"][0]
        assert other.get(f"/api/conversations/{conversation}").status_code == 404
        assert other.post(f"/api/conversations/{conversation}/share").status_code == 404
        assert other.delete(f"/api/conversations/{conversation}/share").status_code == 404
    assert httpx.get(f"{gateway.url}/api/conversations/shared/{share}").status_code == 401


def test_another_title_is_seen_under_the_link_only_once_it_is_shared_again(person: httpx.Client):
    conversation = begin(person, "about fares")
    address = f"/api/conversations/{conversation}/share"
    share = person.post(address).json()["share"]
    change(person, conversation, title="What I think of my employer").raise_for_status()
    assert person.get(f"/api/conversations/shared/{share}").json()["title"] == "about fares"
    person.post(address).raise_for_status()
    assert person.get(f"/api/conversations/shared/{share}").json()["title"] == "What I think of my employer"


def test_sharing_again_brings_the_same_link_up_to_date_and_taking_it_back_closes_it(person: httpx.Client):
    conversation = begin(person, "first")
    address = f"/api/conversations/{conversation}/share"
    share = person.post(address).json()["share"]
    ask(person, conversation, "second")
    assert person.post(address).json()["share"] == share
    assert len(person.get(f"/api/conversations/shared/{share}").json()["turns"]) == 2
    assert person.delete(address).json()["share"] is None
    gone = person.get(f"/api/conversations/shared/{share}")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_shared")


def test_an_empty_conversation_is_not_shared_and_a_deleted_one_no_longer(person: httpx.Client):
    assert person.post(f"/api/conversations/{begin(person)}/share").status_code == 409
    conversation = begin(person, "soon gone")
    share = person.post(f"/api/conversations/{conversation}/share").json()["share"]
    person.delete(f"/api/conversations/{conversation}")
    assert person.get(f"/api/conversations/shared/{share}").status_code == 404


# Taken away


def test_an_export_holds_the_shown_branch_to_read_and_everything_as_json(person: httpx.Client):
    conversation = begin(person, "one", "two")
    one, two = read(person, conversation)["path"]
    ask(person, conversation, "two, changed", follows=one)
    better = {"completion_id": one, "type": "correction", "correction": "a better one"}
    person.post("/api/feedback", json=better).raise_for_status()
    page = person.get(f"/api/conversations/{conversation}/export")
    assert page.headers["content-type"].startswith("text/markdown")
    assert page.text.startswith("# one\n\n**Talker")
    assert "two, changed" in page.text
    assert "\n\ntwo\n" not in page.text
    assert "a better one" in page.text
    kept = person.get(f"/api/conversations/{conversation}/export", params={"format": "json"}).json()
    assert [turn["completion_id"] for turn in kept["turns"]][:2] == [one, two]


def test_nobody_exports_anothers(gateway: Gateway, person: httpx.Client):
    conversation = begin(person, "mine")
    with gateway.client_of("Exporter", "administrator") as other:
        assert other.get(f"/api/conversations/{conversation}/export").status_code == 404


# Said of a pair


def test_which_of_two_answers_is_better_or_neither_is_kept_and_shown_again(person: httpx.Client):
    conversation = begin(person, "compare")
    first = read(person, conversation)["path"][0]
    second = ask(person, conversation, "compare", follows="start")
    said = {"completion_id": first, "type": "preference", "preferred_completion_id": second}
    tie = person.post("/api/feedback", json=said | {"preference": "tie"}).raise_for_status().json()
    assert tie["preference"] == "tie"
    kept = read(person, conversation)["turns"][0]["feedback"]["preferences"]
    assert kept == [{"feedback_id": tie["id"], "preferred_completion_id": second, "preference": "tie"}]
    person.delete(f"/api/feedback/{tie['id']}").raise_for_status()
    assert read(person, conversation)["turns"][0]["feedback"]["preferences"] == []


def test_a_tie_without_a_pair_is_refused(person: httpx.Client):
    first = read(person, begin(person, "rated"))["path"][0]
    said = {"completion_id": first, "type": "rating", "rating": 1, "preference": "tie"}
    assert person.post("/api/feedback", json=said).status_code == 400


# Kept from training


def test_what_is_kept_from_training_trains_nothing_also_once_it_is_deleted(gateway: Gateway):
    gateway.admin.post("/api/assistants", json={"name": "discreet", "title": "Discreet"}).raise_for_status()

    def pairs() -> int:
        return gateway.admin.get("/api/assistants/discreet/readiness").json()["pairs"]

    body = {"assistant": "discreet"}
    conversation = gateway.admin.post("/api/conversations", json=body).json()["id"]
    asked = {
        "model": "discreet", "messages": [{"role": "user", "content": "what do I earn?"}],
        "metadata": {"conversation": conversation},
    }  # fmt: skip
    completion = gateway.admin.post("/v1/chat/completions", json=asked).json()["id"]
    better = {"completion_id": completion, "type": "correction", "correction": "Ask the payroll office."}
    gateway.admin.post("/api/feedback", json=better).raise_for_status()
    assert pairs() == 1
    assert change(gateway.admin, conversation, training=False).json()["training"] is False
    assert pairs() == 0
    assert change(gateway.admin, conversation, training=True).json()["training"] is True
    assert pairs() == 1
    change(gateway.admin, conversation, training=False)
    gateway.admin.delete(f"/api/conversations/{conversation}").raise_for_status()
    assert pairs() == 0


def test_a_tie_makes_no_pair(gateway: Gateway):
    gateway.admin.post("/api/assistants", json={"name": "even", "title": "Even"}).raise_for_status()
    body = {"model": "even", "messages": [{"role": "user", "content": "which?"}], "n": 1}
    first, second = (gateway.admin.post("/v1/chat/completions", json=body).json()["id"] for _ in range(2))
    said = {"completion_id": first, "type": "preference", "preferred_completion_id": second}
    gateway.admin.post("/api/feedback", json=said | {"preference": "tie"}).raise_for_status()
    assert gateway.admin.get("/api/assistants/even/readiness").json()["pairs"] == 0


# Under way


def test_what_an_answer_says_so_far_is_in_the_record_while_it_grows(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(relay, "SO_FAR", 0.0)
    user = gateway.admin.post("/api/users", json={"name": "Watcher", "role": "user"}).json()["id"]
    link = gateway.admin.post(f"/api/users/{user}/link").json()["link"]
    token = httpx.post(f"{gateway.url}/api/session", json={"link": link}).json()["token"]
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {token}"}) as person:
        conversation = begin(person)
        body = {
            "model": "fanal", "stream": True, "metadata": {"conversation": conversation},
            "messages": [{"role": "user", "content": "SLOW " + "word " * 60}],
        }  # fmt: skip
        with person.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            for _ in range(20):
                next(lines)
            (turn,) = read(person, conversation)["turns"]
            assert turn["status"] == "running"
            assert "heard SLOW" in turn["answer"]
