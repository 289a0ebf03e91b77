import re
from typing import Any

import pytest

from service.contract.jobs import Job, JobEvent
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.runs import compared, drawn
from ui.words import words

LANGUAGES = ("en", "fr")
EN = words("en")
BAD = "<b>bad</b>"


def job(**more: Any) -> Job:
    fields: dict[str, Any] = {
        "id": "ftjob-1", "created_at": 100, "finished_at": 1000, "model": "fanal", "status": "succeeded",
        "training_file": "file-1", "seed": 0, "hyperparameters": {"n_epochs": 3, "beta": 0.1, "use_rslora": False},
        "method": {"type": "dpo", "dpo": {}}, "trained_tokens": 4000,
    }  # fmt: skip
    return Job(**fields | more)


def step(number: int, at: int, **figures: float) -> JobEvent:
    data = {"step": number, "total_steps": 4, **figures}
    return JobEvent(id=f"e{number}", created_at=at, level="info", message="", type="metrics", data=data)


EVENTS = [
    step(4, 900, valid_loss=0.4, valid_reward_accuracy=0.75), step(4, 890, train_loss=0.25),
    step(1, 400, train_loss=0.7, valid_loss=0.69, valid_reward_accuracy=0.5),
]  # fmt: skip


def rows(page: str) -> list[str]:
    found = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in found]


def test_only_the_settings_that_differ_are_told_and_each_result_beside_the_other():
    other = job(hyperparameters={"n_epochs": 5, "beta": 0.1, "use_rslora": True}, seed=7, finished_at=4000)
    page = drawn(EN, (job(), EVENTS), (other, [step(2, 400, train_loss=0.5)]))
    told = rows(page)
    assert "Passes over the data 3 5" in told
    assert "Scaled by the root of its rank (rsLoRA) no yes" in told
    assert "Seed of chance 0 7" in told
    assert not [row for row in told if row.startswith(("Beta", "Training file"))]
    assert "Distance to the training rows 0.700 → 0.250 0.500 → 0.500" in told
    assert "Distance to the rows kept aside 0.690 → 0.400 –" in told
    assert "Pairs kept aside ranked rightly 50% → 75% –" in told
    assert "From the first step to the end about 10 minutes about 60 minutes" in told
    assert EN("runs_unlike") not in page


def test_distances_of_other_data_or_another_method_are_not_set_against_each_other():
    sft = job(method={"type": "supervised", "supervised": {}}, hyperparameters={"n_epochs": 3})
    for other in (job(training_file="file-2"), sft):
        assert EN("runs_unlike") in drawn(EN, (job(), EVENTS), (other, EVENTS))
    page = drawn(EN, (job(), EVENTS), (sft, EVENTS))
    assert any(row.startswith("Beta") and row.endswith("0.1 –") for row in rows(page))
    assert "What it learned from Preference pairs Examples" in rows(page)
    page = drawn(EN, (job(start_adapter="a" * 64), EVENTS), (job(), EVENTS), names={"a" * 64: "release 4"})
    assert "Started from release 4 base model" in rows(page)


def test_what_a_run_reached_is_that_of_the_step_that_was_kept_by_its_method_s_own_name():
    kept = JobEvent(
        id="e",
        created_at=910,
        level="info",
        message="",
        type="message",
        data={"code": "kept_best", "best": 3},
    )
    later = [
        kept,
        step(4, 900, valid_loss=0.9, valid_reward_accuracy=0.1),
        step(3, 800, valid_loss=0.5),
        *EVENTS[2:],
    ]
    told = rows(drawn(EN, (job(), later), (job(method={"type": "kto", "kto": {}}), EVENTS)))
    assert "Distance to the rows kept aside 0.690 → 0.500 0.690 → 0.400" in told
    assert "Pairs kept aside ranked rightly 50% → 50% –" in told
    assert "Ratings kept aside told rightly – 50% → 75%" in told


@pytest.mark.parametrize("other", [{"beta": 5.0}, {"loss_type": "robust"}, {"sft_weight": 0.5}])
def test_distances_by_another_loss_are_not_set_against_each_other(other: dict[str, Any]):
    changed = job(hyperparameters={"n_epochs": 3, "beta": 0.1, "use_rslora": False, **other})
    assert EN("runs_unlike") in drawn(EN, (job(), EVENTS), (changed, EVENTS))


def test_two_runs_of_the_same_settings_are_said_to_be_so():
    assert EN("runs_same") in drawn(EN, (job(), EVENTS), (job(id="ftjob-2"), EVENTS))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("status", ["queued", "running", "paused", "succeeded", "failed", "cancelled"])
def test_runs_in_every_state_are_drawn_and_nothing_in_them_is_markup(language: str, status: Any):
    other = job(
        status=status, training_file=BAD, model=BAD, finished_at=None, hyperparameters={BAD: BAD}, trained_tokens=None
    )  # fmt: skip
    page = drawn(words(language), (job(), EVENTS), (other, []), once=BAD)
    assert "<b>" not in page
    assert words(language)(f"job_{status}") in page


@pytest.mark.parametrize("fields", [{}, {"one": ["a"]}, {"one": ["a"], "two": ["a"]}])
async def test_one_run_is_not_compared_with_itself(fields: dict[str, list[str]]):
    with pytest.raises(Refused) as refused:
        await compared(Gateway("http://gateway"), "t", EN, Act(act="compare", fields=fields))
    assert refused.value.code == "two_runs"
