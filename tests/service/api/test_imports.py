import asyncio
import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from service.api.imports import _progress
from service.contract import folder
from service.contract.imports import STATE, Preview
from service.db.session import Database
from service.domain import files, imports
from service.domain.keys import Caller
from service.storage.local import Store
from tests.gateway import Gateway

pytestmark = pytest.mark.heavy

PATIENCE = 60.0
ANSWER = {"role": "assistant", "content": "A reef."}


def bring(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return client.post("/api/imports", files={"file": (name, content)})


def jsonl(rows: Iterable[Any]) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def read_in(client: httpx.Client, import_id: str, **plan: Any) -> dict[str, Any]:
    """Start an import and wait for its end."""
    begun = client.post(f"/api/imports/{import_id}/start", json=plan)
    assert begun.status_code == 202, begun.text
    return ended(client, import_id)


def ended(client: httpx.Client, import_id: str) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = client.get(f"/api/imports/{import_id}").json()
        if found["status"] != "running":
            return found
        time.sleep(0.05)
    raise AssertionError("still running")


def asked(subject: str, count: int) -> list[dict[str, str]]:
    return [
        {"question": f"What is {subject} {n}?", "answer": f"That {subject} is number {n * 7}."}
        for n in range(count)
    ]


def test_a_file_is_looked_at_when_it_comes_and_again_under_another_plan(gateway: Gateway):
    answer = bring(gateway.admin, "faq.csv", b"Q,A,B\nhow,so,no\nwhy,thus,never\n")
    assert answer.status_code == 201, answer.text
    brought = answer.json()
    assert (brought["status"], brought["filename"], brought["file_id"]) == ("ready", "faq.csv", None)
    assert brought["preview"]["columns"] == ["Q", "A", "B"]
    assert brought["preview"]["problems"][0]["problem"].startswith("It is not said which columns")
    plan = {"mapping": {"prompt": "Q", "chosen": "A", "rejected": "B"}}
    look = gateway.admin.post(f"/api/imports/{brought['id']}/preview", json=plan).raise_for_status().json()
    assert (look["kind"], look["refused"]) == ("dpo", 0)
    assert look["rows"][1]["non_preferred_output"] == [{"role": "assistant", "content": "never"}]
    kept = gateway.admin.get(f"/api/imports/{brought['id']}").json()
    assert (kept["preview"], kept["plan"]["mapping"]) == (look, plan["mapping"])


def test_what_was_taken_is_a_file_that_a_job_learns_from_at_once(gateway: Gateway):
    rows = [*asked("boat", 5), asked("boat", 1)[0], {"question": "Why?", "answer": ""}, "{broken"]
    brought = bring(gateway.admin, "boats.jsonl", jsonl(rows)).json()
    done = read_in(gateway.admin, brought["id"], source="our wiki", licence="CC BY 4.0")
    assert done["status"] == "succeeded", done["error"]
    report = done["report"]
    assert (report["read"], report["taken"]) == (8, 5)
    assert report["refused"] == {"empty_field": 1, "not_json": 1}
    assert report["left_out"] == {"duplicate": 1}
    file = gateway.admin.get(f"/v1/files/{done['file_id']}").json()
    assert (file["purpose"], file["filename"]) == ("fine-tune", "boats-sft-import.jsonl")
    content = gateway.admin.get(f"/v1/files/{file['id']}/content").content
    assert len(content.splitlines()) == 5
    job = gateway.admin.post("/v1/fine_tuning/jobs", json={"model": "fanal", "training_file": file["id"]})
    assert job.status_code == 200, job.text
    sheet = gateway.admin.get(f"/api/sheets/{file['id']}").json()
    assert sheet == report["sheet"]
    assert (sheet["rows"], sheet["source"], sheet["licence"]) == (5, "our wiki", "CC BY 4.0")
    assert sheet["exact_duplicates"] == 1
    assert gateway.admin.post(f"/api/imports/{brought['id']}/start", json={}).status_code == 409


def test_every_refused_row_can_be_fetched_with_its_line_field_and_mend(gateway: Gateway):
    rows = [*asked("kite", 3), *({"question": f"Why {n}?", "answer": ""} for n in range(9))]
    brought = bring(gateway.admin, "kites.jsonl", jsonl(rows)).json()
    assert gateway.admin.get(f"/api/imports/{brought['id']}/refused").status_code == 404
    done = read_in(gateway.admin, brought["id"])
    assert len(done["report"]["problems"]) == 5
    told = gateway.admin.get(f"/api/imports/{brought['id']}/refused").raise_for_status()
    problems = [json.loads(line) for line in told.content.splitlines()]
    assert [one["line"] for one in problems] == list(range(4, 13))
    assert problems[0] == {
        "file": "kites.jsonl", "line": 4, "field": "answer", "reason": "empty_field",
        "problem": "The field 'answer' is empty.", "mend": "Fill it in, or leave the row out.",
    }  # fmt: skip


def test_a_plan_may_refuse_the_whole_file_for_one_bad_row_and_be_changed(gateway: Gateway):
    rows = [*asked("lamp", 3), {"question": "Why?", "answer": ""}]
    brought = bring(gateway.admin, "lamps.jsonl", jsonl(rows)).json()
    failed = read_in(gateway.admin, brought["id"], bad_rows="refuse")
    assert (failed["status"], failed["file_id"]) == ("failed", None)
    assert failed["error"]["message"] == (
        "lamps.jsonl, line 4, field 'answer': The field 'answer' is empty. Fill it in, or leave the row out."
    )
    assert read_in(gateway.admin, brought["id"])["report"]["taken"] == 3


def test_rows_that_ask_a_held_out_question_are_left_out_and_named(gateway: Gateway):
    case = {
        "id": "anchor-weight",
        "question": "How heavy is the anchor of the old ferry, in tonnes?",
        "facts": ["3"],
    }
    cases = gateway.admin.post(
        "/v1/files", files={"file": ("c.jsonl", jsonl([case]))}, data={"purpose": "evals"}
    )
    name = "anchors"
    body = {"name": name, "title": "Anchors", "cases_file": cases.raise_for_status().json()["id"]}
    gateway.admin.post("/api/assistants", json=body).raise_for_status()
    rows = [*asked("anchor", 3), {"question": case["question"].upper(), "answer": "Three."}]
    brought = bring(gateway.admin, "anchors.jsonl", jsonl(rows)).json()
    for plan in ({"assistant": name}, {}):
        brought = bring(gateway.admin, "anchors.jsonl", jsonl(rows)).json()
        report = read_in(gateway.admin, brought["id"], **plan)["report"]
        assert (report["taken"], report["left_out"]) == (3, {"held_out_case": 1})
        touch = {"line": 4, "case": "anchor-weight", "how": "same", "share": 1.0}
        assert report["touched"] == [touch]
    with gateway.client_of("Importer") as user:
        brought = bring(user, "anchors.jsonl", jsonl(rows)).json()
        report = read_in(user, brought["id"])["report"]
        assert report["left_out"] == {"held_out_case": 1}
        told = {"line": 4, "case": None, "how": None, "share": None}
        assert report["touched"] == [told]
        assert [one["report"]["touched"] for one in user.get("/api/imports").json()["data"]] == [[told]]
    other = read_in(
        gateway.admin, bring(gateway.admin, "a.jsonl", jsonl(rows)).json()["id"], assistant="fanal"
    )
    assert other["report"]["taken"] == 4


def test_an_import_that_ends_while_its_progress_is_read_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / STATE).write_text("{}")

    def gone(path: Path) -> Any:
        path.unlink()
        return json.loads(path.read_text())

    monkeypatch.setattr(folder, "read_json", gone)
    house = SimpleNamespace(store=SimpleNamespace(imported=lambda _: tmp_path))
    assert _progress(house, "import_1").phase == "waiting"


