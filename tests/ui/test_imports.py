from typing import Any

import pytest

from service.contract.assistants import Assistant
from service.contract.imports import (
    Import,
    ImportError,
    ImportPlan,
    ImportProgress,
    ImportReport,
    Preview,
    Problem,
)
from service.contract.sheets import DataSheet, Lengths, Touch, Twins
from service.contract.splits import Part, Split
from service.intake.problems import MENDS
from ui.acts import Act
from ui.imports import COLUMNS, FORMATS, WISHES, draw, plan_of
from ui.words import words
from ui.words.en import ENGLISH

pytestmark = pytest.mark.heavy  # the section brings Gradio along

LANGUAGES = ("en", "fr")
EVIL = "<script>alert(1)</script>"
PROBLEM = Problem(
    file="f.csv", line=12, field=EVIL, reason="empty_field", problem="The field is empty.", mend="Fill it in."
)


def preview(**more: Any) -> Preview:
    fields: dict[str, Any] = {
        "container": "csv", "encoding": "utf-8", "delimiter": ",", "sheets": ["A", EVIL], "sheet": "A",
        "columns": ["Q", EVIL], "recognised": None, "format": "columns", "mapping": {"prompt": "Q"}, "kind": "sft",
        "looked_at": 9, "rows": [], "raw": [{"Q": EVIL}], "problems": [PROBLEM], "refused": 1,
    }  # fmt: skip
    return Preview(**fields | more)


def report() -> ImportReport:
    some = Lengths(mean=1.0, least=1, median=2, p95=3, most=4, total=12_345)
    sheet = DataSheet(
        kind="dpo", rows=2, sha256="ab", prompt_words=some, answer_words=some, tokens=some,
        languages={"en": 1, "unclear": 1}, labels={EVIL: 3, "b": 1}, longer_chosen=1, exact_duplicates=1,
        near_duplicates=1, near_examples=[Twins(line=3, like=2, share=0.9)], sources={EVIL: 1}, source=EVIL,
        licence=None, filename=EVIL, filename_sha256="cd", created_at=1,
    )  # fmt: skip
    return ImportReport(
        format="columns", kind="dpo", read=1_000_004, taken=1_000_000, refused={"empty_field": 1}, problems=[PROBLEM],
        left_out={"held_out_case": 1}, cases=1, touched=[Touch(line=4, case=EVIL, how="same", share=1)], seconds=1,
        peak_mb=1, sheet=sheet,
    )  # fmt: skip


def brought(status: str = "ready", **more: Any) -> Import:
    fields: dict[str, Any] = {
        "id": "import_1", "filename": EVIL, "bytes": 1, "status": status, "plan": ImportPlan(), "preview": None,
        "progress": None, "report": None, "error": None, "file_id": None, "created_at": 1, "finished_at": None,
    }  # fmt: skip
    return Import(**fields | more)


ROWS = {
    "sft": {"messages": [{"role": "user", "content": EVIL}, {"role": "assistant", "content": "a"}]},
    "dpo": {
        "input": {"messages": [{"role": "user", "content": "q"}]},
        "preferred_output": [{"role": "assistant", "content": EVIL}],
        "non_preferred_output": [{"role": "assistant", "content": "b"}],
    },
    "kto": {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": EVIL}],
        "label": True,
    },
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "one",
    [
        brought(preview=preview()),
        *(brought(preview=preview(kind=kind, rows=[row], recognised="kto")) for kind, row in ROWS.items()),
        brought(preview=preview(kind=None)),
        brought("running", progress=ImportProgress(phase="comparing", share=0.65, rows=1234, refused=1)),
        brought("succeeded", report=report(), preview=preview()),
        brought(
            "failed", error=ImportError(code="bad_row", message=EVIL, problem=PROBLEM), preview=preview()
        ),
        brought("failed", error=ImportError(code="no_rows", message=EVIL)),
        brought("cancelled", preview=preview()),
    ],
)
def test_an_import_is_drawn_in_every_state_and_nothing_in_it_is_markup(language: str, one: Import):
    drawn = draw(words(language), one, [brought("succeeded", report=report())], [])
    assert "&lt;script&gt;" in drawn
    assert "<script" not in drawn


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "Rows so far: 1,234, refused: 1."),
        ("fr", "Lignes jusqu’ici\u00a0: 1\u202f234, refusées\u00a0: 1."),
    ],
)
def test_how_far_an_import_is_reads_well_of_one_and_of_many(language: str, said: str):
    progress = ImportProgress(phase="comparing", share=0.65, rows=1234, refused=1)
    assert said in draw(words(language), brought("running", progress=progress), [], [])


def test_a_refusal_on_the_screen_names_the_line_the_field_and_the_mend_in_both_languages():
    failed = brought("failed", error=ImportError(code="bad_row", message="m", problem=PROBLEM))
    for language, said in (("en", "Line 12, field"), ("fr", "Ligne 12, champ")):
        drawn = " ".join(draw(words(language), failed, [], []).split())
        assert said in drawn
        assert words(language)("mend_empty_field") in drawn


