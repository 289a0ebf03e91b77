"""A data sheet as people read it."""

from typing import Any

import pytest

from service.contract.sheets import Bin, DataSheet, Lengths
from ui.sheets import SHOWN, drawn
from ui.words import words

pytestmark = pytest.mark.heavy  # the page is one of the screens', which bring Gradio along

EVIL = "<script>alert(1)</script>"
LANGUAGES = ("en", "fr")


def lengths(*rows: int) -> Lengths:
    bins = [Bin(least=at * 10, most=at * 10 + 9, rows=count) for at, count in enumerate(rows)]
    return Lengths(mean=12.5, least=1, median=15, p95=27, most=29, total=12_345, bins=bins)


def sheet(**more: Any) -> DataSheet:
    fields: dict[str, Any] = {
        "kind": "sft", "rows": 2_000, "sha256": "ab", "prompt_words": lengths(), "answer_words": lengths(),
        "tokens": lengths(4, 0, 8), "languages": {"en": 1_500, "unclear": 500}, "labels": {EVIL: 3, "b": 1},
        "longer_chosen": None, "exact_duplicates": 1, "near_duplicates": 1, "near_examples": [], "source": EVIL,
        "sources": {"release 2": 7, "base model": 5, EVIL: 1}, "licence": None, "filename": EVIL,
        "filename_sha256": "cd", "created_at": 1,
    }  # fmt: skip
    return DataSheet(**fields | more)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sheet_tells_counts_balance_and_origin_and_nothing_in_it_is_markup(language: str):
    w = words(language)
    page = drawn(w, sheet())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    said = [w("language_en"), w("release_number", number=2), w("base_model"), w("sheet_labels", n=2)]
    assert [one for one in said if one not in page] == []
    assert w("sheet_longer") not in page
    assert w("sheet_longer") in drawn(w, sheet(kind="dpo", longer_chosen=3))
    assert w("sheet_desirable") in drawn(w, sheet(kind="kto", labels={"desirable": 3, "undesirable": 1}))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sheet_warns_of_one_rater_behind_nearly_all_preferences(language: str):
    w, judged = words(language), {"kind": "dpo", "longer_chosen": 1, "people": 3}
    warned = w("finding_one_person", share=92)
    assert warned in drawn(w, sheet(**judged, largest_share=0.92))
    assert "data-one-person" not in drawn(w, sheet(**judged, largest_share=0.6))
    assert w("sheet_people", n=3) in drawn(w, sheet(**judged, largest_share=0.6))


def test_a_plot_has_a_bar_for_each_length_that_occurs_and_the_commonest_is_the_highest():
    page = drawn(words("en"), sheet())
    assert page.count("<rect") == 2
    assert '<rect x="401.0" y="0.0" width="198.0" height="120.0"' in page
    assert '<rect x="1.0" y="60.0" width="198.0" height="60.0"' in page
    assert '<path d="M300.0 0V120" class="mark median"/>' in page
    assert "20–29: 8 rows" in page


def test_a_sheet_of_before_lengths_were_counted_has_its_figures_and_no_plot():
    page = drawn(words("en"), sheet(tokens=lengths()))
    assert "<svg" not in page
    assert "12,345" in page


def test_of_many_sources_the_commonest_are_told_and_the_others_counted():
    many = {f"source {n}": 100 - n for n in range(SHOWN + 3)}
    page = drawn(words("en"), sheet(sources=many))
    assert f"source {SHOWN - 1}<" in page
    assert f"source {SHOWN}<" not in page
    assert "and 3 others with " in page
