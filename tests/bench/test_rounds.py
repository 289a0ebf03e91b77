"""What T3 makes of answers and counts of them, and how it has its rounds trained; the training itself is its own."""

import json

import numpy as np
import pytest

from service.contract import folder
from tests.bench import real_data, rounds, runs
from tests.bench.rounds import DPO, FIRST, NOISY, NOISY_DPO, ROBUST, ZERO, Look, Way, drawn


def test_only_an_answer_that_ended_and_is_not_the_real_one_makes_a_pair():
    asked = [("a?", "A."), ("b?", "B."), ("c?", "C."), ("d?", "D.")]
    said = [("Wrong.", True), ("Cut", False), ("C.", True), ("", True)]
    assert rounds.corrected(asked, said) == [real_data.pair("a?", "A.", "Wrong.")]


def test_one_pair_in_five_is_turned_round_and_always_the_same():
    pairs = [real_data.pair(f"{n}?", "better", "worse") for n in range(20)]
    noisy = rounds.flipped(pairs, 0)
    better = [pair["preferred_output"][0]["content"] for pair in noisy]
    assert better.count("worse") == 4
    assert all(pair["input"] == plain["input"] for pair, plain in zip(noisy, pairs, strict=True))
    assert rounds.flipped(pairs, 0) == noisy
    assert rounds.flipped(noisy, 0) == pairs
    assert rounds.flipped(pairs, 1) != noisy


def test_an_opening_is_whole_sentences_and_no_two_questions_share_one(monkeypatch, tmp_path):
    said = {
        "a?": "One two three. Four. " + "x" * 30,
        "b?": "No end within the bound of it",
        "c?": "One two three. Four.",
        "d?": "Short. Then a sentence that is too long to fit.",
    }
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in said.items()]
    (tmp_path / real_data.HEALTH).write_text("\n".join(lines))
    monkeypatch.setenv(real_data.VARIABLE, str(tmp_path))
    assert [opening for _, opening in real_data.openings(24)] == ["One two three. Four."]


def test_rounds_are_trained_as_a_job_would_and_plain_dpo_with_nothing_beside_its_loss(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 576}')
    monkeypatch.setattr(runs, "base_model", lambda: tmp_path)
    monkeypatch.setattr(runs, "train", lambda run, name: 0.0)
    pairs = [real_data.pair(f"{n}?", "better", "worse") for n in range(60)]
    runs.write(tmp_path / ZERO, "sft", [real_data.example("a?", "A.")])
    ways = [
        Way(FIRST, ZERO, pairs), Way(NOISY, ZERO, pairs, noisy=0), Way(DPO, ZERO, pairs, given=rounds.PLAIN),
        Way(ROBUST, ZERO, pairs, noisy=0, given=rounds.TOLD),
    ]  # fmt: skip
    rounds._train(tmp_path, ways)
    specs = {way.name: runs.spec_of(tmp_path / way.name) for way in ways}
    assert {spec.start_adapter for spec in specs.values()} == {str(tmp_path / ZERO / folder.ADAPTER)}
    ours, plain, told = (specs[name].settings for name in (FIRST, DPO, ROBUST))
    assert (ours.replay, ours.sft_weight, ours.early_stopping_patience) == (0.25, 0.2, 1)
    assert (plain.loss_type, plain.beta, plain.label_smoothing) == ("sigmoid", 0.1, 0.0)
    assert (plain.replay, plain.sft_weight, plain.early_stopping_patience) == (0.0, 0.0, 0)
    assert (plain.n_epochs, plain.batch_size, plain.learning_rate) == (
        ours.n_epochs, ours.batch_size, ours.learning_rate,
    )  # fmt: skip
    assert told == ours.model_copy(update={"loss_type": "robust", "label_smoothing": 0.2})
    assert len((tmp_path / FIRST / folder.TRAIN).read_text().splitlines()) == 48
    for name in (folder.TRAIN, folder.VALIDATION):
        right, wrong = ((tmp_path / way / name).read_text() for way in (FIRST, NOISY))
        assert sorted(map(len, right.splitlines())) == sorted(map(len, wrong.splitlines()))
        assert right != wrong


def test_a_round_wins_what_it_words_nearer_and_ties_count_half():
    start = Look(["x"] * 4, np.array([0.2, 0.2, 0.2, 0.2]), np.zeros(4))
    first = Look(["x y"] * 4, np.array([0.3, 0.3, 0.2, 0.1]), np.ones(4))
    looks = {ZERO: start, FIRST: first, DPO: first, drawn(NOISY, 0): first, drawn(NOISY_DPO, 0): first}
    found = rounds.figures(looks)
    assert (found[0].value, found[0].samples, found[0].reached) == (pytest.approx(62.5), 4, True)
    assert found[0].low < 62.5 < found[0].high
    assert found[0].detail == "chrF 22.5 in 2 words / chrF 20.0 in 1 words"
    assert [figure.value for figure in found[1:3]] == [0.0, 0.0]
    assert [(one.what.partition(",")[0], one.value) for one in found[3:]] == [
        ("plain DPO", 62.5), ("round 1", 62.5), ("plain DPO", 62.5), ("round 1", 50.0),
    ]  # fmt: skip


def test_what_the_flips_cost_is_what_they_cost_plain_dpo_too_and_draws_are_averaged():
    def look(score: float, *margins: float) -> Look:
        return Look(["x", "x"], np.array([score, score]), np.array(margins))

    looks = {ZERO: look(0.2, 0, 0), FIRST: look(0.2, 1, 1), DPO: look(0.2, 1, 1)}
    looks |= {drawn(NOISY, 0): look(0.2, 1, -1), drawn(NOISY, 1): look(0.1, 0.5, 0.5)}
    looks |= {drawn(NOISY_DPO, 0): look(0.1, -1, -1), drawn(NOISY_DPO, 1): look(0.1, 0, -1)}
    _, lost, won, *_ = rounds.figures(looks)
    assert (lost.value, lost.reached) == (pytest.approx(-1.0), True)
    assert lost.detail == (
        "told by and rightly: 1.00 nats and 100 % to 0.25 nats and 75 % / 1.00 nats and 100 % to -0.75 nats and 0 %"
    )
    assert (won.value, won.detail, won.reached) == (25.0, "25 / 0 %", True)
