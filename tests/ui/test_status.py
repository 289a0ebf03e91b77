from typing import Any, get_args

import pytest

from service.contract.status import AssistantStatus, EngineStatus, JobStatus, Status, Wrong, WrongCode
from service.domain import status as states
from service.domain.identity import now
from ui.pages import render
from ui.status import Fault, wrong
from ui.words import words

EN, FR = words("en"), words("fr")
THERE_NO_MORE = "Its files are gone from the store. Put them back from a backup, or delete the model."
LIVE, REFUSED, WAITING, GONE, GONE_LIVE = (letter * 64 for letter in "abcef")


def engine(state: Any) -> EngineStatus:
    return EngineStatus(url="unix:/e", state=state, release="r", adapters=[], answering=0)


def job(**more: Any) -> JobStatus:
    fields = {"id": "ftjob-1", "kind": "sft", "status": "queued", "assistant": None, "at": 1, "message": ""}
    return JobStatus.model_validate(fields | more)


def status(**more: Any) -> Status:
    fields: dict[str, Any] = {
        "ready": True, "base_model": "base", "chats_under_way": 0,
        "engines": [engine(state) for state in ("starting", "hung", "gone", "ready")],
        "problems": {REFUSED: "No room.", WAITING: "No.", GONE: THERE_NO_MORE, GONE_LIVE: THERE_NO_MORE},
        "causes": {GONE: "files_gone", GONE_LIVE: "files_gone"},
        "assistants": [
            AssistantStatus(name="desk", release=3, adapter=LIVE),
            AssistantStatus(name="b", release=1, adapter=WAITING),
            AssistantStatus(name="c", release=2, adapter=GONE_LIVE),
        ],
        "wanted": [LIVE, REFUSED, WAITING, GONE, GONE_LIVE, "d" * 64], "jobs": {},
        "jobs_under_way": [job(), job(silent=True)],
        "jobs_failed": [job(at=now(), message="The disk is full.")], "feedback": {},
        "webhooks_disabled": {"wh_1": "gone", "wh_2": "failing"}, "failed_in_a_row": 9, "disk_free": 1 << 30,
    }  # fmt: skip
    return states.judged(Status(**fields | more), "/logs")


def test_all_that_is_wrong_is_said_in_both_languages():
    found = Status.model_validate_json(status().model_dump_json())
    assert {one.code for one in found.coded} == set(get_args(WrongCode))
    # English as the service has it, but for what is shown of a job; French not at all.
    of_a_job = [one.code in ("job_failed", "job_silent") for one in found.coded]
    for one, sentence, job_too in zip(wrong(EN, found), found.wrong, of_a_job, strict=True):
        assert job_too or one.said.rstrip(".") == sentence.rstrip(".")
    french = wrong(FR, found)
    assert all(one.ours for one in french)
    assert not {one.said for one in french} & set(found.wrong)


@pytest.mark.parametrize(
    "cause", ["engine_error", "engine_timeout", "engine_unavailable", "wrong_base_model"]
)
def test_why_an_adapter_is_not_served_is_said_in_the_readers_language_and_as_it_was_sent(cause: str):
    found = status(problems={REFUSED: "LoRA rank 64 is greater than 16."}, causes={REFUSED: cause})
    (told,) = [one for one in wrong(FR, found) if one.sent]
    assert told == Fault(
        FR("wrong_not_served", adapter=REFUSED[:12], why=FR(f"cause_{cause}")),
        sent="LoRA rank 64 is greater than 16.",
    )
    assert "LoRA rank 64" in render("status", FR, told=found, wrong=[told])


def test_one_waiting_job_is_said_in_the_singular():
    (told,) = wrong(EN, told_of("jobs_wait", n=1, log="/l"))
    assert told.said.startswith("1 job waits")


def test_why_a_job_failed_is_said_in_the_readers_language():
    found = status(jobs_failed=[job(at=now(), message="The disk is full.", code="disk_full")])
    (told,) = [one for one in wrong(FR, found) if "ftjob-1 (Exemples) a échoué" in one.said]
    assert told.said.endswith(FR("failed_disk_full"))
    assert told.sent == "The disk is full."


def test_when_a_job_failed_is_left_to_the_readers_browser_to_write():
    found = status(jobs_failed=[job(at=1_771_070_000, message="The disk is full.", code="disk_full")])
    told = [one for one in wrong(FR, found) if one.at]
    assert [one.at for one in told] == [1_771_070_000]
    assert '<time datetime="2026-02-14T' in render("status", FR, told=found, wrong=told)
    assert "Feb" not in told[0].said


@pytest.mark.parametrize(
    ("kind", "said"),
    [("sft", "Examples"), ("dpo", "Preference pairs"), ("kto", "Rated answers"), ("evaluation", "Evaluation"),
     ("import", "Brought from elsewhere"), ("other", "other")],
)  # fmt: skip
def test_the_kind_of_a_job_is_said_in_the_readers_words(kind: str, said: str):
    found = status(jobs_failed=[job(kind=kind, at=now())], jobs_under_way=[job(kind=kind, silent=True)])
    assert len([one for one in wrong(EN, found) if f"ftjob-1 ({said})" in one.said]) == 2


@pytest.mark.parametrize("w", [EN, FR])
def test_what_came_without_codes_is_said_as_it_was_sent(w: Any):
    found = status().model_copy(update={"wrong": ["It is broken."], "coded": []})
    assert wrong(w, found) == [Fault("It is broken.", ours=False)]


def told_of(code: WrongCode, **values: Any) -> Status:
    return status().model_copy(update={"wrong": ["As sent."], "coded": [Wrong(code=code, values=values)]})
