"""How a look at the rows becomes an estimate: on what time and memory rest, and what is said of it."""

from dataclasses import replace
from typing import Any

import pytest

from service.contract.estimates import Estimate, Look, Shape
from service.contract.fingerprint import machine
from service.contract.jobs import JobCreate, TrainingReport, TrainingSettings, Usage
from service.contract.rendering import Rendering
from service.db import tables
from service.domain import estimates, job_requests
from service.domain.estimates import Earlier, Machine
from service.domain.hyperparameters import because
from service.domain.job_requests import Plan
from tests.service.domain.conftest import World
from tests.service.domain.test_jobs import create

SAME = Rendering(state="same", prompts=3, sha256="c" * 64, because="The same.")
FEW = because("few_rows", rows=100)
MACHINE = Machine(cores=2, has_gpu=False, max_rank=16, layers=("q_proj", "down_proj"))


def look(**change: Any) -> Look:
    shape = Shape(modules={"q_proj": 30, "down_proj": 30}, parameters=10**6, base_parameters=135 * 10**6)
    fields: dict[str, Any] = {
        "kind": "sft", "rows": 100, "rows_looked_at": 100, "sampled": False, "tokens": 15_000, "tokens_with_loss": 5000,
        "longest": 200, "max_length": 1024, "too_long": 0, "steps": 50, "end_learned": True, "trained_as_served": True,
        "template_sha256": "t", "base_sha256": "b", "findings": [], "not_looked_at": [], "shown": [], "rank": 16,
        "shape": shape, "memory_bytes": 3 * 10**9,
    }  # fmt: skip
    return Look.model_validate(fields | change)


def estimate(
    seen: Look, before: list[float | Earlier] | None = None, machine: Machine = MACHINE, **change: Any
) -> Estimate:
    settings = TrainingSettings(n_epochs=2, batch_size=4, learning_rate=1e-3, **change.pop("settings", {}))
    fields: dict[str, Any] = {
        "kind": "sft", "training": tables.File(rows=100), "validation": None, "assistant": None, "start": None,
        "settings": settings, "reasons": {"n_epochs": FEW},
    }  # fmt: skip
    wanted = JobCreate(model="base", training_file="file-1")
    rendering, one_person = change.pop("rendering", SAME), change.pop("one_person", None)
    earlier = [one if isinstance(one, Earlier) else Earlier(one) for one in before or []]
    return estimates.put_together(
        wanted, Plan(**(fields | change)), seen, rendering, earlier, machine, one_person=one_person
    )


def test_one_rater_behind_nearly_all_preferences_is_told_and_holds_nothing():
    found = estimate(look(), one_person=0.92)
    assert (found.one_person, found.ready) == (0.92, True)
    assert any("92% of the preferences" in note and "`one_person`" in note for note in found.notes)
    assert not any("one_person" in note for note in estimate(look()).notes)


def test_without_an_earlier_job_the_time_is_a_formulas_and_says_so():
    found = estimate(look()).seconds
    assert found.basis == "formula"
    assert found.low is not None
    assert found.high is not None
    # 30 000 tokens at the 150 a second that the formula is made of.
    assert found.low < 200 < found.high
    assert found.high > 10 * found.low
    assert "may be 4 times too high or too low" in found.because


