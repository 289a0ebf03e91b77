"""What the benchmarks of training reckon with, on figures that can be checked by hand."""

import pytest

from tests.bench import intents, matrices, real_data


def test_macro_f1_averages_the_f1_of_each_intent_whatever_its_share():
    truth = ["a", "a", "a", "b"]
    assert intents.macro_f1(truth, truth) == 1.0
    # a: 2 of 2 said, 2 of 3 found, F1 0.8; b: 1 of 2 said, 1 of 1 found, F1 2/3
    assert intents.macro_f1(truth, ["a", "a", "b", "b"]) == pytest.approx((0.8 + 2 / 3) / 2)
    assert intents.macro_f1(truth, ["c"] * 4) == 0.0


def test_the_interval_of_a_gain_holds_the_gain():
    truth = ["a", "b"] * 50
    better, worse = truth[:90] + ["c"] * 10, ["c"] * 60 + truth[60:]
    gain = intents.macro_f1(truth, better) - intents.macro_f1(truth, worse)
    low, high = intents.interval(truth, better, worse)
    assert 0 < low < gain < high < 1


def test_operations_count_a_frozen_matrix_twice_and_an_adapter_three_times():
    sizes = matrices.Sizes(layers=1, width=10, inner=20, keys=5, words=100)
    frozen = 10 * 10 * 2 + 10 * 5 * 2 + 10 * 20 * 3
    adapter = 2 * (20 + 15 + 15 + 20 + 30 * 3)
    assert matrices.operations(sizes, read=1, learned=0, rank=2) == 4 * frozen + 6 * adapter
    assert matrices.operations(sizes, read=0, learned=1, rank=2) == 4 * 10 * 100


def test_a_story_without_its_data_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.delenv(real_data.VARIABLE, raising=False)
    assert real_data.VARIABLE in real_data.missing()
    monkeypatch.setenv(real_data.VARIABLE, str(tmp_path))
    (tmp_path / real_data.HEALTH).touch()
    assert real_data.BANK in real_data.missing()
    assert real_data.HEALTH not in real_data.missing()
    for name in (real_data.BANK, real_data.BANK_HELD_OUT):
        (tmp_path / name).touch()
    assert real_data.missing() == ""


def test_messages_come_in_turns_of_all_intents(monkeypatch, tmp_path):
    rows = [f"{intent}{number},{intent}" for intent in "abc" for number in range(4)]
    (tmp_path / real_data.BANK).write_text("\n".join(["text,category", *rows]))
    monkeypatch.setenv(real_data.VARIABLE, str(tmp_path))
    drawn = [intent for _, intent in real_data.bank()]
    assert [set(drawn[at : at + 3]) for at in range(0, 12, 3)] == [set("abc")] * 4
