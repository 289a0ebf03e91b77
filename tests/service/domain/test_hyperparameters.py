"""`auto` becomes a number with a reason; what was given stays."""

from service.contract.jobs import Hyperparameters
from service.domain.hyperparameters import BASE_RATE, WIDTH, resolve

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
