"""What is held out: whole units, the same ones each time, and no question on both sides."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.contract.imports import ImportPlan, ImportReport
from service.contract.splits import split_of
from service.intake import splits
from service.intake.problems import BadFile
from tests.service.intake.files import Brought, jsonl


def held_out(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / "held_out.jsonl").read_bytes().splitlines()]


def asked(rows: list[dict[str, Any]]) -> set[str]:
    return {row["messages"][0]["content"] for row in rows}


def questions(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"question": f"What does lamp number {n} cost?", "answer": f"{n} francs", **more}
        for n in range(count)
    ]


def read(place: Path, rows: list[dict[str, Any]], **plan: Any) -> tuple[ImportReport, set[str], set[str]]:
    brought = Brought(place, jsonl(*rows), **{"split_by": "auto", **plan})
    report = brought.read()
    return report, asked(brought.rows()), asked(held_out(place))


def test_nothing_is_held_out_unless_it_is_asked_for(tmp_path: Path):
    report, learnt, kept = read(tmp_path, questions(50), split_by=None)
    assert (report.split, report.taken, len(learnt), kept) == (None, 50, 50, set())


def test_rows_that_tell_nothing_are_parted_by_their_question_and_no_question_stands_on_both_sides(
    tmp_path: Path,
):
    again = [{**row, "answer": "ask at the desk"} for row in questions(200)]
    report, learnt, kept = read(tmp_path, [*questions(200), *again])
    assert report.split is not None
    assert report.split.held_out is not None
    assert (report.split.by, report.split.column, report.left_out) == ("question", None, {})
    assert not learnt & kept
    assert len(learnt | kept) == 200
    assert 20 < len(kept) < 65
    assert (report.split.training.rows, report.split.held_out.rows) == (2 * len(learnt), 2 * len(kept))
    assert (report.taken, report.sheet.rows) == (400, 2 * len(learnt))


def test_a_question_stays_on_its_side_when_rows_are_added_and_in_whichever_order_they_stand(tmp_path: Path):
    _, _, before = read(tmp_path, questions(100))
    _, learnt, after = read(tmp_path, [*reversed(questions(150))])
    assert before < after
    assert not before & learnt


def test_a_conversation_told_turn_by_turn_stays_together_by_how_it_begins(tmp_path: Path):
    def talk(n: int, turns: int) -> dict[str, Any]:
        said = [f"Where can I buy lamp number {n}?", "And what does it cost there?", "Thanks"][:turns]
        answers = [{"role": "assistant", "content": f"{n} {turn}"} for turn in range(turns)]
        pairs = zip(said, answers, strict=True)
        return {
            "messages": [one for text, answer in pairs for one in ({"role": "user", "content": text}, answer)]
        }

    _, learnt, kept = read(tmp_path, [talk(n, turns) for n in range(60) for turns in (1, 2, 3)])
    assert kept
    assert not learnt & kept


@pytest.mark.parametrize("column", ["document_id", "url"])
def test_a_column_of_documents_keeps_each_document_on_one_side(tmp_path: Path, column: str):
    rows = [{**row, column: f"page {at // 5}"} for at, row in enumerate(questions(200))]
    report, learnt, kept = read(tmp_path, rows)
    assert report.split is not None
    assert (report.split.by, report.split.column) == ("document", column)
    pages = {row["question"]: row[column] for row in rows}
    assert {pages[one] for one in kept} == {
        one for one in pages.values() if split_of(f"document:{one}") == "held_out"
    }
    assert not {pages[one] for one in kept} & {pages[one] for one in learnt}


def test_a_unit_that_is_called_0_is_one_like_the_others(tmp_path: Path):
    rows = [{**row, "conversation_id": at // 20} for at, row in enumerate(questions(400))]
    _, learnt, kept = read(tmp_path, rows)
    talks = {row["question"]: row["conversation_id"] for row in rows}
    assert not {talks[one] for one in learnt} & {talks[one] for one in kept}
    assert {talks[one] for one in kept} == {
        n for n in range(20) if split_of(f"conversation:{n}") == "held_out"
    }


def test_where_the_best_unit_is_told_by_few_rows_the_next_one_decides(tmp_path: Path):
    rows = [{**row, "ticket": "", "page": f"page {at // 5}"} for at, row in enumerate(questions(200))]
    rows[3]["ticket"] = "T-1"
    mapping = {"prompt": "question", "completion": "answer", "conversation": "ticket", "document": "page"}
    report, learnt, kept = read(tmp_path, rows, mapping=mapping)
    assert report.split is not None
    assert (report.split.by, report.split.column) == ("document", "page")
    pages = {row["question"]: row["page"] for row in rows}
    assert not {pages[one] for one in kept} & {pages[one] for one in learnt}
    assert Brought(tmp_path, jsonl(*rows), split_by="auto", mapping=mapping).look().split_by == "document"
    few = Brought(tmp_path, jsonl(*rows[:8]), split_by="auto", mapping=mapping).look()
    assert few.split_by == "conversation"


def test_the_mapping_names_the_column_in_any_format_and_in_csv(tmp_path: Path):
    rows = [
        {
            "messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}],
            "Blatt": n // 3,
        }
        for n in range(60)
    ]
    report = Brought(tmp_path, jsonl(*rows), split_by="document", mapping={"document": "Blatt"}).read()
    assert report.split is not None
    assert (report.format, report.split.by, report.split.column) == ("openai-chat", "document", "Blatt")
    table = "Frage,Antwort,Blatt\n" + "".join(f"q{n},a{n},{n // 3}\n" for n in range(60))
    plan = {"prompt": "Frage", "completion": "Antwort", "person": "Blatt"}
    report = Brought(tmp_path, table.encode(), "a.csv", split_by="auto", mapping=plan).read()
    assert report.split is not None
    assert (report.split.by, report.split.column) == ("person", "Blatt")
    with pytest.raises(ValueError, match="belongs to the format 'columns'"):
        ImportPlan(format="kto", mapping={"prompt": "Frage"})


def test_a_column_of_few_names_is_gone_by_only_when_it_is_asked_for(tmp_path: Path):
    rows = [{**row, "document": "ab"[at % 2]} for at, row in enumerate(questions(60))]
    report, *_ = read(tmp_path, rows)
    assert report.split is not None
    assert report.split.by == "question"
    report, *_ = read(tmp_path, rows, split_by="document")
    assert report.split is not None
    assert report.split.by == "document"


def test_what_a_held_out_document_asks_and_training_asks_too_stands_on_neither_side(tmp_path: Path):
    pages = [f"page {n}" for n in range(40)]
    rows = [{**row, "document": page} for row, page in zip(questions(40), pages, strict=True)]
    rows += [{"question": "Where is the lamp shop?", "answer": page, "document": page} for page in pages]
    report, learnt, kept = read(tmp_path, rows)
    held = sum(split_of(f"document:{page}") == "held_out" for page in pages)
    assert (report.left_out, report.taken) == ({"asked_in_training": held}, 80 - held)
    assert not learnt & kept


def test_a_unit_that_no_row_tells_is_refused_and_rows_of_one_unit_are_all_learnt_from(tmp_path: Path):
    with pytest.raises(BadFile, match="No row tells its person"):
        read(tmp_path, questions(20), split_by="person")
    rows = [{"question": "Where is the lamp shop?", "answer": f"a{n}"} for n in range(20)]
    report, learnt, kept = read(tmp_path, rows)
    assert report.split is not None
    assert (report.split.held_out, report.split.training.rows, kept) == (None, 20, set())


def test_a_preview_says_what_would_be_kept_together(tmp_path: Path):
    assert Brought(tmp_path, jsonl(*questions(3))).look().split_by == "question"
    found = Brought(tmp_path, jsonl(*questions(3, thread_id="t1"))).look()
    assert (found.split_by, found.mapping["conversation"]) == ("conversation", "thread_id")


def test_the_lines_of_an_uploaded_file_are_parted_as_they_are(tmp_path: Path):
    def line(n: int) -> str:
        said = f'[{{"role": "user", "content": "q{n} \\u00e9"}}, {{"content": "a", "weight":  1, "role": "assistant"}}]'
        return f'{{"messages": {said},  "tailorbird": null, "page": "{n // 4}"}}'

    lines = [line(n) for n in range(80)]
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    for by, column in (("question", None), ("document", "page")):
        mapping = {by: column} if column else {}
        spec = Brought(tmp_path, path, format="openai-chat", split_by=by, mapping=mapping).spec
        found = splits.part(spec, tmp_path)
        assert (found.by, found.column, found.left_out) == (by, column, 0)
        sides = [(tmp_path / name).read_text().splitlines() for name in ("rows.jsonl", "held_out.jsonl")]
        assert sorted(sides[0] + sides[1]) == sorted(lines)
        assert found.held_out is not None
        assert (len(sides[0]), len(sides[1])) == (found.training.rows, found.held_out.rows)


def test_which_questions_are_asked_twice_does_not_depend_on_how_much_is_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [{"question": f"q{n % 300}", "answer": f"a{n}", "document": f"page {n % 77}"} for n in range(400)]
    whole = read(tmp_path, rows)
    monkeypatch.setattr(splits, "SLICE", 20)
    sliced = read(tmp_path, rows)
    assert sliced[1:] == whole[1:]
    assert sliced[0].left_out == whole[0].left_out != {}