def test_an_import_that_the_services_end_cut_short_is_read_again(gateway: Gateway):
    brought = bring(gateway.admin, "any.jsonl", jsonl(asked("mast", 1))).json()

    async def left_behind() -> str:
        database, store = Database(gateway.settings.database), Store(gateway.settings.home)
        content = jsonl(asked("mast", 4))
        async with database.writing() as session:
            me = gateway.admin.get("/api/me").json()
            caller = Caller(me["id"], me["name"], me["role"], "key", "api")
            found = await imports.create_import(
                session, caller, filename="m.jsonl", sha256=store.put_bytes(content), size=len(content),
                preview=Preview.model_validate(brought["preview"]),
            )  # fmt: skip
            found.status = "running"
        await database.close()
        return found.id

    assert ended(gateway.admin, asyncio.run(left_behind()))["report"]["taken"] == 4


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "empty_file"), (b"PAR1", "unknown_file"), (b'[{"a": 1}', "not_json")]
)
def test_a_file_that_cannot_be_read_at_all_is_refused_when_it_comes(
    gateway: Gateway, content: bytes, code: str
):
    error = bring(gateway.admin, f"x{code}", content).json()["error"]
    assert f"x{code}" not in [one["filename"] for one in gateway.admin.get("/api/imports").json()["data"]]
    assert (error["code"], error["param"]) == (code, "file")
    assert error.get("line") == (1 if code == "not_json" else None)


