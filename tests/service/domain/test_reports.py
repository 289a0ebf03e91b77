from typing import Any

import pytest

from service.contract.evaluations import EvaluationReport, Gate
from service.contract.jobs import TrainingReport
from service.contract.replay import Forgetting
from service.db import tables
from service.domain import assistants, releases, reports
from service.domain.reports import chosen, desirable, forgetting, length, overfitting
from tests.service.domain.conftest import World

TRAINED = TrainingReport(
    steps=10,
    epochs=2,
    rows=20,
    held_out=4,
    trained_tokens=900,
    seconds=9,
    metrics={"train_loss": 0.35},
    kept_step=10,
)


@pytest.mark.parametrize(
    ("losses", "change", "code"),
    [
        ([1.0, 0.5, 0.4], {}, "overfit_none"),
        ([1.0, 0.4, 0.405], {}, "overfit_none"),
        ([1.0, 0.4, 0.5], {}, "overfit_kept"),
        ([1.0, 0.4, 0.5], {"kept_step": 5}, "overfit_avoided"),
        ([1.0, 1.2, 1.1], {}, "overfit_useless"),
        ([1.0, 0.5, 0.4], {"metrics": {"train_loss": 0.1}}, "overfit_gap"),
        ([1.0], {}, "overfit_unmeasured"),
        ([0.9, 0.1, -0.3], {"metrics": {"train_loss": -0.5}}, "overfit_none"),
        ([0.9, -0.3, -0.2], {}, "overfit_kept"),
    ],
)
def test_learning_by_heart_is_told_by_the_written_rule(losses: list[float], change: dict, code: str):
    curve = {"valid_loss": [(5 * pass_, loss) for pass_, loss in enumerate(losses)]}
    assert overfitting(curve, TRAINED.model_copy(update=change), held_out=True).code == code


def test_without_held_out_rows_learning_by_heart_cannot_be_told():
    found = overfitting({"train_loss": [(1, 0.5), (2, 0.1)]}, TRAINED, held_out=False)
    assert (found.code, found.mark) == ("overfit_no_rows", "unknown")
    assert "cannot be told, because" in found.because


@pytest.mark.parametrize(("same", "code"), [(0.95, "forgot_little"), (0.9, "forgot_much")])
def test_forgetting_is_measured_against_what_was_before_the_job(same: float, code: str):
    known = Forgetting(questions=16, tokens=9, distance=0.2, distance_before=0.1, same=same, same_before=0.97)
    found = forgetting(TRAINED.model_copy(update={"forgetting": known}))
    assert (found.code, found.values["earlier"]) == (code, 97)
    assert forgetting(None).mark == "unknown"


@pytest.mark.parametrize(
    ("check", "side", "name"), [(chosen, "chosen", "chosen"), (desirable, "desirable", "good")]
)
def test_good_answers_that_become_less_likely_are_warned_of(check: Any, side: str, name: str):
    def of(after: float) -> str:
        return check({f"valid_logp_{side}": [(0, -100.0), (10, after)]}, TRAINED).code

    assert [of(-90), of(-101), of(-110)] == [f"{name}_held", f"{name}_held", f"{name}_fell"]
    fallen = check({f"reward_{side}": [(1, 0.5), (2, 0.4), (3, -0.1), (4, -0.2)]}, TRAINED)
    assert (fallen.code, fallen.values["kept"]) == (f"{name}_fell_training", -0.15), "of the last pass alone"
    assert fallen.mark == "warn"
    assert check({}, TRAINED).code == f"{name}_unmeasured"


def test_answers_that_grew_or_shrank_are_told_against_what_is_live():
    def of(**words: int) -> str:
        report = EvaluationReport(
            cases=9, languages={}, contestants={}, primary="chrf", scores=[], differences=[], seconds=1,
            gate=Gate(verdict="pass", reasons=[]), words=words,  # type: ignore[arg-type]
        )  # fmt: skip
        return length(report).code

    assert of(candidate=40, live=20, base=40) == "length_longer"
    assert of(candidate=20, base=40) == "length_shorter"
    assert of(candidate=25, live=20) == "length_same"
    assert of(candidate=25) == of() == "length_unmeasured"


def test_the_third_sentence_is_the_first_warning_or_says_what_could_not_be_told():
    good, unknown = reports.found("chosen_held"), reports.found("length_unmeasured")
    warning = reports.found("forgot_much", now=81, earlier=97)
    assert reports.watch([good, unknown, warning]) == warning
    assert reports.watch([good, unknown]).values == {"n": 1}
    assert reports.watch([good]).code == "watch_nothing"


@pytest.mark.parametrize(("questions", "told"), [(16, 0.8), (15, None)])
async def test_what_was_forgotten_is_set_beside_the_release_that_is_live_where_both_were_asked_the_same(
    world: World, questions: int, told: float | None
):
    known = Forgetting(questions=16, tokens=9, distance=0.2, distance_before=0.1, same=0.9, same_before=1)
    theirs = known.model_copy(update={"same": 0.8, "questions": questions})
    made = {"a" * 64: theirs, "b" * 64: known}
    async with world.database.writing() as session:
        for number, (digest, forgot) in enumerate(made.items()):
            job = tables.Job(
                id=f"ftjob-{number}", kind="sft", status="succeeded", user_id=world.admin.user_id, settings={},
                model="desk", request={"model": "desk", "training_file": "file-1"}, assistant="desk", adapter=digest,
                training_file="file-1", attempts=1, cancel_requested=False, created_at=number,
            )  # fmt: skip
            session.add(job)
            await session.flush()
            report = TRAINED.model_copy(update={"forgetting": forgot}).model_dump()
            session.add(
                tables.Adapter(
                    digest=digest, model=f"ft:{number}", job_id=job.id, user_id=world.admin.user_id, manifest={},
                    proof={}, report=report, bytes=1, created_at=number, deleted_at=None,
                )
            )  # fmt: skip
            await session.flush()
            release = await releases.offer(session, "desk", digest, job.id)
            if number == 0:
                desk = await assistants.get_assistant(session, "desk")
                desk.live_release_id = release.id
    async with world.database.reading() as session:
        first, second = [await session.get_one(tables.Job, f"ftjob-{number}") for number in range(2)]
        assert (await reports.of_job(session, world.admin, second)).live_same == told
        assert (await reports.of_job(session, world.admin, first)).live_same is None  # it is live itself
        assert (await reports.of_job(session, world.user, second)).live_same is None
