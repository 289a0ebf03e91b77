"""The whole evaluation over real HTTP, against a small gateway (see `gateway`).

Once as the process that the worker starts; the other times through its front door in this process.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evals import __main__ as door
from evals import answers as asking
from evals.answers import contestants
from service.contract.evaluations import Answer, EvaluationReport, EvaluationSpec, Reason
from service.contract.folder import LEARNED, read_lines
from service.contract.jobs import Progress
from tests.evals.gateway import ADAPTERS, KEY, Asked, Table, gateway, served
from tests.evals.runs import read, run, start, write_run

pytestmark = pytest.mark.heavy  # whole evaluations, with their plots

QUESTIONS = [f"flaky question {n}" if n % 4 == 0 else f"Quelle est la règle n° {n} ?" for n in range(12)]
CASES = [
    {"id": f"c{n}", "question": question, "facts": [f"règle {n}"], "language": "fr" if n % 4 else "en"}
    for n, question in enumerate(QUESTIONS)
]
BROKEN = {"id": "broken", "question": "broken question", "facts": ["règle"]}


def table_of(candidate: str, live: str, base: str) -> Table:
    answers = {"desk@2": candidate, "desk@1": live, "base-model": base}
    table = {
        question: {who: text.format(n=n) for who, text in answers.items()}
        for n, question in enumerate(QUESTIONS)
    }
    return table | {"broken question": dict.fromkeys(answers, "la règle")}


class Served:
    def __init__(self) -> None:
        self.asked = Asked()
        self.table = table_of("C'est la règle\u00a0{n}.", "Aucune idée.", "")
        self.adapters = dict(ADAPTERS)
        self.changes: dict[str, tuple[str, str]] = {}
        self.url = ""


@pytest.fixture
def desk() -> Iterator[Served]:
    desk = Served()
    with served(gateway(desk.table, desk.asked, desk.adapters, desk.changes)) as desk.url:
        yield desk


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """The command in this process: its exit code. Pauses between tries are cut short."""
    monkeypatch.setattr(asking, "PAUSES", (0.01, 0.02))
    before = signal.getsignal(signal.SIGTERM)

    def command(folder: Path, key: str | None = KEY) -> int:
        monkeypatch.delenv("TAILORBIRD_EVALUATION_KEY", raising=False)
        if key:
            monkeypatch.setenv("TAILORBIRD_EVALUATION_KEY", key)
        return door.main([str(folder)])

    yield command
    signal.signal(signal.SIGTERM, before)


@pytest.mark.heavy
def test_a_better_candidate_passes_and_everything_is_written(tmp_path: Path, desk: Served) -> None:
    folder = write_run(tmp_path / "run", CASES, desk.url, at_once=4)
    code, errors = run(folder)
    assert code == 0, errors
    report = EvaluationReport.model_validate(read(folder, "report.json"))
    assert report.gate.verdict == "pass"
    assert report.contestants == {"candidate": "desk@2", "live": "desk@1", "base": "base-model"}
    assert report.cases == 12
    assert report.languages == {"fr": 9, "en": 3}
    assert report.primary == "fact_recall"
    whole = {one.contestant: one for one in report.scores if one.slice == "all"}
    assert [whole[who].mean for who in ("candidate", "live", "base")] == [1.0, 0.0, 0.0]
    assert [one.failed for one in whole.values()] == [0, 0, 0], "a question that failed once is asked again"
    answers = [Answer.model_validate(line) for line in read_lines(folder / "answers.jsonl")]
    assert len(answers) == 36
    assert {answer.adapter for answer in answers if answer.contestant == "candidate"} == {"sha256-candidate"}
    progress = [Progress.model_validate(line) for line in read_lines(folder / "progress.jsonl")]
    assert [line.step for line in progress if line.step] == list(range(1, 37))
    assert progress[-1].message
    assert [line.code for line in progress if line.message and line.code is None] == []
    assert "passes" in progress[-1].message
    assert "Quelle est la règle" in (folder / "report.html").read_text()
    assert "Quelle est la règle" in (folder / "report.fr.html").read_text()
    settings = {(body["temperature"], body["seed"], body["store"]) for body in desk.asked.requests}
    assert settings == {(0, 0, False)}
    first = [body["model"] for body in desk.asked.requests[:4]]
    assert set(first) == set(ADAPTERS), "the contestants take turns"


def test_one_unanswered_question_holds_a_candidate_that_is_better_everywhere_else(
    tmp_path: Path, desk: Served, evaluate: Callable[..., int]
) -> None:
    folder = write_run(tmp_path / "run", [*CASES, BROKEN], desk.url)
    assert evaluate(folder) == 0
    report = EvaluationReport.model_validate(read(folder, "report.json"))
    candidate = next(one for one in report.scores if one.contestant == "candidate" and one.slice == "all")
    assert (candidate.cases, candidate.failed) == (13, 1)
    assert candidate.mean == pytest.approx(12 / 13)
    assert report.gate.verdict == "hold"
    assert report.gate.reasons[0].startswith("1 of the 13")
    assert desk.asked.tries["desk@2", "broken question"] == 3
    assert "the engine stumbled" in (folder / "report.html").read_text()


def test_a_candidate_answered_by_the_base_model_is_held(
    tmp_path: Path, desk: Served, evaluate: Callable[..., int]
) -> None:
    desk.adapters["desk@2"] = "base"
    folder = write_run(tmp_path / "run", CASES, desk.url)
    assert evaluate(folder) == 0
    assert EvaluationReport.model_validate(read(folder, "report.json")).gate.verdict == "hold"
    mine = [Answer.model_validate(line) for line in read_lines(folder / "answers.jsonl")][:12]
    assert {answer.error for answer in mine} == {"the base model answered in place of the candidate"}
    assert {answer.fault.code for answer in mine if answer.fault} == {"only_base"}


def test_an_answer_by_another_adapter_than_before_does_not_count(
    tmp_path: Path, desk: Served, evaluate: Callable[..., int]
) -> None:
    desk.changes["desk@1"] = ("sha256-live", "sha256-other")
    folder = write_run(tmp_path / "run", CASES[1:4] + CASES[5:8], desk.url, at_once=1)
    assert evaluate(folder) == 0
    report = EvaluationReport.model_validate(read(folder, "report.json"))
    assert report.gate.verdict == "hold"
    live = next(one for one in report.scores if one.contestant == "live" and one.slice == "all")
    assert live.failed == 5
    assert "5 of the 6 planned questions" in report.gate.reasons[0]


def test_the_same_release_against_itself_shows_no_difference_and_passes(
    tmp_path: Path, desk: Served, evaluate: Callable[..., int]
) -> None:
    models = {"candidate": "desk@2", "live": "desk@2", "base": "base-model"}
    folder = write_run(tmp_path / "run", CASES, desk.url, models=models)
    assert evaluate(folder) == 0
    report = EvaluationReport.model_validate(read(folder, "report.json"))
    same = next(one for one in report.differences if one.against == "live" and one.slice == "all")
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    assert report.gate.verdict == "pass"
    assert "no difference from the live release" in report.gate.reasons[1]
    assert "compares a thing with itself" in (folder / "report.html").read_text()


def test_questions_that_the_candidate_or_what_it_went_on_from_was_taught_hold_it(
    tmp_path: Path, desk: Served, evaluate: Callable[..., int]
) -> None:
    def said(question: str, **more: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": question}, {"role": "assistant", "content": "Yes.", **more}]

    unlearnt = said(QUESTIONS[2], weight=0) + said("Something else entirely?")
    first = [
        {"messages": said("Hello?") + said(f"  {QUESTIONS[0].upper()}")}, {"messages": said("Nobody asks this.")},
        {"messages": unlearnt},
    ]  # fmt: skip
    parts = {"preferred_output": said("")[1:], "non_preferred_output": said("")[1:]}
    second = [
        {"input": {"messages": said(QUESTIONS[1])[:1]}, **parts},
        {"input": {"messages": said(QUESTIONS[0])[:1]}, **parts},
    ]  # fmt: skip
    folder = write_run(tmp_path / "run", CASES, desk.url, learned=["a" * 64, "b" * 64])
    for number, rows in enumerate((first, second)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / LEARNED.format(number=number)).write_text(lines)
    assert evaluate(folder) == 0
    gate = EvaluationReport.model_validate(read(folder, "report.json")).gate
    assert gate.verdict == "hold"
    assert gate.coded[0] == Reason(code="learned", values={"learned": 3, "planned": 12})
    assert "a appris 3" in (folder / "report.fr.html").read_text()


def test_a_broken_candidate_is_held_with_the_worst_examples_named(
    tmp_path: Path, desk: Served, evaluate: Callable[..., int]
) -> None:
    for answers in desk.table.values():
        answers["desk@2"], answers["desk@1"] = "la la la la", answers["desk@2"]
    folder = write_run(tmp_path / "run", CASES, desk.url)
    assert evaluate(folder) == 0
    report = EvaluationReport.model_validate(read(folder, "report.json"))
    assert report.gate.verdict == "hold"
    assert report.gate.reasons[0].startswith("The candidate is worse than the live release: −100 points")
    assert len(report.examples_worse) == 12
    assert report.examples_better == []
    assert [one.case for one in report.changes] == report.examples_worse[:5]
    assert {one.now for one in report.changes} == {"la la la la"}
    assert {(one.score_before, one.score_now) for one in report.changes} == {(1.0, 0.0)}


def test_contestants_whose_answers_are_known_are_scored_but_not_asked(
    tmp_path: Path, desk: Served, evaluate: Callable[..., int]
) -> None:
    adapters = {"candidate": "sha256-candidate", "live": "sha256-live", "base": "base"}
    known = {"live": "eval-0", "base": "eval-0"}
    folder = write_run(tmp_path / "run", CASES, desk.url, adapters=adapters, known=known)
    write_known(folder, {"live": "C'est la règle\u00a0{n}.", "base": ""}, adapters)
    assert evaluate(folder) == 0
    assert {body["model"] for body in desk.asked.requests} == {"desk@2"}
    report = EvaluationReport.model_validate(read(folder, "report.json"))
    assert list(report.contestants) == ["candidate", "live", "base"]
    assert report.taken_over == known
    whole = {one.contestant: one.mean for one in report.scores if one.slice == "all"}
    assert whole == {"candidate": 1.0, "live": 1.0, "base": 0.0}
    assert len(list(read_lines(folder / "answers.jsonl"))) == 36, "the next evaluation finds them here"
    assert "taken over from <code>eval-0</code>" in (folder / "report.html").read_text()


def test_known_answers_of_another_adapter_are_refused(
    tmp_path: Path, desk: Served, evaluate: Callable[..., int]
) -> None:
    adapters = {"candidate": "sha256-candidate", "base": "base"}
    folder = write_run(tmp_path / "run", CASES, desk.url, adapters=adapters, known={"base": "eval-0"})
    write_known(folder, {"base": "la règle"}, {"base": "sha256-other"})
    assert evaluate(folder) == 1
    assert read(folder, "error.json")["code"] == "known_answers_unfit"
    assert desk.asked.requests == []


def test_an_answer_by_another_adapter_than_the_release_has_does_not_count(
    tmp_path: Path, desk: Served, evaluate: Callable[..., int]
) -> None:
    folder = write_run(tmp_path / "run", CASES, desk.url, adapters={"candidate": "sha256-wanted"})
    assert evaluate(folder) == 0
    mine = [Answer.model_validate(line) for line in read_lines(folder / "answers.jsonl")][:12]
    assert {answer.error for answer in mine} == {
        "adapter sha256-candi answered, it should have been sha256-wante"
    }


def write_known(folder: Path, texts: dict, adapters: dict) -> None:
    lines = [
        Answer(
            case=case["id"],
            contestant=who,
            text=text.format(n=n),
            adapter=adapters[who],
            scores={"chrf": 0.5},
        )
        for who, text in texts.items()
        for n, case in enumerate(CASES)
    ]
    (folder / "known.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in lines))


@pytest.mark.parametrize(
    ("key", "change", "code"),
    [
        (None, {}, "no_key"),
        ("sk-wrong", {}, "key_refused"),
        (KEY, {"models": {"candidate": "desk@9", "base": "base-model"}}, "unknown_model"),
        (KEY, {"cases_sha256": "0" * 64}, "cases_changed"),
        (KEY, {"gateway": "http://127.0.0.1:1", "at_once": 64}, "gateway_unreachable"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(
    tmp_path: Path,
    desk: Served,
    evaluate: Callable[..., int],
    key: str | None,
    change: dict,
    code: str,
) -> None:
    folder = write_run(tmp_path / "run", CASES[1:3], **{"gateway": desk.url} | change)
    assert evaluate(folder, key) == 1
    error = read(folder, "error.json")
    assert error["code"] == code
    assert error["message"].endswith(".")
    assert not (folder / "report.json").exists()


@pytest.mark.heavy
def test_a_stop_is_prompt_and_leaves_no_report(tmp_path: Path, desk: Served) -> None:
    cases = [{"question": "slow question", "facts": ["never"]}]
    folder = write_run(tmp_path / "run", cases, desk.url)
    process = start(folder)
    while not desk.asked.requests and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143
    assert not (folder / "report.json").exists()
    assert not (folder / "error.json").exists()


def test_a_live_release_that_is_the_base_is_asked_once() -> None:
    spec = EvaluationSpec(
        id="e",
        gateway="http://127.0.0.1:1",
        assistant="desk",
        models={"base": "base-model", "live": "base-model", "candidate": "desk@2"},
        cases_sha256="",
    )
    assert contestants(spec) == ["candidate", "base"]
