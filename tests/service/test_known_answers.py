"""Which answers of earlier evaluations may stand for a contestant of a new one."""

import json
from pathlib import Path

import pytest

from service.contract import folder
from service.contract.evaluations import Answer, Contestant, EvaluationSpec
from service.known_answers import served_sha256, take_over

PARTS = {
    "base_sha256": "b" * 64, "instructions": "Answer briefly.", "engines": ["0.32.0"],
    "cases_sha256": "c" * 64, "max_tokens": 80, "seed": 0,
}  # fmt: skip


def spec(
    id_: str, adapters: dict[Contestant, str], served: str | None = "same", **more: object
) -> EvaluationSpec:
    return EvaluationSpec.model_validate(
        {
            "id": id_, "gateway": "http://127.0.0.1:1", "assistant": "desk", "cases_sha256": "c" * 64,
            "models": dict.fromkeys(adapters, "desk@1"), "adapters": adapters, "served_sha256": served, **more,
        }
    )  # fmt: skip


def finished(place: Path, given: EvaluationSpec, error: str | None = None) -> Path:
    place.mkdir()
    (place / folder.JOB).write_text(given.model_dump_json())
    answers = [
        Answer(
            case=case,
            contestant=who,
            text=f"{adapter} on {case}",
            adapter=adapter,
            error=error,
            scores={"chrf": 1},
        )
        for who, adapter in given.adapters.items()
        for case in ("one", "two")
    ]
    (place / folder.ANSWERS).write_text("".join(answer.model_dump_json() + "\n" for answer in answers))
    return place


def test_yesterdays_candidate_is_todays_live_release_and_is_not_asked_again(tmp_path: Path) -> None:
    before = finished(tmp_path / "a", spec("eval-1", {"candidate": "sha256-1", "base": "base"}))
    now = spec("eval-2", {"candidate": "sha256-2", "live": "sha256-1", "base": "base"})
    known, answers = take_over(now, [before])
    assert known == {"live": "eval-1", "base": "eval-1"}
    assert {(answer.contestant, answer.text) for answer in answers} == {
        ("live", "sha256-1 on one"), ("live", "sha256-1 on two"), ("base", "base on one"), ("base", "base on two"),
    }  # fmt: skip
    assert all(answer.scores == {} for answer in answers), "they are scored anew, beside the others"


def test_the_candidate_is_always_asked_even_when_it_was_measured_before(tmp_path: Path) -> None:
    before = finished(tmp_path / "a", spec("eval-1", {"candidate": "sha256-1", "base": "base"}))
    assert (
        "candidate" not in take_over(spec("eval-2", {"candidate": "sha256-1", "base": "base"}), [before])[0]
    )


def test_answers_taken_over_twice_still_name_the_evaluation_that_asked(tmp_path: Path) -> None:
    adapters: dict[Contestant, str] = {"candidate": "sha256-2", "base": "base"}
    before = finished(tmp_path / "a", spec("eval-2", adapters, known={"base": "eval-1"}))
    assert take_over(spec("eval-3", {"candidate": "sha256-3", "base": "base"}), [before])[0] == {
        "base": "eval-1"
    }


@pytest.mark.parametrize("served", ["other", None])
def test_answers_made_under_other_circumstances_are_asked_for_again(
    tmp_path: Path, served: str | None
) -> None:
    before = finished(tmp_path / "a", spec("eval-1", {"candidate": "sha256-1", "base": "base"}, served))
    assert take_over(spec("eval-2", {"candidate": "sha256-2", "base": "base"}), [before]) == ({}, [])


def test_a_contestant_with_a_failed_question_is_asked_again(tmp_path: Path) -> None:
    before = finished(tmp_path / "a", spec("eval-1", {"candidate": "sha256-1", "base": "base"}), "no answer")
    assert take_over(spec("eval-2", {"candidate": "sha256-2", "base": "base"}), [before]) == ({}, [])


def test_an_evaluation_whose_folder_is_gone_or_broken_is_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / folder.JOB).write_text("{")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / folder.JOB).write_text(json.dumps({"kind": "evaluation", "gone": True}))
    now = spec("eval-2", {"candidate": "sha256-2", "base": "base"})
    assert take_over(now, [tmp_path / "gone", broken, tmp_path / "old"]) == ({}, [])


@pytest.mark.parametrize(
    "change",
    [
        {"base_sha256": "d" * 64}, {"instructions": "Answer at length."}, {"engines": ["0.33.0"]},
        {"cases_sha256": "e" * 64}, {"max_tokens": 81}, {"seed": 1},
    ],
)  # fmt: skip
def test_whatever_makes_an_answer_makes_the_hash(change: dict) -> None:
    assert served_sha256(**PARTS) != served_sha256(**PARTS | change)