def test_people_see_their_own_imports_and_reviewers_everybodys(gateway: Gateway):
    uma, udo = gateway.client_of("Uma"), gateway.client_of("Udo")
    rita = gateway.client_of("Rita", "reviewer")
    import_id = bring(uma, "uma.jsonl", jsonl(asked("rope", 3))).json()["id"]
    for path in (f"/api/imports/{import_id}", f"/api/imports/{import_id}/refused"):
        assert udo.get(path).status_code == 404
    for act in ("start", "preview", "cancel"):
        assert udo.post(f"/api/imports/{import_id}/{act}", json={}).status_code == 404
    assert import_id not in [one["id"] for one in udo.get("/api/imports").json()["data"]]
    assert import_id in [one["id"] for one in rita.get("/api/imports").json()["data"]]
    assert uma.post(f"/api/imports/{import_id}/start", json={"assistant": "fanal"}).status_code == 403
    planned = uma.get(f"/api/imports/{import_id}").json()
    for act in ("start", "preview", "cancel"):
        refused = rita.post(f"/api/imports/{import_id}/{act}", json={"format": "alpaca"})
        assert refused.status_code == 403, "reviewers look on"
    assert (
        rita.get(f"/api/imports/{import_id}").json() == planned == uma.get(f"/api/imports/{import_id}").json()
    )
    assert gateway.admin.post(f"/api/imports/{import_id}/preview", json={}).status_code == 200
    assert gateway.admin.post(f"/api/imports/{import_id}/cancel").status_code == 200
    noted = gateway.admin.get("/api/audit", params={"action": "import.cancelled"}).json()["data"]
    assert noted[0]["subject"] == import_id
    file_id = read_in(uma, import_id)["file_id"]
    assert [client.get(f"/api/sheets/{file_id}").status_code for client in (uma, udo, rita)] == [
        200,
        404,
        200,
    ]


