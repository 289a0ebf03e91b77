import random
from pathlib import Path

import pytest

from service.contract.words import LIKE, alike, runs, words
from service.intake import minhash, spool
from tests.service.intake.files import Brought, jsonl

LOREM = (
    "the ferry leaves the old harbour at dawn and comes back when the light of the tower is lit again by a keeper who "
    "has counted every boat that went out to the islands with bread and letters for people living there in winter"
).split()


def text(seed: int, length: int = 40) -> str:
    return " ".join(random.Random(seed).choices(LOREM, k=length))


def row(question: str, answer: str = "yes") -> dict[str, str]:
    return {"prompt": question, "completion": answer}


def test_a_row_that_says_the_same_is_left_out_and_the_first_one_stays(tmp_path: Path):
    rows = [row("When?", "now"), row("Where?"), row("When?", "now"), row("When?", "later")]
    brought = Brought(tmp_path, jsonl(*rows))
    report = brought.read()
    assert (report.left_out, report.sheet.exact_duplicates) == ({"duplicate": 1}, 1)
    assert [one["messages"][1]["content"] for one in brought.rows()] == ["now", "yes", "later"]
    assert Brought(tmp_path, jsonl(*rows), duplicates="keep").read().taken == 4


def test_the_same_answer_rated_up_and_down_is_no_repetition(tmp_path: Path):
    rows = [{**row("When?"), "label": label} for label in (True, False, True)]
    assert Brought(tmp_path, jsonl(*rows)).read().left_out == {"duplicate": 1}


def test_rows_that_say_nearly_the_same_are_named_and_left_out_when_asked(tmp_path: Path):
    rows = [row(text(n)) for n in range(50)]
    rows[30] = row(f"{text(7)} indeed")
    report = Brought(tmp_path, jsonl(*rows)).read()
    assert (report.taken, report.sheet.near_duplicates) == (50, 1)
    [twins] = report.sheet.near_examples
    assert (twins.line, twins.like) == (31, 8)
    assert twins.share >= LIKE
    strict = Brought(tmp_path, jsonl(*rows), near_duplicates="leave_out").read()
    assert (strict.taken, strict.left_out) == (49, {"near_duplicate": 1})


def test_rows_that_contradict_each_other_are_no_repetition_however_alike(tmp_path: Path):
    long, other = text(1), text(2)
    rated = [{**row(f"{long} {n}", other), "label": n == 1} for n in range(3)]
    named = [row(f"{long} {n}", answer) for n, answer in enumerate(("the first dock", "the second dock"))]
    turned = [
        {"prompt": f"{long} {n}", "chosen": chosen, "rejected": rejected}
        for n, (chosen, rejected) in enumerate(((other, text(3)), (text(3), other)))
    ]
    for rows, left_out in ((rated, {"near_duplicate": 1}), (named, {}), (turned, {})):
        report = Brought(tmp_path, jsonl(*rows), near_duplicates="leave_out").read()
        assert (report.left_out, report.sheet.near_duplicates) == (left_out, sum(left_out.values()))


def test_the_answer_does_not_depend_on_how_much_is_held_in_memory_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [row(text(n % 40, 12), str(n % 3)) for n in range(300)]
    whole = Brought(tmp_path, jsonl(*rows)).read()
    monkeypatch.setattr(spool, "SLICE", 20)
    monkeypatch.setattr(spool, "FLUSH", 7)
    sliced = Brought(tmp_path, jsonl(*rows)).read()
    assert whole.left_out == sliced.left_out == {"duplicate": 180}
    assert sliced.sheet.near_duplicates == whole.sheet.near_duplicates


def test_likely_twins_are_found_and_unlike_texts_are_not_even_compared():
    found = compared = alike_pairs = unlike_pairs = 0
    for seed in range(300):
        said = words(text(seed, 60))
        changed = list(said)
        changed[seed % 60] = "otherwise"
        one, other, foreign = (
            runs(some, minhash.RUN) for some in (said, changed, words(text(seed + 9999, 60)))
        )
        if alike(one, other) >= LIKE:
            alike_pairs += 1
            found += bool(set(minhash.bands(one)) & set(minhash.bands(other)))
        unlike_pairs += 1
        compared += bool(set(minhash.bands(one)) & set(minhash.bands(foreign)))
    assert alike_pairs == 300
    assert found >= 295
    assert compared <= 15


def test_a_text_has_the_same_numbers_in_every_process_and_one_without_words_has_some():
    assert minhash.bands(runs(words("one two three four"), 3)) == minhash.bands(
        runs(words("One, two three FOUR!"), 3)
    )
    assert len(minhash.bands(set())) == minhash.BANDS
