"""What the sections of the studio and the chat draw from what the gateway says, without a browser."""

import json
import time
from typing import Any

import httpx
import pytest

from service.contract.conversations import ConversationTurns, Turn
from service.contract.evaluations import Gate, Reason
from service.contract.feedback import Standing
from service.contract.jobs import Job, JobEvent
from service.contract.lineage import Lineage
from ui import conversations, evaluations, jobs, releases
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.words import refusal, words

LANGUAGES = ("en", "fr")
EN = words("en")


def turn(number: int, **more: Any) -> Turn:
    fields: dict[str, Any] = {
        "completion_id": f"chatcmpl-{number}", "question": f"question {number}", "answer": f"answer {number}",
        "status": "complete", "release": None, "adapter": "base", "created_at": 1, "feedback": Standing(),
    }  # fmt: skip
    return Turn(**fields | more)


def conversation(*turns: Turn) -> ConversationTurns:
    return ConversationTurns(
        id="conv_1", title="t", assistant="fanal", created_at=1, updated_at=1, turns=list(turns),
        path=[turn.completion_id for turn in turns],
    )  # fmt: skip


def gateway_of(answers: dict[str, Any]) -> Gateway:
    """A client that is answered from `answers` by path."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=answers[request.url.path])

    return Gateway("http://gateway", transport=httpx.MockTransport(answer))


def listed(*items: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(items), "has_more": False}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("status", ["running", "complete", "interrupted", "failed"])
@pytest.mark.parametrize(
    "mine",
    [
        Standing(),
        Standing(rating=1, rating_id="fb_1", reasons=["helpful"], comment="<b>so</b>"),
        Standing(rating=-1, rating_id="fb_2", correction="<i>better</i>", correction_id="fb_3"),
    ],
)
def test_a_turn_is_drawn_in_every_state_and_nothing_in_it_is_markup(
    language: str, status: Any, mine: Standing
):
    shown = turn(1, question="<script>q</script>", answer="<script>a</script>", status=status, feedback=mine)
    page = conversations.thread(words(language), conversation(shown), None)
    assert "&lt;script&gt;q" in page
    for markup in ("<script>", "<b>so", "<i>better"):
        assert markup not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_that_an_answer_was_cut_off_is_said_and_what_that_means_for_training(language: str):
    w = words(language)
    page = conversations.thread(w, conversation(turn(1, cut_off=True)), None)
    assert w("turn_cut_off") in page
    assert w("turn_cut_off_text") in page
    assert w("turn_cut_off") not in conversations.thread(w, conversation(turn(1)), None)


def test_only_the_last_turns_are_drawn_and_the_others_are_offered():
    page = conversations.thread(EN, conversation(*[turn(n) for n in range(50)]), None, window=30)
    assert page.count("<article") == 30
    assert "Show 20 earlier messages" in page


def test_who_answered_is_named_by_release():
    page = conversations.thread(EN, conversation(turn(1), turn(2, release=3, adapter="abc")), None)
    assert page.index("base model") < page.index("release 3")


def test_a_failure_whose_question_was_asked_again_is_not_shown_twice():
    failed = turn(1, question="same", answer="", status="failed")
    page = conversations.thread(EN, conversation(failed, turn(2, question="same")), None)
    assert page.count("<article") == 1
    assert conversations.thread(EN, conversation(failed), None, growing="start").count("<article") == 0


def test_a_question_is_sent_with_all_turns_that_have_an_answer():
    turns = [turn(1), turn(2, answer="", status="failed"), turn(3, answer="half", status="interrupted")]
    sent = conversations.messages(turns, "next")
    assert [m["content"] for m in sent] == ["question 1", "answer 1", "question 3", "half", "next"]
    assert [m["role"] for m in sent] == ["user", "assistant", "user", "assistant", "user"]


def test_a_picture_in_an_answer_is_never_fetched_and_a_link_tells_nobody_where_it_was():
    page = conversations.thread(
        EN, conversation(turn(1, answer="![x](http://e.example/x) [l](http://e.example)")), None
    )
    assert "<img" not in page
    assert 'rel="noopener noreferrer nofollow"' in page


def job(**more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": "ftjob-1", "created_at": 1, "model": "fanal", "status": "running", "training_file": "file-1",
        "seed": 0, "hyperparameters": {"n_epochs": 3, "beta": 0.1},
        "method": {"type": "dpo", "dpo": {}},
    }  # fmt: skip
    return Job(**fields | more).model_dump()


def step(number: int, **figures: float) -> dict[str, Any]:
    data = {"step": number, "total_steps": 4, **figures}
    event = JobEvent(
        id=f"e{number}", created_at=number, level="info", message="Step", type="metrics", data=data
    )
    return event.model_dump()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "status",
    ["validating_files", "queued", "running", "pausing", "paused", "succeeded", "failed", "cancelled"],
)
async def test_a_job_is_drawn_in_every_state_with_and_without_figures(language: str, status: str):
    w = words(language)
    ended = status in ("succeeded", "failed", "cancelled")
    error = {"code": "c", "message": "It <went> wrong."} if status == "failed" else None
    for events in ([], [step(2, valid_loss=1.0), step(1, train_loss=2.0)]):
        shown = job(status=status, error=error, estimated_finish=int(time.time()) + 300)
        path = "/v1/fine_tuning/jobs/ftjob-1"
        gateway = gateway_of({path: shown, f"{path}/events": listed(*events), "/v1/files": listed()})
        head, loss, ranking, _ = await jobs.detail(gateway, "t", w, "ftjob-1")
        cards = await jobs.listing(gateway, "t", w, [Job(**shown)], "ftjob-1")
        assert ('data-do="cancel"' in head) is not ended
        assert ('data-do="pause"' in head) is (status in ("queued", "running"))
        assert ('data-do="resume"' in head) is (status in ("pausing", "paused"))
        assert "<went>" not in head
        assert w(f"job_{status}") in cards
        assert len(loss) == len(events)
        assert len(ranking) == 0


def test_a_curve_has_its_points_oldest_first_and_says_which_rows_they_are_of():
    again = JobEvent(**step(1, train_loss=2.0))
    events = [JobEvent(**step(2, valid_loss=1.5, train_loss=1.0)), again, again]
    points = jobs.points(EN, events, jobs.CURVES)
    assert points.to_dict("records") == [
        {"step": 1, "value": 2.0, "kind": "training rows"},
        {"step": 2, "value": 1.0, "kind": "training rows"},
        {"step": 2, "value": 1.5, "kind": "rows kept aside"},
    ]


def test_a_curve_begins_with_the_first_step_when_it_has_both_kinds_of_rows():
    before = JobEvent(**step(0, valid_loss=3.0))
    assert jobs.points(EN, [before], jobs.CURVES).empty
    begun = jobs.points(EN, [JobEvent(**step(1, train_loss=2.0)), before], jobs.CURVES)
    assert list(begun["kind"]) == ["rows kept aside", "training rows"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(20, "under a minute"), (65, "about a minute"), (600, "about 10 minutes"), (3 * 3600, "about 3 hours")],
)
def test_a_length_of_time_is_said_as_people_say_it(seconds: float, said: str):
    assert jobs.in_words(EN, seconds) == said


def report(verdict: str) -> dict[str, Any]:
    def score(contestant: str, mean: float, **more: Any) -> dict[str, Any]:
        fields = {
            "metric": "fact_recall",
            "contestant": contestant,
            "mean": mean,
            "low": 0,
            "high": 1,
            "cases": 8,
        }
        return fields | {"failed": 0, "slice": "all"} | more

    return {
        "cases": 8, "languages": {"en": 8}, "contestants": {"candidate": "a@2", "live": "a@1", "base": "a@0"},
        "primary": "fact_recall", "differences": [], "gate": {"verdict": verdict, "reasons": ["Because <so>."]},
        "scores": [score("base", 0.1), score("live", 0.5), score("candidate", 0.75),
                   score("candidate", 0.2, slice="language:fr")],
        "examples_better": ["1"], "examples_worse": [], "judge": None, "seconds": 3.0,
    }  # fmt: skip


def evaluation(**more: Any) -> dict[str, Any]:
    fields = {
        "id": "eval_1", "assistant": "a", "release": "rel_2", "release_number": 2, "status": "succeeded",
        "report": None, "error": None, "created_at": 1, "finished_at": None,
    }  # fmt: skip
    return fields | more


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("verdict", ["pass", "hold"])
async def test_an_evaluation_is_told_by_the_deciding_figure_of_each_contestant(language: str, verdict: str):
    told = {"/api/evaluations": listed(evaluation(report=report(verdict))), "/api/releases": listed()}
    gateway = gateway_of(told)
    page = await evaluations.listing(gateway, "t", words(language), "a")
    head = page.partition("data-slices")[0]
    best, live, base, other = (words(language)("percent", n=share) for share in (75, 50, 10, 20))
    assert head.index(best) < head.index(live) < head.index(base)
    assert other not in head
    assert words(language)(f"gate_text_{verdict}") in page
    assert '<li lang="en">Because &lt;so&gt;.</li>' in page
    assert 'sandbox=""' in page


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_pass_that_holds_no_more_is_not_told_as_one_nor_is_one_that_a_newer_evaluation_followed(
    language: str,
):
    newer, older = (evaluation(id=id_, report=report("pass")) for id_ in ("eval_2", "eval_1"))
    outdated = Gate(verdict="hold", reasons=["not now"], coded=[Reason(code="another_live")])
    measured = release(2, "candidate", outdated) | {"evaluation": "eval_2"}
    answers = {"/api/evaluations": listed(newer, older), "/api/releases": listed(measured)}
    w = words(language)
    page = await evaluations.listing(gateway_of(answers), "t", w, "a")
    now, before = page.split('data-evaluation="eval_1"')
    assert w("gate_text_hold") in now
    assert w("gate_another_live") in now
    assert w("gate_text_earlier") in before
    assert w("gate_text_pass") not in page


@pytest.mark.parametrize("status", ["queued", "running", "failed", "cancelled"])
async def test_an_evaluation_without_a_report_says_how_far_it_is(status: str):
    told = {
        "id": "e",
        "created_at": 1,
        "level": "info",
        "message": "Asked 3 of 8.",
        "type": "message",
        "data": {},
    }
    error = "It went wrong." if status == "failed" else None
    answers = {
        "/api/evaluations": listed(evaluation(status=status, error=error)),
        "/api/evaluations/eval_1/events": listed(told),
        "/api/releases": listed(),
    }
    page = await evaluations.listing(gateway_of(answers), "t", EN, "a")
    assert ("Asked 3 of 8." in page) is (status in ("queued", "running"))
    assert ("It went wrong." in page) is (status == "failed")


async def test_a_running_evaluation_says_how_far_it_is_and_falls_back_never():
    def told(type_: str, **data: Any) -> dict[str, Any]:
        return {
            "id": "e",
            "created_at": 1,
            "level": "info",
            "message": "as sent",
            "type": type_,
            "data": data,
        }

    asking = told("metrics", step=6, total_steps=8, seconds_left=130.0)
    marking = told("message", code="evaluation_scoring", n=8, metrics=2)
    for events, said, share in (
        ([asking], "6 of 8 answers are in · about 2 minutes left", 75),
        ([marking, asking], EN("event_evaluation_scoring", n=8), 75),
    ):
        answers = {"/api/evaluations": listed(evaluation(status="running")), "/api/releases": listed()}
        answers["/api/evaluations/eval_1/events"] = listed(*events)
        page = await evaluations.listing(gateway_of(answers), "t", EN, "a")
        assert said in page
        assert f'aria-valuenow="{share}"' in page


def release(number: int, state: str, gate: Gate | None) -> dict[str, Any]:
    return {
        "id": f"rel_{number}", "assistant": "a", "number": number, "adapter": "d" * 64, "model": "ft:x", "job": None,
        "state": state, "gate": gate and gate.model_dump(), "evaluation": None, "created_at": 1, "promoted_at": None,
        "promoted_by": None, "override_reason": None,
    }  # fmt: skip


def adapter() -> dict[str, Any]:
    settings = {"n_epochs": 1, "batch_size": 1, "learning_rate": 0.1}
    manifest = {
        "kind": "sft", "base_model": "b", "base_sha256": "s", "template_sha256": "t", "train_sha256": "r",
        "parent": None, "job": "j", "settings": settings, "versions": {}, "created_at": 1,
    }  # fmt: skip
    proof = {
        "cases": 6, "tokens": 80, "same_prompt_tokens": True, "distance_to_trainer": 0.01, "distance_to_base": 2.0,
        "noise": 0.0,
        "tolerance": 0.15, "outputs_changed": 5, "engine": "vllm",
    }  # fmt: skip
    return {
        "digest": "d" * 64,
        "model": "ft:x",
        "manifest": manifest,
        "proof": proof,
        "bytes": 1,
        "created_at": 1,
    }


NO_LINEAGE = Lineage(
    datasets=[], jobs=[], documents=[], adapters=[], releases=[], people=[], feedback=[], more=False
).model_dump()


async def test_a_rollback_names_the_release_that_was_drawn_as_live():
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(409, json={"error": {"message": "m", "type": "t", "code": "other_is_live"}})

    gateway = Gateway("http://gateway", transport=httpx.MockTransport(answer))
    act = Act(act="roll_back", id="rel_3", fields={"reason": ["It is too slow."]})
    with pytest.raises(Refused) as refused:
        await releases.do(gateway, "t", EN, "a", act)
    assert sent == [{"reason": "It is too slow.", "release": "rel_3"}]
    assert refusal(EN, refused.value) == EN("error_other_is_live")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_why_a_candidate_is_held_stands_beside_it(language: str):
    outdated = Reason(code="another_live")
    held = Gate(verdict="hold", reasons=["It passed once."], coded=[outdated])
    answers = {
        "/api/releases": listed(release(2, "candidate", held), release(3, "live", held)),
        "/api/evaluations": listed(),
        f"/api/adapters/{'d' * 64}": adapter(),
        f"/api/adapters/{'d' * 64}/lineage": NO_LINEAGE,
    }  # fmt: skip
    w = words(language)
    page = await releases.listing(gateway_of(answers), "t", w, "a", releases.Kept())
    assert page.count(w("gate_another_live")) == 1, "the live one answers, whatever held it"


@pytest.mark.parametrize("status", ["queued", "running", "succeeded"])
async def test_a_release_that_is_being_measured_says_so_and_is_not_measured_twice(status: str):
    answers = {
        "/api/releases": listed(release(2, "candidate", None)),
        "/api/evaluations": listed(evaluation(status=status)),
        f"/api/adapters/{'d' * 64}": adapter(),
        f"/api/adapters/{'d' * 64}/lineage": NO_LINEAGE,
    }  # fmt: skip
    page = await releases.listing(gateway_of(answers), "t", EN, "a", releases.Kept())
    measuring = status != "succeeded"
    assert (EN("evaluation_running") in page) is measuring
    assert ('data-do="evaluate"' in page) is not measuring


@pytest.mark.parametrize("language", LANGUAGES)
async def test_only_a_release_that_passed_goes_live_without_a_reason(language: str):
    held, passed = Gate(verdict="hold", reasons=["r"]), Gate(verdict="pass", reasons=["r"])
    for gate, needs_reason in ((held, True), (None, True), (passed, False)):
        answers = {
            "/api/releases": listed(release(2, "candidate", gate), release(1, "live", passed)),
            "/api/evaluations": listed(),
            f"/api/adapters/{'d' * 64}": adapter(),
            f"/api/adapters/{'d' * 64}/lineage": NO_LINEAGE,
        }  # fmt: skip
        page = await releases.listing(gateway_of(answers), "t", words(language), "a", releases.Kept())
        assert page.count("data-lineage") == 2
        candidate = page.partition('data-release="2"')[2].partition('data-release="1"')[0]
        assert ('name="reason"' in candidate) is needs_reason
        assert 'data-do="promote"' in candidate
        assert 'data-do="promote"' not in page.partition('data-release="1"')[2]
        assert 'data-do="roll_back"' in page