def test_any_training_file_can_be_measured_and_is_measured_once(gateway: Gateway):
    row = {"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]}
    form = {"files": {"file": ("r.jsonl", jsonl([row, row, row]))}, "data": {"purpose": "fine-tune"}}
    file_id = gateway.admin.post("/v1/files", **form).json()["id"]
    assert gateway.admin.get(f"/api/sheets/{file_id}").status_code == 404
    sheet = gateway.admin.post(f"/api/sheets/{file_id}").raise_for_status().json()
    assert (sheet["rows"], sheet["exact_duplicates"], sheet["filename"]) == (3, 2, "r.jsonl")
    assert sheet["sha256"] == hashlib.sha256(jsonl([row, row, row])).hexdigest()
    assert gateway.admin.post(f"/api/sheets/{file_id}").json() == sheet
    assert gateway.admin.get(f"/api/sheets/{file_id}").json() == sheet
    form = {
        "files": {"file": ("c.jsonl", jsonl([{"question": "q", "facts": ["f"]}]))},
        "data": {"purpose": "evals"},
    }
    cases = gateway.admin.post("/v1/files", **form).json()["id"]
    assert gateway.admin.post(f"/api/sheets/{cases}").json()["error"]["param"] == "file_id"


def test_a_sheet_tells_the_source_and_licence_that_its_owner_said_and_those_of_what_the_file_is_a_part_of(
    gateway: Gateway,
):
    uma, udo, rita = (
        gateway.client_of("Uma"),
        gateway.client_of("Udo"),
        gateway.client_of("Rita", "reviewer"),
    )
    rows = [{"messages": [{"role": "user", "content": f"What is reef {n}?"}, ANSWER]} for n in range(60)]
    form = {"files": {"file": ("reefs.jsonl", jsonl(rows))}, "data": {"purpose": "fine-tune"}}
    file_id = uma.post("/v1/files", **form).json()["id"]
    said = {"source": "chart | 7", "licence": "CC BY 4.0"}
    assert udo.post(f"/api/sheets/{file_id}", json=said).status_code == 404
    assert rita.post(f"/api/sheets/{file_id}", json=said).status_code == 403, "reviewers look on"
    sheet = uma.post(f"/api/sheets/{file_id}", json=said).raise_for_status().json()
    assert (sheet["source"], sheet["licence"], sheet["frozen"], sheet["rows"]) == (*said.values(), None, 60)
    again = uma.post(f"/api/sheets/{file_id}", json={"source": "chart 8"}).json()
    assert again == sheet | {"source": "chart 8"}
    assert rita.post(f"/api/sheets/{file_id}").json() == again
    assert uma.post(f"/api/sheets/{file_id}", json={"source": "x" * 501}).status_code == 400
    parts = uma.post(f"/api/splits/{file_id}").raise_for_status().json()
    for part in parts.values():
        if isinstance(part, dict):
            of_part = uma.post(f"/api/sheets/{part['id']}").raise_for_status().json()
            assert (of_part["source"], of_part["licence"]) == ("chart 8", "CC BY 4.0")
    brought = bring(uma, "b.jsonl", jsonl(asked("bay", 60))).json()["id"]
    done = read_in(uma, brought, source="wiki", licence="GPL", split_by="question")
    held_out = uma.post(f"/api/sheets/{done['held_out_file_id']}").raise_for_status().json()
    assert (held_out["source"], held_out["licence"]) == ("wiki", "GPL")


def test_a_cancelled_import_leaves_no_file_and_may_be_started_again(gateway: Gateway):
    brought = bring(gateway.admin, "sails.jsonl", jsonl(asked("sail", 3))).json()
    path = f"/api/imports/{brought['id']}"
    gateway.admin.post(f"{path}/start", json={}).raise_for_status()
    assert gateway.admin.post(f"{path}/cancel").json()["status"] == "cancelled"
    assert gateway.admin.post(f"{path}/cancel").status_code == 409
    assert gateway.admin.get(path).json()["file_id"] is None
    assert read_in(gateway.admin, brought["id"])["report"]["taken"] == 3


def test_an_import_that_is_started_anew_in_the_middle_is_read_by_its_newest_plan(gateway: Gateway):
    brought = bring(gateway.admin, "keels.jsonl", jsonl(asked("keel", 5_000))).json()
    path = f"/api/imports/{brought['id']}"
    gateway.admin.post(f"{path}/start", json={"source": "old"}).raise_for_status()
    until = time.monotonic() + PATIENCE
    while gateway.admin.get(path).json()["progress"]["rows"] == 0 and time.monotonic() < until:
        time.sleep(0.05)
    assert gateway.admin.post(f"{path}/cancel").json()["status"] == "cancelled"
    assert read_in(gateway.admin, brought["id"], source="new")["report"]["sheet"]["source"] == "new"


def test_a_plan_names_what_it_does_not_know(gateway: Gateway):
    import_id = bring(gateway.admin, "a.jsonl", jsonl(asked("net", 3))).json()["id"]
    for plan, param in (
        ({"format": "parquet"}, "format"),
        ({"mapping": {"reward": "x"}}, "mapping.reward.[key]"),
        ({"delimiter": ","}, "delimiter"),
    ):
        error = gateway.admin.post(f"/api/imports/{import_id}/start", json=plan).json()["error"]
        assert error["param"] == param, error
    wrong = {"mapping": {"prompt": "nowhere", "completion": "answer"}}
    error = gateway.admin.post(f"/api/imports/{import_id}/preview", json=wrong).json()["error"]
    assert error["message"] == "'prompt' is to come from 'nowhere', but the columns are question, answer."


def test_what_was_brought_is_kept_a_week_and_its_sheet_as_long_as_its_file(gateway: Gateway):
    done = read_in(gateway.admin, bring(gateway.admin, "o.jsonl", jsonl(asked("oar", 3))).json()["id"])

    async def look() -> tuple[bool, bool]:
        database = Database(gateway.settings.database)
        async with database.writing() as session:
            found = await imports.get_import(session, None, done["id"])
            fresh = found.sha256 in await imports.sources(session)
            found.created_at -= imports.KEPT + 1
            await session.flush()
            late = found.sha256 in await imports.sources(session)
            await files.forget_needless(session)
        await database.close()
        return fresh, late

    assert gateway.admin.delete(f"/v1/files/{done['file_id']}").status_code == 200
    assert asyncio.run(look()) == (True, False)
    assert gateway.admin.get(f"/api/sheets/{done['file_id']}").status_code == 404
    assert gateway.admin.get(f"/api/imports/{done['id']}").json()["report"]["taken"] == 3
