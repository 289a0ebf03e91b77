import asyncio
import sqlite3
from contextlib import closing

import pytest

from service import status
from service.contract.status import AssistantStatus, EngineStatus, JobStatus, Status
from service.domain import status as states
from service.domain.identity import now
from service.settings import Settings
from tests.gateway import Gateway
from tests.serving import free_port

DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def gateway(own_gateway: Gateway) -> Gateway:
    """One of its own, whose every assistant and job is known."""
    return own_gateway


def told(**change) -> Status:
    engine = EngineStatus(url="unix:/e", state="ready", release="vllm 1", adapters=[DIGEST], answering=0)
    fields = {
        "ready": True, "base_model": "base", "chats_under_way": 0, "problems": {}, "engines": [engine],
        "assistants": [AssistantStatus(name="desk", release=3, adapter=DIGEST)], "wanted": [DIGEST], "jobs": {},
        "jobs_under_way": [], "jobs_failed": [], "feedback": {}, "webhooks_disabled": {},
        "failed_in_a_row": 0, "disk_free": 10 << 30,
    }  # fmt: skip
    return states.judged(Status(**(fields | change)), "/logs")


def job(**change) -> JobStatus:
    fields = {
        "id": "ftjob-1",
        "kind": "sft",
        "status": "queued",
        "assistant": "desk",
        "at": now(),
        "message": "",
    }
    return JobStatus(**(fields | change))


def engine(state: str, adapters: list[str]) -> EngineStatus:
    fields = {"url": "unix:/e", "state": state, "release": "r", "adapters": adapters, "answering": 0}
    return EngineStatus.model_validate(fields)


def test_nothing_is_wrong_when_all_is_served():
    assert told().wrong == []
    assert status.screen(told(), "http://here")[-1] == "All is well."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engines": [engine("gone", [])]}, "starting or gone"),
        ({"engines": [engine("hung", [DIGEST])]}, "hangs"),
        ({"webhooks_disabled": {"hook_1": "failing"}}, "Webhook hook_1 was disabled: nothing came through"),
        ({"engines": [engine("ready", [])]}, "the live release desk@3, is not served"),
        ({"problems": {DIGEST: "rank too high"}}, "is not served: rank too high"),
        ({"jobs_failed": [job(status="failed", message="No rows.")]}, "ftjob-1 (sft) failed"),
        ({"jobs_under_way": [job(status="running", silent=True)]}, "fell silent"),
        ({"jobs_under_way": [job(at=now() - 300)]}, "Is the worker running?"),
        ({"failed_in_a_row": 3}, "last 3 answers failed"),
        ({"disk_free": 1 << 30}, "1.0 GB"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(change, said):
    found = told(**change)
    assert len(found.wrong) == 1
    assert said in found.wrong[0]
    assert any(line.startswith("WRONG") and said in line for line in status.screen(found, "http://here"))


def test_a_job_that_waits_behind_a_running_one_is_no_fault():
    waiting, running = job(at=now() - 300), job(id="ftjob-2", status="running")
    assert told(jobs_under_way=[waiting, running]).wrong == []


def read(settings: Settings) -> tuple[str, bool]:
    lines, good = asyncio.run(status.read(settings))
    return "\n".join(lines), good


def test_the_screen_of_a_running_service(gateway: Gateway):
    screen, good = read(gateway.settings)
    assert good, screen
    assert "assistant  fanal: the base model" in screen
    assert "ready, vllm 0.0.fake" in screen
    with closing(sqlite3.connect(gateway.settings.home / "tailorbird.db", timeout=15)) as database, database:
        user = database.execute("select id from users").fetchone()[0]
        columns = {
            "id": "ftjob-bad", "kind": "sft", "status": "failed", "user_id": user, "request": "{}", "settings": "{}",
            "model": "m", "attempts": 1, "cancel_requested": 0, "created_at": now(), "finished_at": now(),
            "error": '{"message": "The rows are empty."}',
        }  # fmt: skip
        marks = ",".join("?" * len(columns))
        database.execute(f"insert into jobs ({','.join(columns)}) values ({marks})", list(columns.values()))
    screen, good = read(gateway.settings)
    assert not good
    assert "The rows are empty." in screen
    assert "1 failed" in screen


def test_a_service_that_does_not_run_is_said_plainly(gateway: Gateway, tmp_path):
    away = gateway.settings.model_copy(update={"api_port": free_port()})
    assert read(away) == (read(away)[0], False)
    assert "does not run" in read(away)[0]
    assert "no service" in read(Settings(home=tmp_path, api_port=gateway.settings.api_port))[0]
    (tmp_path / "admin.key").write_text("tb-wrong")
    screen, good = read(Settings(home=tmp_path, api_port=gateway.settings.api_port))
    assert not good
    assert "does not take the key" in screen


def test_users_do_not_see_the_state_of_the_service(gateway: Gateway):
    with gateway.client_of("Eve", "reviewer") as other:
        assert other.get("/api/status").status_code == 403
        assert other.get("/metrics").status_code == 403
