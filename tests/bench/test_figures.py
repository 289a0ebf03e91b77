"""The arithmetic of the benchmarks' report, on figures that can be checked by hand."""

import pytest

from tests.bench.figures import Figure, of_percentiles, of_rounds, percentile, table


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 10.0), (0.5, 25.0), (1.0, 40.0), (0.25, 17.5), (0.99, 39.7)]
)
def test_a_percentile_lies_straight_between_its_neighbours(share: float, expected: float):
    assert percentile([40.0, 10.0, 30.0, 20.0], share) == pytest.approx(expected)


def test_the_percentile_of_one_value_is_that_value():
    assert percentile([7.0], 0.99) == 7.0


def test_rounds_give_their_median_between_the_lowest_and_the_highest():
    found = of_rounds("R2", "speed", [0.9, 1.3, 1.0], at_least=0.98)
    assert (found.value, found.low, found.high, found.samples) == (1.0, 0.9, 1.3, 3)
    assert found.reached is True


def test_a_ratio_of_percentiles_divides_ours_by_theirs_and_its_interval_holds_it():
    theirs = [float(number) for number in range(100, 200)]
    found = of_percentiles("R1", "first token", [2 * one for one in theirs], theirs, 0.5, at_most=1.03)
    assert found.value == pytest.approx(2.0)
    assert found.low < 2.0 < found.high
    assert found.reached is False
    assert found == of_percentiles(
        "R1", "first token", [2 * one for one in theirs], theirs, 0.5, at_most=1.03
    )


def test_a_constant_has_no_spread():
    found = of_percentiles("R1", "first token", [6.0] * 9, [3.0] * 9, 0.99)
    assert (found.low, found.value, found.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("bounds", "value", "reached"),
    [
        ({"at_least": 0.8}, 0.8, True),
        ({"at_least": 0.8}, 0.79, False),
        ({"at_most": 1.0}, 1.01, False),
        ({"at_most": 0}, 0.0, True),
        ({}, 5.0, None),
    ],
)
def test_a_target_is_reached_at_its_bound_and_missed_beyond_it(
    bounds: dict, value: float, reached: bool | None
):
    assert Figure("R", "x", value, value, value, 1, **bounds).reached is reached


def test_the_table_shows_each_figure_with_its_spread_and_what_missed():
    figures = [
        Figure("R4", "many", 0.7, 0.65, 0.75, 4, at_least=0.8, detail="35.0 / 50.0 tokens a second"),
        Figure("R3", "added", 0.42, 0.4, 0.5, 7, unit="ms", at_most=1.0),
        Figure("R3", "processor time", 12.34, 12.0, 12.5, 7, unit="ms"),
    ]
    rows = table(figures).splitlines()[2:]
    assert rows[0] == (
        "| R4 | many (35.0 / 50.0 tokens a second) | 0.700 | 0.650 to 0.750 | 4 | at least 0.8 | **missed** |"
    )
    assert rows[1] == "| R3 | added | 0.420 ms | 0.400 to 0.500 | 7 | at most 1 | reached |"
    assert rows[2] == "| R3 | processor time | 12.3 ms | 12.0 to 12.5 | 7 |  |  |"
