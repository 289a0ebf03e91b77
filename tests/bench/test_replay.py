"""How T5 has its rounds trained, and what it counts of them; the training itself is its own."""

import numpy as np
import pytest

from service.contract import folder
from tests.bench import replay, runs
from tests.bench.replay import WITH, WITHOUT, ZERO, Look


def test_the_two_rounds_differ_in_their_replay_alone_and_go_on_from_the_same(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 576}')
    monkeypatch.setattr(runs, "base_model", lambda: tmp_path)
    monkeypatch.setattr(runs, "train", lambda run, name: 0.0)
    replay.train(tmp_path, [("a?", "A.")], [(f"{n}?", "B.") for n in range(9)])
    ours, theirs = (runs.spec_of(tmp_path / way) for way in (WITH, WITHOUT))
    assert ours.start_adapter == theirs.start_adapter == str(tmp_path / ZERO / folder.ADAPTER)
    assert (ours.settings.replay, theirs.settings.replay) == (0.25, 0.0)
    assert ours.settings.model_copy(update={"replay": 0.0}) == theirs.settings
    assert ours.train_sha256 == theirs.train_sha256


def test_what_is_kept_and_what_is_learnt_are_differences_over_the_same_questions():
    def of(same: float, distance: float, learnt: float) -> Look:
        return Look(*(np.array([value, value]) for value in (same, distance, learnt)))

    looks = {ZERO: of(0.6, 0.5, -3.0), WITH: of(0.5, 0.6, -2.1), WITHOUT: of(0.4, 1.0, -2.0)}
    kept, distance, learnt = replay.figures(looks)
    assert (kept.value, kept.detail) == (pytest.approx(10), "50 / 40 / 60 %, the last of the round before")
    assert (distance.value, learnt.value) == (pytest.approx(0.4), pytest.approx(-0.1))
    assert learnt.detail == "-2.10 / -2.00 / -3.00"
    assert (kept.reached, distance.reached) == (True, True)
