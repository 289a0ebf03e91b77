"""`auto` becomes a number with a reason; what was given stays."""

import pytest

from service.contract.jobs import Hyperparameters, KtoHyperparameters
from service.domain.hyperparameters import BASE_RATE, WIDTH, label_weights, resolve
from service.errors import BadInput

AUTO = Hyperparameters()


def test_what_was_given_is_kept():
    given = Hyperparameters(n_epochs=2, batch_size=7, learning_rate_multiplier=2.0, beta=0.3)
    settings = resolve("dpo", given, rows=600, seed=1, max_length=512, width=WIDTH)
    assert (settings.n_epochs, settings.batch_size, settings.beta) == (2, 7, 0.3)
    assert settings.learning_rate == 2 * BASE_RATE["dpo"]


def test_fewer_rows_are_seen_at_least_as_often():
    passes = [
        resolve("sft", AUTO, rows=rows, seed=0, max_length=512, width=WIDTH).n_epochs
        for rows in (20, 200, 2000, 20000)
    ]
    assert passes == sorted(passes, reverse=True)
    assert passes[-1] >= 1


def test_a_wider_model_learns_at_a_lower_rate_and_an_unknown_one_is_taken_for_a_wide_one():
    rates = [
        resolve("sft", AUTO, rows=600, seed=0, max_length=512, width=width).learning_rate
        for width in (256, WIDTH, 2048, 4096, None)
    ]
    assert rates[0] == rates[1] == BASE_RATE["sft"]
    assert rates[1] > rates[2] > rates[3] == rates[4]


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
    kto, dpo = (resolve(kind, AUTO, rows=600, seed=0, max_length=512, width=WIDTH) for kind in ("kto", "dpo"))
    assert 2 <= kto.learning_rate / dpo.learning_rate <= 10
    assert kto.batch_size > dpo.batch_size
    assert kto.batch_size % 2 == 0
