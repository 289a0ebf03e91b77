import json
from typing import Any

import httpx
import pytest

from tests.gateway import Gateway
from tests.service.api.test_imports import ended, jsonl
from tests.service.intake.brought_documents import pdf

pytestmark = pytest.mark.heavy

RULES = b"""# Ferry rules

## Can dogs come along?

Dogs go free if they are on a lead and do not bite the crew of the ferry.

## Lighthouse

How tall is the lighthouse of Fanal, in metres, on its rock? It is 31 metres tall.

## Bagages

Les bagages sont dans la soute et ne sont pas \xc3\xa0 vous avant le port.
"""


def bring(client: httpx.Client, content: bytes = RULES, name: str = "rules.md") -> dict[str, Any]:
    answer = client.post("/api/documents", files={"file": (name, content)})
    assert answer.status_code == 201, answer.text
    return answer.json()


def drafts(client: httpx.Client, document: dict[str, Any], **params: Any) -> list[dict[str, Any]]:
    found = client.get(f"/api/documents/{document['id']}/drafts", params=params).raise_for_status()
    return found.json()["data"]


def decide(
    client: httpx.Client, document: dict[str, Any], draft: dict[str, Any], **change: Any
) -> httpx.Response:
    body = {"status": "confirmed", "question": draft["question"], "answer": draft["answer"], **change}
    return client.patch(f"/api/documents/{document['id']}/drafts/{draft['id']}", json=body)


@pytest.fixture(scope="module")
def rita(gateway: Gateway) -> httpx.Client:
    return gateway.client_of("Rita of the documents", "reviewer")


def test_a_document_becomes_drafts_of_which_nothing_reaches_training_before_a_person_confirms_it(
    gateway: Gateway, rita: httpx.Client
):
    before = gateway.admin.get("/v1/files").json()["data"]
    document = bring(rita)
    assert (document["kind"], document["drafts"], document["confirmed"]) == ("markdown", 3, 0)
    dogs, tower, bags = drafts(rita, document)
    assert (dogs["question"], dogs["headings"]) == (
        "Can dogs come along?",
        ["Ferry rules", "Can dogs come along?"],
    )
    wanted = {"documents": [document["id"]], "assistant": "fanal"}
    assert rita.post("/api/documents/file", json=wanted).json()["error"]["code"] == "none_confirmed"
    assert gateway.admin.get("/v1/files").json()["data"] == before, (
        "neither the document nor its drafts are a file"
    )
    assert decide(rita, document, dogs, answer="Dogs go free.").status_code == 200
    assert decide(rita, document, bags, status="rejected").status_code == 200
    assert decide(rita, document, dogs, status="rejected").status_code == 409

    begun = rita.post("/api/documents/file", json={**wanted, "licence": "ours"})
    assert begun.status_code == 202, begun.text
    done = ended(rita, begun.json()["id"])
    assert done["status"] == "succeeded", done["error"]
    content = rita.get(f"/v1/files/{done['file_id']}/content").content
    (row,) = [json.loads(line) for line in content.splitlines()]
    assert [message["content"] for message in row["messages"]] == ["Can dogs come along?", "Dogs go free."]
    assert (row["tailorbird"]["document"], row["tailorbird"]["sha256"]) == ("rules.md", document["sha256"])
    sheet = done["report"]["sheet"]
    assert (sheet["sources"], sheet["source"], sheet["licence"]) == ({"rules.md": 1}, "rules.md", "ours")
    kept = rita.get(f"/api/documents/{document['id']}").json()
    assert (kept["confirmed"], kept["rejected"], kept["drafts"]) == (1, 1, 3)
    assert [one["id"] for one in drafts(rita, document, status="waiting")] == [tower["id"]]
    told = {entry["action"] for entry in gateway.admin.get("/api/audit").json()["data"]}
    assert {"document.brought", "draft.confirmed", "draft.rejected", "drafts.filed"} <= told


def test_a_confirmed_draft_that_asks_a_held_out_question_stays_out_of_the_file(
    gateway: Gateway, rita: httpx.Client
):
    case = {"id": "tower", "question": "How tall is the lighthouse of Fanal, in metres?", "facts": ["31"]}
    form = {"files": {"file": ("c.jsonl", jsonl([case]))}, "data": {"purpose": "evals"}}
    cases = gateway.admin.post("/v1/files", **form).raise_for_status().json()["id"]
    body = {"name": "towers", "title": "Towers", "cases_file": cases}
    gateway.admin.post("/api/assistants", json=body).raise_for_status()
    document = bring(rita)
    dogs, tower, _ = drafts(rita, document)
    for draft in (dogs, tower):
        decide(
            rita, document, draft, question=case["question"] if draft is tower else "Dogs?"
        ).raise_for_status()
    begun = rita.post("/api/documents/file", json={"documents": [document["id"]], "assistant": "towers"})
    report = ended(rita, begun.raise_for_status().json()["id"])["report"]
    assert (report["taken"], report["left_out"]) == (1, {"held_out_case": 1})


def test_a_model_of_the_house_proposes_a_question_in_the_passages_language_and_nothing_is_recorded(
    gateway: Gateway, rita: httpx.Client
):
    document = bring(rita)
    dogs, _, bags = drafts(rita, document)
    path = f"/api/documents/{document['id']}/drafts/{bags['id']}/question"
    before = len(gateway.admin.get("/v1/chat/completions", params={"limit": 100}).json()["data"])
    answer = rita.post(path, json={"model": "fanal"})
    assert answer.status_code == 200, answer.text
    asked = gateway.engine_bodies[-1]["messages"][-1]["content"]
    assert asked.startswith("Écris une seule question")
    assert asked.endswith(bags["answer"])
    told = answer.json()
    assert (told["status"], told["proposed_by"]) == ("waiting", "fanal")
    assert "heard" in told["question"]
    assert told["question"].count("\n") == 0
    assert len(gateway.admin.get("/v1/chat/completions", params={"limit": 100}).json()["data"]) == before
    unknown = rita.post(path, json={"model": "nobody"})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "model")
    decide(rita, document, dogs).raise_for_status()
    refused = rita.post(path.replace(bags["id"], dogs["id"]), json={"model": "fanal"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "draft_decided")


def test_a_document_that_cannot_be_read_is_refused_and_nothing_of_it_is_kept(rita: httpx.Client):
    before = rita.get("/api/documents", params={"limit": 100}).json()["data"]
    for name, content, code in (("scan.pdf", pdf([], []), "scanned"), ("a.csv", b"q,a\n", "not_a_document")):
        answer = rita.post("/api/documents", files={"file": (name, content)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert rita.get("/api/documents", params={"limit": 100}).json()["data"] == before


def test_a_document_is_listed_page_by_page_and_deleted_by_its_owner(gateway: Gateway, rita: httpx.Client):
    document = bring(rita, pdf(["A ticket costs ten crowns."]), "fares.pdf")
    assert (document["pages"], document["created_by"]) == (1, rita.get("/api/me").json()["name"])
    first = rita.get("/api/documents", params={"limit": 1}).json()
    rest = rita.get("/api/documents", params={"after": first["last_id"], "limit": 100}).json()["data"]
    assert first["data"][0]["id"] not in [one["id"] for one in rest]
    with gateway.client_of("Rolf of the documents", "reviewer") as rolf:
        assert rolf.delete(f"/api/documents/{document['id']}").status_code == 403
    assert rita.delete(f"/api/documents/{document['id']}").json()["deleted"]
    assert rita.get(f"/api/documents/{document['id']}/drafts").status_code == 404