def test_the_more_earlier_jobs_there_are_the_narrower_the_ranges_and_they_are_named():
    before: list[float | Earlier] = [
        Earlier(100.0, start=20, memory=0.8),
        Earlier(150.0, start=10, memory=1.2),
    ]
    found = estimate(look(), before)
    # 30 000 tokens, after 10 to 20 seconds of a start.
    assert (found.seconds.basis, found.seconds.jobs, found.seconds.confidence) == ("earlier_jobs", 2, "low")
    assert (found.seconds.low, found.seconds.high) == (105, 640)
    assert "(2) made 100 to 150 tokens a second and took 10 to 20 s to start" in found.seconds.because
    assert (found.memory_bytes.basis, found.memory_bytes.jobs) == ("earlier_jobs", 2)
    assert (found.memory_bytes.low, found.memory_bytes.high) == (round(2.4e9 / 1.4), round(3.6e9 * 1.4))
    for jobs, confidence, time, memory in ((4, "medium", 1.5, 1.2), (8, "high", 1.25, 1.1)):
        found = estimate(look(), before * (jobs // 2))
        assert found.seconds.confidence == found.memory_bytes.confidence == confidence
        assert (found.seconds.low, found.memory_bytes.high) == (round(210 / time, 1), round(3.6e9 * memory))
    early = estimate(look(), [100.0]).memory_bytes
    assert (early.basis, early.confidence) == ("formula", "guess"), "an early version recorded no memory"
    assert (early.low, early.high) == (2e9, 4.5e9)


def test_replayed_rows_are_told_with_their_origin_and_cost_time():
    without, found = estimate(look(), [100.0]), estimate(look(replay_rows=96, replay_reads=100), [100.0])
    assert (
        "replays 96 general questions, written for Tailorbird and answered by the base model, 100"
        in " ".join(found.notes)
    )
    assert found.seconds.low is not None
    assert without.seconds.low is not None
    assert found.seconds.low > 1.2 * without.seconds.low


def test_held_out_rows_cost_time_and_early_stopping_may_spare_some():
    plain = estimate(look(), [100.0]).seconds
    watched = estimate(look(), [100.0], validation=tables.File(rows=50)).seconds
    assert plain.high is not None
    assert watched.high is not None
    assert watched.high > plain.high
    early = estimate(look(), [100.0], settings={"early_stopping_patience": 1})
    assert any("may end before its last pass" in note for note in early.notes)


def test_on_a_gpu_or_for_an_unknown_shape_nothing_is_made_up():
    gpu = estimate(look(), machine=Machine(2, True, 16, MACHINE.layers))
    for found in (gpu.seconds, gpu.memory_bytes, estimate(look(shape=None)).seconds):
        assert (found.basis, found.low, found.high) == ("none", None, None)


def test_what_the_engine_does_not_take_is_said_and_the_job_is_not_ready():
    assert estimate(look()).ready
    rank = estimate(look(), machine=Machine(2, False, 8, MACHINE.layers))
    assert (rank.ready, rank.servable.rank, rank.servable.max_rank) == (False, False, 8)
    layers = estimate(look(), machine=Machine(2, False, 16, ("q_proj",)))
    assert (layers.ready, layers.servable.modules) == (False, False)
    assert layers.servable.not_served == ["down_proj"]
    assert estimate(look(shape=None)).servable.modules is None


def test_a_prompt_that_is_another_one_to_the_engine_is_a_fault_and_an_engine_that_is_not_up_is_none():
    other = Rendering(state="different", prompts=3, row="train.jsonl line 2", because="Token 4 is another.")
    found = estimate(look(), rendering=other)
    assert (found.ready, found.look.trained_as_served) == (False, False)
    [fault] = found.look.findings
    assert (fault.code, fault.row, fault.message) == (
        "wrong_prompt",
        "train.jsonl line 2",
        "Token 4 is another.",
    )
    assert estimate(look(), rendering=Rendering(state="unchecked", because="No engine is up.")).ready


def test_rows_without_the_instructions_that_every_question_is_served_with_are_told():
    seen = look().model_copy(update={"without_instructions": 7})
    assert estimate(seen).without_instructions == 0  # the assistant has none, or there is none
    found = estimate(seen, instructed=True)
    assert found.without_instructions == 7
    assert found.ready
    assert "7 rows of those looked at bring no instructions" in " ".join(found.notes)


def test_the_look_is_given_the_adapter_to_go_on_from(world: World):
    for start in ("ab" * 32, None):
        spec, _ = job_requests.run_of(
            world.store, id_="estimate", kind="sft", base_folder="base", base_name="base", start=start, train="f" * 64,
            validation=None, cases=None, learned=["a" * 64], threads=1,
            settings=TrainingSettings(n_epochs=2, batch_size=4, learning_rate=1e-3),
        )  # fmt: skip
        assert spec.learned == []  # nothing is held out that it could spoil
        assert (spec.start_digest, spec.start_adapter) == (
            start,
            str(world.store.adapter(start)) if start else None,
        )


def test_a_sample_is_scaled_to_the_rows_that_are_known_and_told():
    found = estimate(
        look(sampled=True, rows=50, rows_looked_at=20, tokens=7500, tokens_with_loss=2500, steps=26)
    )
    assert (found.look.rows, found.look.tokens, found.look.tokens_with_loss) == (100, 15_000, 5000)
    assert found.look.steps == 50
    assert any("20 of its 100 rows" in note for note in found.notes)


def test_the_hyperparameters_are_those_of_the_job_with_their_reasons():
    found = estimate(look())
    assert found.hyperparameters["n_epochs"] == 2
    assert found.hyperparameters["learning_rate_multiplier"] == 1
    assert "beta" not in found.hyperparameters
    assert found.chosen == {"n_epochs": FEW}


def test_several_processes_take_so_many_times_the_memory_and_no_less_time():
    alone, together = (estimate(look(), machine=replace(MACHINE, processes=number)) for number in (1, 3))
    assert (together.memory_bytes.low, together.memory_bytes.high) == (6e9, 13.5e9)
    assert "3 processes train together, each with a copy" in together.memory_bytes.because
    assert together.seconds == alone.seconds


async def test_only_jobs_of_the_same_method_and_base_count_and_of_them_the_newest(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(estimates, "JOBS", 2)
    job = await create(world)
    report = {
        "trained_tokens": 3000, "epochs": 3.0, "rows": 10, "held_out": 0, "seconds": 30.0, "steps": 3, "metrics": {},
    }  # fmt: skip
    kinds = [("sft", "b"), ("sft", "b"), ("sft", "b"), ("dpo", "b"), ("sft", "other")]
    async with world.database.writing() as session:
        for number, (kind, base) in enumerate(kinds):
            session.add(
                tables.Adapter(
                    digest=f"d{number}", model=f"ft:{number}", job_id=job.id, user_id=job.user_id,
                    manifest={"kind": kind, "base_sha256": base}, proof={},
                    report=report | {"seconds": 30.0 / (number + 1)}, bytes=1, created_at=number,
                )
            )  # fmt: skip
    async with world.database.reading() as session:
        found = await estimates.earlier(session, "sft", "b", 1)
        assert [one.rate for one in found] == pytest.approx([300.0, 200.0])
        assert await estimates.earlier(session, "kto", "b", 1) == []
        assert await estimates.earlier(session, "sft", "b", 2) == [], "jobs by one process say nothing of two"


def test_of_a_job_its_start_and_its_memory_count_apart_and_nothing_of_another_machine():
    usage = Usage(
        machine=machine(),
        peak_bytes=3 * 10**9,
        expected_bytes=2 * 10**9,
        step_seconds=20.0,
        tokens_per_second=150.0,
    )
    report = TrainingReport(
        steps=3, epochs=3, rows=10, held_out=0, trained_tokens=3000, seconds=30.0, metrics={}, usage=usage
    )
    assert estimates._taken(report) == Earlier(rate=150.0, start=10.0, memory=1.5)
    usage.machine = "another"
    assert estimates._taken(report) is None
