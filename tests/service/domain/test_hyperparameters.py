"""`auto` becomes a number with a reason; what was given stays."""

from dataclasses import replace
from typing import Any

import pytest

from service.contract.jobs import (
    Chosen,
    DpoHyperparameters,
    Hyperparameters,
    KtoHyperparameters,
    TrainingKind,
    TrainingSettings,
)
from service.domain.hyperparameters import (
    BASE_RATE,
    ENOUGH_HELD_OUT,
    REPLAY,
    WIDTH,
    Bounds,
    Run,
    label_weights,
    resolve,
)
from service.errors import BadInput

AUTO = Hyperparameters()
BOUNDS = Bounds(max_rank=64, longest=2047, usual=512, width=WIDTH)


def chosen(kind: TrainingKind, given: Hyperparameters = AUTO, **more: Any) -> TrainingSettings:
    return reasoned(kind, given, **more)[0]


def reasoned(
    kind: TrainingKind, given: Hyperparameters = AUTO, **more: Any
) -> tuple[TrainingSettings, dict[str, Chosen]]:
    bounds = replace(
        BOUNDS,
        **{name: more.pop(name) for name in ("width", "max_rank", "longest", "processes") if name in more},
    )
    run = Run(**{"kind": kind, "rows": 600, "held_out": 50, "bounds": bounds} | more)
    return resolve(run, given, seed=1)


@pytest.mark.parametrize(
    ("kind", "given", "processes", "batch"),
    [
        ("sft", AUTO, 2, 4), ("sft", AUTO, 8, 8), ("sft", AUTO, 3, 6), ("dpo", DpoHyperparameters(), 5, 5),
        ("kto", KtoHyperparameters(), 8, 8), ("kto", KtoHyperparameters(), 3, 12), ("kto", KtoHyperparameters(), 6, 12),
    ],
)  # fmt: skip
def test_a_batch_that_was_left_to_the_service_is_one_that_all_processes_can_divide(
    kind: TrainingKind, given: Hyperparameters, processes: int, batch: int
):
    settings, reasons = reasoned(kind, given, processes=processes)
    assert settings.batch_size == batch
    divided = reasons["batch_size"].code == "batch_divided"
    assert divided == (reasoned(kind, given)[0].batch_size % processes > 0)


def test_what_was_given_is_kept_and_needs_no_reason():
    given = DpoHyperparameters(
        n_epochs=2, batch_size=7, learning_rate_multiplier=2.0, beta=0.3, early_stopping_patience=3,
        use_rslora=False, loss_type="robust", label_smoothing=0.2, sft_weight=0, replay=0.1,
        lora_rank=4, max_length=100,
    )  # fmt: skip
    settings, reasons = reasoned("dpo", given)
    assert {name: getattr(settings, name, 2.0) for name in type(given).model_fields} == given.model_dump()
    assert settings.learning_rate == 2 * BASE_RATE["dpo"]
    assert reasons == {}


@pytest.mark.parametrize(
    ("kind", "given"), [("sft", AUTO), ("dpo", DpoHyperparameters()), ("kto", KtoHyperparameters())]
)
def test_whatever_is_left_to_the_service_has_its_reason(kind: TrainingKind, given: Hyperparameters):
    settings, reasons = reasoned(kind, given)
    elsewhere = {"desirable_weight", "undesirable_weight"} | ({"beta"} if kind == "sft" else set())
    assert reasons.keys() == set(type(given).model_fields) - elsewhere
    assert all(len(reason.because) > 10 for reason in reasons.values())
    assert f"{settings.learning_rate:.3g}" in reasons["learning_rate_multiplier"].because


def test_fewer_rows_are_seen_at_least_as_often():
    passes = [chosen("sft", rows=rows).n_epochs for rows in (20, 200, 2000, 20000)]
    assert passes == sorted(passes, reverse=True)
    assert passes[-1] >= 1


def test_a_wider_model_learns_at_a_lower_rate_and_an_unknown_one_is_taken_for_a_wide_one():
    rates = [chosen("sft", width=width).learning_rate for width in (256, WIDTH, 2048, 4096, None)]
    assert rates[0] == rates[1] == BASE_RATE["sft"]
    assert rates[1] > rates[2] > rates[3] == rates[4]


def test_the_held_out_loss_decides_after_preferences_when_there_are_enough_rows_to_tell():
    def patience(kind: TrainingKind, held_out: int) -> int:
        return chosen(kind, held_out=held_out).early_stopping_patience

    assert [patience("dpo", ENOUGH_HELD_OUT), patience("kto", ENOUGH_HELD_OUT)] == [1, 1]
    assert [patience("sft", 500), patience("dpo", 0), patience("dpo", ENOUGH_HELD_OUT - 1)] == [0, 0, 0]


def test_an_adapter_is_gone_on_with_as_it_is_scaled():
    start = chosen("sft", Hyperparameters(use_rslora=True))
    assert chosen("dpo", DpoHyperparameters(), start=start).use_rslora
    assert not chosen("dpo", DpoHyperparameters()).use_rslora
    with pytest.raises(BadInput, match="is scaled by the root of its rank") as refusal:
        chosen("dpo", DpoHyperparameters(use_rslora=False), start=start)
    assert refusal.value.param == "use_rslora"


