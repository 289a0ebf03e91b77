import numpy as np
import pytest

from evals.statistics import bootstrap, cases_needed, interval_of, spread, wilson


def test_the_bootstrap_agrees_with_the_normal_interval_on_many_values() -> None:
    values = np.random.default_rng(7).normal(0.3, 1.0, 2000)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    found = bootstrap(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.004)
    assert found.high == pytest.approx(values.mean() + half, abs=0.004)


def test_the_bootstrap_is_the_same_every_time_with_one_seed() -> None:
    values = np.array([0.0, 0.2, 0.9, 1.0, 0.4])
    assert bootstrap(values, 3) == bootstrap(values, 3)
    assert bootstrap(values, 3) != bootstrap(values, 4)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    trials = [bootstrap(random.uniform(0, 1, 30)) for _ in range(200)]
    covered = sum(trial.low <= 0.5 <= trial.high for trial in trials) / len(trials)
    assert 0.88 <= covered <= 0.99


def test_equal_values_have_no_doubt_and_no_values_no_mean() -> None:
    found = bootstrap(np.zeros(12))
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no values"):
        bootstrap(np.array([]))


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # Newcombe 1998, table I, method 3 (score, no continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_the_published_one(hits: int, count: int, low: float, high: float) -> None:
    found = wilson(hits, count)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_twenty_right_out_of_twenty_is_not_certainty() -> None:
    found = interval_of(np.ones(20))
    assert found.mean == found.high == 1.0
    assert found.low == pytest.approx(0.8389, abs=5e-5)


def test_cases_needed_follows_the_square_of_the_distance() -> None:
    assert cases_needed(0.5, 0.1) == 97
    assert cases_needed(0.5, 0.05) == 385
    assert cases_needed(0.5, 0.0) is None
    assert spread(np.array([1.0, -1.0])) == pytest.approx(np.sqrt(2))
    assert spread(np.array([1.0])) == 0.0
