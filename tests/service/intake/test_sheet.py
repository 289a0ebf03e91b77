import json
from pathlib import Path

import pytest

from service.contract.sheets import Bin
from service.contract.words import words
from service.intake.languages import language
from service.intake.sheet import BINS, Gathering, Tally
from service.intake.spool import Beside
from service.sample import __file__ as sample
from tests.service.intake.files import Brought, jsonl


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the capital of France, and how do I get there?", "en"),
        ("Quelle est la capitale de la France, et comment y va-t-on ?", "fr"),
        ("Ich möchte wissen, wie ich meine Karte aktivieren kann", "other"),
        ("¿Cómo puedo activar mi tarjeta? No sé qué hacer con el PIN", "other"),
        ("Where is it? Где моя карта, и когда она придёт?", "other"),
        ("カードはどこですか", "other"),
        ("card_arrival", "unclear"),
        ("", "unclear"),
    ],
)
def test_a_language_is_told_by_its_small_words_or_not_at_all(text: str, expected: str):
    assert language(words(text)) == expected


def test_the_samples_questions_with_their_answers_are_told_apart_without_a_mistake():
    lines = (Path(sample).parent / "corrections.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["language"] for row in rows} == {"en", "fr"}
    told = [language(words(f"{row['question']} {row['correction']}")) for row in rows]
    assert told == [row["language"] for row in rows]
    assert {language(words(row["correction"])) for row in rows if row["language"] == "en"} <= {
        "en",
        "unclear",
    }
    assert {language(words(row["correction"])) for row in rows if row["language"] == "fr"} <= {
        "fr",
        "unclear",
    }


def test_lengths_are_exact_where_they_are_small_and_near_where_they_are_large():
    tally = Tally()
    for length in (*range(1, 101), 123_456):
        tally.add(length)
    found = tally.lengths()
    assert (found.least, found.median, found.p95, found.most) == (1, 51, 96, 123_000)
    assert (found.total, found.mean) == (128_506, 1272.3)


def test_a_plots_bins_hold_every_row_and_a_single_long_one_does_not_press_the_others_together():
    tally = Tally()
    for length in (*range(1, 101), 123_456):
        tally.add(length)
    bins = tally.lengths().bins
    assert sum(one.rows for one in bins) == 101
    assert [one.least for one in bins] == [
        one.most + 1 for one in [Bin(least=0, most=-1, rows=0), *bins[:-1]]
    ]
    assert (len(bins), bins[-1].most, bins[-1].rows) == (BINS, 123_000, 1)
    assert sum(one.rows > 0 for one in bins) > 15
    assert Tally().lengths().bins == []


def test_rows_of_feedback_are_counted_by_the_release_that_was_judged(tmp_path: Path):
    rows = [
        {
            "messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}],
            "tailorbird": {
                "release": [None, 2, 2][n], "conversation": f"c{n}", "completion_id": "c", "feedback_id": "f",
                "person": "p", "adapter": "base", "sampling": {},
            },
        }
        for n in range(3)
    ]  # fmt: skip
    sheet = Brought(tmp_path, jsonl(*rows)).read().sheet
    assert (sheet.sources, sheet.people, sheet.largest_share) == ({"release 2": 2, "base model": 1}, 1, 1)


@pytest.mark.parametrize(("kind", "rows", "told"), [("dpo", 40, 0.9), ("dpo", 10, None), ("sft", 40, None)])
def test_one_rater_behind_nearly_all_preferences_is_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, rows: int, told: float | None
):
    monkeypatch.setattr("service.intake.sheet.SLICE", 7)
    answers = ("chosen", "rejected") if kind == "dpo" else ("completion",)
    judged = [
        {"prompt": f"q {n}", "rater": f"person {n}" if n % 10 == 0 else "Ada"} | {one: f"{one} {n}" for one in answers}
        for n in range(rows)
    ]  # fmt: skip
    sheet = Brought(tmp_path, jsonl(*judged), mapping={"person": "rater"}).read().sheet
    assert (sheet.people, sheet.largest_share) == (1 + rows // 10, 0.9)
    assert sheet.one_person() == told
    without = Brought(tmp_path, jsonl(*judged)).read().sheet
    assert (without.people, without.largest_share, without.one_person()) == (None, None, None)


def test_tokens_are_counted_by_the_base_models_own_tokenizer(tmp_path: Path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "sea": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for path, total in ((str(tmp_path / "tokenizer.json"), 5), (None, None), (str(tmp_path / "none"), None)):
        gathering = Gathering("sft", path)
        gathering.add(
            {
                "messages": [
                    {"role": "user", "content": "sea, sea"},
                    {"role": "assistant", "content": "or sea"},
                ]
            },
            Beside(None, [], None),
        )
        tokens = gathering.sheet(**REST).tokens
        assert (tokens.total if tokens else None) == total


REST = {"sha256": "", "exact_duplicates": 0, "near_duplicates": 0, "near_examples": [], "source": None,
        "licence": None, "filename": "", "filename_sha256": ""}  # fmt: skip


def test_labels_are_counted_where_the_answers_are_a_few_and_come_again(tmp_path: Path):
    few = b"text,category\n" + b"".join(b"q%d,%s\n" % (n, b"ab"[n % 2 : n % 2 + 1]) for n in range(10))
    assert Brought(tmp_path, few).read().sheet.labels == {"a": 5, "b": 5}
    free = b"question,answer\n" + b"".join(b"q%d,a%d\n" % (n, n) for n in range(10))
    assert Brought(tmp_path, free).read().sheet.labels == {}
    rated = jsonl(*({"prompt": f"q{n}", "completion": f"a{n}", "label": n > 2} for n in range(9)))
    assert Brought(tmp_path, rated).read().sheet.labels == {"desirable": 6, "undesirable": 3}


def test_a_sheet_of_pairs_says_how_often_the_longer_answer_was_preferred(tmp_path: Path):
    rows = [
        {"prompt": "q", "chosen": "a b c", "rejected": "d"},
        {"prompt": "p", "chosen": "a", "rejected": "b c"},
    ]
    assert Brought(tmp_path, jsonl(*rows)).read().sheet.longer_chosen == 1


def test_rows_are_counted_by_where_they_are_from(tmp_path: Path):
    content = b"question,answer,url\na,b,x\nc,d,y\ne,f,x\ng,h,\n"
    assert Brought(tmp_path, content).read().sheet.sources == {"x": 2, "y": 1}
