from typing import Any

import pytest

from service.contract.lineage import (
    AdapterUse,
    DatasetUse,
    DocumentUse,
    JobUse,
    Lineage,
    PersonUse,
    ReleaseUse,
)
from service.contract.releases import Release
from ui.lineage import drawn
from ui.words import words

LANGUAGES = ("en", "fr")
EN = words("en")
ONE, TWO = "1" * 64, "2" * 64


def release(**more: Any) -> Release:
    fields: dict[str, Any] = {
        "id": "rel_2", "assistant": "fanal", "number": 2, "adapter": TWO, "model": "ft:x", "job": "ftjob-2",
        "state": "candidate", "gate": None, "evaluation": None, "created_at": 1, "promoted_at": None,
        "promoted_by": None, "override_reason": None,
    }  # fmt: skip
    return Release(**fields | more)


def job(number: int, **more: Any) -> JobUse:
    fields: dict[str, Any] = {
        "id": f"ftjob-{number}", "kind": "dpo", "status": "succeeded", "datasets": [f"ds_{number}"], "file": None,
        "start_adapter": None, "adapter": str(number) * 64, "learned": True,
    }  # fmt: skip
    return JobUse(**fields | more)


def dataset(number: int, kind: str, rows: int, held_out: int, **more: Any) -> DatasetUse:
    fields = {"id": f"ds_{number}", "assistant": "fanal", "kind": kind, "number": number, "learned": True}
    return DatasetUse(**fields | {"rows": rows, "held_out": held_out} | more)


def lineage(**more: Any) -> Lineage:
    """Release 2 went on from release 1, whose training began at the base model."""
    fields: dict[str, Any] = {
        "datasets": [dataset(1, "sft", 8, 1), dataset(2, "dpo", 40, 5)],
        "jobs": [job(2, start_adapter=ONE), job(1, kind="sft")],
        "adapters": [
            AdapterUse(digest=ONE, model="ft:1", learned=True, inherited=True, deleted=False),
            AdapterUse(
                digest=TWO, model="ft:2", learned=True, inherited=False, deleted=False, cases=40, cases_sha256="c" * 64
            ),
        ],
        "releases": [
            ReleaseUse(id=f"rel_{n}", assistant="fanal", number=n, adapter=str(n) * 64, live=n == 1, learned=True)
            for n in (1, 2)
        ],
        "documents": [],
        "people": [PersonUse(person="p-rita", rows=30, held_out=4), PersonUse(person="p-sam", rows=18, held_out=2)],
        "feedback": ["fb_1"], "more": True,
    }  # fmt: skip
    return Lineage(**fields | more)


def test_its_own_training_comes_first_then_what_it_inherited_down_to_the_base_model():
    page = drawn(EN, release(), lineage())
    told = [
        "Learned in this release", "Dataset 2 · Corrections, to be preferred:",
        "40 corrected or compared answers to learn from",
        "5 more only to measure it", "one of the 40 questions", "c" * 64, "ftjob-2", "2" * 12,
        "Inherited from release 1",
        "Dataset 1 · Corrections, as examples:",
        "8 corrections to learn from", "1 more only to measure it", "ftjob-1", "the base model, as it came",
        "2 people", "p-rita", "30", "p-sam", "18",
    ]  # fmt: skip
    places = [page.index(words_) for words_ in told]
    assert places == sorted(places)
    assert page.count('class="inherited"') == 1


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["sft", "dpo", "kto", "later"])
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_every_kind_of_dataset_is_counted_and_nothing_in_it_is_markup(language: str, kind: str, rows: int):
    bad = "<b>bad</b>"
    found = lineage(
        datasets=[dataset(2, kind, rows, rows, assistant=bad)],
        jobs=[job(2, id=bad, file=bad, start_adapter=bad)], releases=[],
        people=[PersonUse(person=bad, rows=1, held_out=0)],
    )  # fmt: skip
    page = drawn(words(language), release(), found)
    assert "<b>" not in page
    assert page.count("&lt;b&gt;") == 5
    w = words(language)
    learned = w(f"lineage_rows_{kind}", n=rows) if kind in ("sft", "dpo", "kto") else str(rows)
    held_out = f", {w('lineage_held_out', n=rows)}" if rows else ""
    assert f"{learned}{held_out} (&lt;b&gt;bad&lt;/b&gt;)." in page
    assert str(rows) in learned


def test_what_came_from_a_file_or_from_elsewhere_is_not_called_feedback():
    brought = lineage(jobs=[job(2, datasets=[], file="file-9")], datasets=[], people=[])
    page = drawn(EN, release(), brought)
    assert "file-9" in page
    use = DocumentUse(
        document="rules.md", sha256="ab", file="file-9", confirmed_by="p_rita", rows=14, first_at=1, last_at=2
    )
    confirmed = drawn(EN, release(), brought.model_copy(update={"documents": [use]}))
    assert "14 drafts of “rules.md”, confirmed by <code>p_rita</code>" in confirmed
    assert "file-9" not in confirmed
    assert "not people’s feedback" in page
    assert "people" not in page.replace("not people’s feedback", "")
    nothing = drawn(EN, release(), lineage(jobs=[], datasets=[], people=[], adapters=[], releases=[]))
    assert EN("lineage_none") in nothing
    assert "<ol" not in nothing


def test_an_origin_that_is_not_recorded_is_not_called_the_base_model():
    page = drawn(EN, release(), lineage(jobs=[job(2, start_adapter=ONE)]))
    assert EN("lineage_unknown") in page
    assert EN("lineage_base") not in page


def test_an_adapter_that_is_said_to_go_on_from_itself_is_told_once():
    assert drawn(EN, release(), lineage(jobs=[job(2, start_adapter=TWO)])).count("ftjob-2") == 1


def test_as_many_people_as_the_api_names_may_be_more():
    crowd = [PersonUse(person=f"p-{n}", rows=1, held_out=0) for n in range(100)]
    assert "at least 100 people" in drawn(EN, release(), lineage(people=crowd))


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_adapter_from_elsewhere_says_that_its_training_is_not_known(language: str):
    w = words(language)
    found = lineage(datasets=[], people=[], jobs=[job(2, kind="import", datasets=[], file="file-zip")])
    html = drawn(w, release(), found)
    assert w("lineage_brought") in html
    assert "file-zip" not in html