def test_rank_and_longest_row_are_bounded_by_what_the_engine_serves_and_a_start_keeps_its_rank():
    assert (chosen("sft").lora_rank, chosen("sft").max_length) == (16, 512)
    small = chosen("sft", max_rank=8, longest=100)
    assert (small.lora_rank, small.max_length) == (8, 100)
    for given, code in (({"lora_rank": 65}, "rank_not_served"), ({"max_length": 2048}, "row_not_served")):
        with pytest.raises(BadInput) as refusal:
            chosen("sft", Hyperparameters.model_validate(given))
        assert (refusal.value.param, refusal.value.code) == (next(iter(given)), code)
    high, reasons = reasoned("sft", Hyperparameters(lora_rank=64))
    assert (high.lora_rank, high.lora_alpha, high.use_rslora, reasons["use_rslora"].code) == (
        64,
        32,
        True,
        "rank_high",
    )
    start = chosen("sft", Hyperparameters(lora_rank=8))
    later, reasons = reasoned("sft", start=start)
    assert (later.lora_rank, reasons["lora_rank"].code) == (8, "as_start")
    with pytest.raises(BadInput, match="has rank 8, and keeps it"):
        chosen("sft", Hyperparameters(lora_rank=16), start=start)


def test_general_questions_are_replayed_in_later_rounds_alone_unless_asked_for():
    first, reasons = reasoned("dpo", DpoHyperparameters())
    assert first.replay == 0
    assert "first round" in reasons["replay"].because
    later, reasons = reasoned("sft", start=first)
    assert later.replay == REPLAY
    assert f"one for {round(1 / REPLAY)} rows" in reasons["replay"].because
    assert chosen("sft", Hyperparameters(replay=0), start=first).replay == 0
    assert chosen("sft", Hyperparameters(replay=1)).replay == 1


def test_an_adapter_scaled_by_the_root_of_its_rank_learns_at_a_rate_lower_by_that_root():
    scaled = chosen("sft", Hyperparameters(use_rslora=True))
    assert scaled.learning_rate == pytest.approx(BASE_RATE["sft"] / scaled.lora_rank**0.5)


def test_rewards_a_token_are_held_by_a_larger_beta():
    plain, normalised = (
        chosen("dpo", DpoHyperparameters(loss_type=loss)) for loss in ("sigmoid", "sigmoid_norm")
    )
    assert plain.beta < 2 < normalised.beta


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing"),
        ({"label_smoothing": 0.1, "loss_type": "sigmoid_norm"}, "label_smoothing"),
        ({"beta": 3}, "beta"),
        ({"beta": 3, "loss_type": "robust"}, "beta"),
    ],
)
def test_settings_of_another_loss_are_refused(given: dict[str, Any], param: str):
    with pytest.raises(BadInput) as refusal:
        chosen("dpo", DpoHyperparameters.model_validate(given))
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("up", "down"), [(10, 10), (7, 3), (3, 7), (100, 1), (1, 100), (333, 1000), (57, 43)]
)
@pytest.mark.parametrize(
    "given", [{}, {"desirable_weight": 1}, {"undesirable_weight": 1}, {"undesirable_weight": 0.7}]
)
def test_automatic_weights_make_both_labels_weigh_the_same(up: int, down: int, given: dict[str, float]):
    desirable, undesirable = label_weights(KtoHyperparameters.model_validate(given), up, down)
    assert 1 <= desirable * up / (undesirable * down) <= 1.02
    for name, weight in given.items():
        assert weight == (desirable if name == "desirable_weight" else undesirable)


def test_automatic_weights_raise_the_rarer_label_and_leave_the_other():
    assert label_weights(KtoHyperparameters(), 30, 10) == (1, 3)
    assert label_weights(KtoHyperparameters(), 10, 30) == (3, 1)


def test_given_weights_are_kept_whatever_the_rows():
    given = KtoHyperparameters(desirable_weight=2, undesirable_weight=0.5)
    assert label_weights(given, 90, 10) == (2, 0.5)


@pytest.mark.parametrize(
    ("up", "down", "code"),
    [(9, 0, "one_label"), (0, 9, "one_label"), (999, 1, "labels_out_of_balance")],
)
def test_labels_that_cannot_be_balanced_are_refused(up: int, down: int, code: str):
    with pytest.raises(BadInput) as refusal:
        label_weights(KtoHyperparameters(), up, down)
    assert (refusal.value.code, refusal.value.param) == (code, "training_file")


def test_kto_learns_faster_than_dpo_and_in_larger_batches():
    kto, dpo = chosen("kto", KtoHyperparameters()), chosen("dpo", DpoHyperparameters())
    assert 2 <= kto.learning_rate / dpo.learning_rate <= 10
    assert kto.batch_size > dpo.batch_size
    assert kto.batch_size % 2 == 0


def test_a_job_has_the_shape_of_the_adapter_that_it_goes_on_from():
    """One from elsewhere has a shape of its own, and the trainer refuses another."""
    start = TrainingSettings(n_epochs=1, batch_size=1, learning_rate=1e-4, lora_rank=4, lora_alpha=12.5)
    settings = chosen("sft", start=start)
    assert (settings.lora_rank, settings.lora_alpha) == (4, 12.5)
    assert (chosen("sft").lora_rank, chosen("sft").lora_alpha) == (16, 32)