def test_a_file_refused_as_a_whole_is_said_in_the_readers_language_or_as_it_was_sent():
    def drawn(language: str, code: str, line: int | None = None) -> str:
        error = ImportError(code=code, message="As <sent>.", line=line)
        return draw(words(language), brought("failed", error=error), [], [])

    for language in LANGUAGES:
        assert words(language)("error_empty_file") in drawn(language, "empty_file")
        assert "As &lt;sent&gt;." not in drawn(language, "empty_file")
        assert '<span lang="en">As &lt;sent&gt;.</span>' in drawn(language, "bad_csv")
        assert words(language)("at_line_bad_csv", line=7) in drawn(language, "bad_csv", line=7)
        assert "As &lt;sent&gt;." not in drawn(language, "bad_csv", line=7)


def test_a_row_near_a_held_out_question_is_told_by_its_line_where_the_question_is_not_told():
    named, unnamed = report(), report()
    unnamed.touched = [Touch(line=4, case=None, how=None, share=None)]
    for language, said in (("en", "<li>Line 4</li>"), ("fr", "<li>Ligne 4</li>")):
        assert said in draw(words(language), brought("succeeded", report=unnamed), [], [])
        assert said not in draw(words(language), brought("succeeded", report=named), [], [])


def test_every_code_of_a_refusal_and_every_choice_has_a_sentence():
    wanted = {f"{start}_{reason}" for reason in MENDS for start in ("why", "mend")}
    wanted |= {f"format_{name.replace('-', '_')}" for name in FORMATS} | {
        f"column_{name}" for name in COLUMNS
    }
    wanted |= {f"import_by_{wish}" for wish in WISHES if wish != "auto"}
    wanted |= {f"phase_{name}" for name in ("waiting", "reading", "comparing", "writing")}
    wanted |= {f"import_{name}" for name in ("ready", "running", "succeeded", "failed", "cancelled")}
    wanted |= {f"language_{name}" for name in ("en", "fr", "other", "unclear")}
    wanted |= {f"kind_{name}" for name in ("sft", "dpo", "kto")}
    assert wanted - ENGLISH.keys() == set()


def assistant(instructions: str) -> Assistant:
    return Assistant(
        id="a", name="fanal", title="Fanal", description="", instructions=instructions, starters=[], languages=["en"],
        temperature=0.2, max_tokens=10, live_release=None, staged_release=None, staged_share=0,
        cases_file=None, created_at=1,
    )  # fmt: skip


def test_the_form_becomes_a_plan_and_what_is_learnt_is_mapped_only_for_columns_of_ones_own():
    fields = {
        "format": ["columns"], "column_prompt": ["Q"], "column_completion": ["A"], "column_label": [""],
        "assistant": ["fanal"], "source": [" our wiki "], "licence": [""], "instructions": ["on"], "strict": ["on"],
        "column_document": ["Page"], "split_by": ["auto"],
    }  # fmt: skip
    known = {"fanal": assistant("Be kind.")}
    plan = plan_of(Act(fields=fields), known)
    assert plan == ImportPlan(
        format="columns", mapping={"prompt": "Q", "completion": "A", "document": "Page"}, assistant="fanal",
        instructions="Be kind.", source="our wiki", bad_rows="refuse", split_by="auto",
    )  # fmt: skip
    other = plan_of(Act(fields={**fields, "format": ["kto"], "assistant": ["nobody"], "near": ["on"]}), known)
    assert (other.format, other.mapping) == ("kto", {"document": "Page"})
    assert (other.assistant, other.instructions) == (None, None)
    assert other.near_duplicates == "leave_out"
    assert plan_of(Act(fields={"format": ["parquet"], "split_by": [""]}), known) == ImportPlan()


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_import_says_how_many_rows_are_kept_aside_and_by_what(language: str):
    w, done = words(language), report()
    whole = Part(sha256="a", rows=800_000)
    done.split = Split(by="document", column="Page", training=whole, held_out=None, left_out=0)
    assert w("import_aside_none") in draw(w, brought("succeeded", report=done), [], [])
    done.split.held_out = Part(sha256="b", rows=2)
    done.left_out["asked_in_training"] = 3
    drawn = draw(w, brought("succeeded", report=done), [], [])
    assert w("import_aside", n=2, rows="2", unit=w("import_by_document")) in drawn
    assert w("import_both_sides") in drawn
    chosen = draw(w, brought(preview=preview(split_by="person")), [], [])
    assert f'value="auto" selected>{w("import_split_auto", unit=w("import_by_person"))}' in chosen


def test_large_numbers_are_readable():
    done = brought("succeeded", report=report())
    assert "1,000,000 of 1,000,004 rows were taken" in draw(words("en"), done, [], [])
    assert "1\u202f000\u202f000 lignes sur 1\u202f000\u202f004" in draw(words("fr"), done, [], [])
