import json
import random
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from service.contract.datasets import MAX_LINE
from service.intake import json_array, sources, tables
from service.intake.problems import BadFile
from tests.service.intake.files import Brought, jsonl, workbook

ROW = {"prompt": "q", "completion": "a"}


def lines_of(brought: Brought) -> list[tuple[int, str]]:
    return [(problem.line, problem.reason) for problem in brought.look().problems]


def test_bad_lines_of_json_are_refused_one_by_one(tmp_path: Path):
    content = (
        jsonl(ROW, "{broken", "", "[1]")
        + b'{"prompt": "\xff", "completion": "a"}\n{"prompt": "\\ud800", "completion": "a"}\n'
        + b'{"prompt": "' + b"x" * MAX_LINE + b'", "completion": "a"}\n'
        + jsonl(ROW)
    )  # fmt: skip
    brought = Brought(tmp_path, content)
    expected = [(2, "not_json"), (4, "not_an_object"), (5, "not_utf8"), (6, "not_json"), (7, "row_too_long")]
    assert lines_of(brought) == expected
    assert brought.read().read == 7


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path):
    for content in (
        b"\xef\xbb\xbf" + jsonl(ROW),
        b"\xef\xbb\xbfprompt,completion\nq,a\n",
        b"\xef\xbb\xbf" + json.dumps([ROW]).encode(),
    ):
        look = Brought(tmp_path, content).look()
        assert (look.recognised, look.refused, look.looked_at) == ("prompt-completion", 0, 1), content


@pytest.mark.parametrize("chunk", [1, 7, 1 << 18])
def test_an_array_is_read_element_by_element_across_any_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
):
    monkeypatch.setattr(json_array, "CHUNK", chunk)
    rows = [{"prompt": f"quéstion {n} 🐦", "completion": "a" * n} for n in range(1, 30)]
    brought = Brought(tmp_path, json.dumps(rows, indent=1, ensure_ascii=False).encode())
    assert (brought.look().container, brought.read().taken) == ("json", 29)
    assert [row["messages"][0]["content"] for row in brought.rows()] == [row["prompt"] for row in rows]


def test_an_array_names_the_line_of_each_row_and_the_one_it_breaks_at(tmp_path: Path):
    mixed = '[\n{"prompt": "q",\n "completion": "a"},\n 7,\n{"prompt": "q"}\n]'
    assert lines_of(Brought(tmp_path, mixed.encode())) == [(4, "not_an_object"), (5, "missing_field")]
    for broken, line in (('[{"a": 1},\n{"b": }]', 2), ('[{"a": 1}\n {"b": 2}]', 2), ('[{"a": 1},\n', 2)):
        with pytest.raises(BadFile, match=f"Line {line}: .* one object on each line"):
            Brought(tmp_path, broken.encode()).read()


@pytest.mark.parametrize("more", ['\n[{"prompt": "r", "completion": "b"}]', "]", " x"])
def test_what_follows_the_end_of_an_array_is_refused_and_not_left_out_in_silence(tmp_path: Path, more: str):
    array = json.dumps([ROW])
    assert Brought(tmp_path, f"{array}\n \n".encode()).read().taken == 1
    with pytest.raises(BadFile, match="something follows the array's end"):
        Brought(tmp_path, f"{array}{more}".encode()).read()


def test_a_value_that_pandas_wrote_as_nan_is_a_missing_one(tmp_path: Path):
    content = (
        b'[{"instruction": "q", "input": NaN, "output": "a"}, {"instruction": "q", "output": -Infinity},'
        b' {"instruction": "p", "input": 0, "output": 1.5}]'
    )
    brought = Brought(tmp_path, content)
    assert lines_of(brought) == [(1, "empty_field")]
    brought.read()
    said = [[one["content"] for one in row["messages"]] for row in brought.rows()]
    assert said == [["q", "a"], ["p\n\n0", "1.5"]]


def test_an_element_that_holds_what_is_no_text_is_refused_alone_wherever_it_stands(tmp_path: Path):
    good, half = json.dumps(ROW), '{"prompt": "q", "completion": "\\ud83d"}'
    named = '{"prompt": "q", "completion": "a", "\\ud83d": 1}'
    other = '{"prompt": "où", "completion": "a"}'
    content = f'[{good},\n{half},\n{named},\n{other},\n{{"prompt": "r", "completion": "b"}}]'
    brought = Brought(tmp_path, content.encode("windows-1252"))
    assert lines_of(brought) == [(2, "not_utf8"), (3, "not_utf8"), (4, "not_utf8")]
    look = brought.look()
    assert (look.columns, [problem.problem for problem in look.problems[1:]]) == (
        ["prompt", "completion"],
        ["The row holds half of a character.", "The row is not UTF-8."],
    )
    look.model_dump_json()
    assert (brought.read().taken, brought.read().refused) == (2, {"not_utf8": 3})
    whole = Brought(tmp_path, b'[{"prompt": "q", "completion": "\\ud83d\\udc26"}]')
    assert (whole.read().taken, whole.rows()[0]["messages"][1]["content"]) == (1, "🐦")


def test_names_of_columns_that_are_no_text_refuse_the_file(tmp_path: Path):
    content = "prompt,réponse\nq,a\n".encode("windows-1252")
    assert Brought(tmp_path, content).look().columns == ["prompt", "réponse"]
    with pytest.raises(BadFile, match="first row, which names the columns") as refused:
        Brought(tmp_path, content, encoding="utf-8").look()
    assert refused.value.code == "wrong_encoding"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_is_read_with_whatever_separates_its_cells(tmp_path: Path, delimiter: str):
    content = f'question{delimiter}answer\n"a{delimiter}\nb"{delimiter}c\n\nd{delimiter}"say ""e"""\n'
    brought = Brought(tmp_path, content.encode())
    brought.read()
    said = [[one["content"] for one in row["messages"]] for row in brought.rows()]
    assert said == [[f"a{delimiter}\nb", "c"], ["d", 'say "e"']]


def test_a_row_of_a_csv_is_named_by_the_line_it_begins_on(tmp_path: Path):
    content = b'question,answer\n"a\nb",c\nd,\ne,f,g\n"h" i,j\nk,l\n'
    brought = Brought(tmp_path, content)
    assert lines_of(brought) == [(4, "empty_field"), (5, "uneven_row"), (6, "uneven_row")]
    assert brought.read().taken == 2


def test_a_quote_that_is_never_closed_refuses_the_file_and_says_where(tmp_path: Path):
    with pytest.raises(BadFile, match="Line 3: a double quote that opens here is never closed") as refused:
        Brought(tmp_path, b'question,answer\na,b\n"c,d\ne,f\n').read()
    assert refused.value.line == 3


@pytest.mark.parametrize(
    "row",
    ['"Does "closed" close?","It closes.\nCome back, please."', 'a,"b\n"c" d,"e\nf,g', '"a "b c","d\ne,f"'],
)
def test_a_badly_quoted_row_that_may_go_on_in_the_next_line_refuses_the_file(tmp_path: Path, row: str):
    with pytest.raises(BadFile, match="Line 3: a double quote") as refused:
        Brought(tmp_path, f"question,answer\nq,a\n{row}\n".encode()).read()
    assert (refused.value.code, refused.value.line) == ("bad_csv", 3)


@pytest.mark.parametrize(("mark", "end"), [(";", "\r\n"), (",", "\n"), ("\t", "\r\n"), ("|", "\n")])
def test_excels_own_line_on_the_separator_is_followed_and_no_row(tmp_path: Path, mark: str, end: str):
    more = ";" if mark == "|" else "|"
    text = end.join([f"sep={mark}", f"question{mark}answer{mark}{more * 5}", f"a{mark}b", f"c{mark}"])
    brought = Brought(tmp_path, text.encode("utf-16"))
    assert (brought.look().delimiter, brought.look().columns) == (mark, ["question", "answer", more * 5])
    assert lines_of(brought) == [(4, "empty_field")]
    assert (brought.read().taken, brought.rows()[0]["messages"][1]["content"]) == (1, "b")


def test_letters_that_only_look_like_line_ends_are_part_of_the_text(tmp_path: Path):
    brought = Brought(tmp_path, "question,answer\na\u2028b,c\x0bd\n".encode())
    brought.read()
    assert brought.rows()[0]["messages"][1]["content"] == "c\x0bd"


def test_the_encodings_that_excel_writes_are_told_apart(tmp_path: Path):
    text = "question;réponse\nOù ?;À Brest, dès l'été\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "windows-1252"):
        brought = Brought(tmp_path, text.encode(encoding))
        look = brought.look()
        assert look.encoding == encoding.removesuffix("-sig")
        assert look.rows[0]["messages"][1]["content"] == "À Brest, dès l'été", encoding


def test_a_letter_in_another_encoding_far_down_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sources, "LOOK", 100)
    content = b"question,answer\n" + b"where,here\n" * 50 + "où,là\n".encode("windows-1252")
    report = Brought(tmp_path, content).read()
    [problem] = report.problems
    assert (problem.line, problem.reason) == (52, "not_utf8")
    assert "CSV UTF-8" in problem.mend


def test_a_workbook_is_read_from_its_first_sheet_or_the_one_that_is_named(tmp_path: Path):
    content = workbook(["Question", "Réponse", None], [], ["a", "b"], [None, "c"], title="FAQ", more="Empty")
    brought = Brought(tmp_path, content, "faq.xlsx")
    look = brought.look()
    assert (look.container, look.sheets, look.sheet) == ("xlsx", ["FAQ", "Empty"], "FAQ")
    assert [(p.file, p.line, p.field) for p in look.problems] == [("faq.xlsx", 4, "Question")]
    assert Brought(tmp_path, content, sheet="Empty").look().looked_at == 0
    with pytest.raises(BadFile, match="no sheet 'Other', but FAQ, Empty"):
        Brought(tmp_path, content, sheet="Other").look()


def test_a_cell_that_excel_could_not_compute_is_refused_where_it_is_used(tmp_path: Path):
    rows = [["question", "answer", "page", "price"], ["a", "#N/A", "1", "2"], ["b", "c", "#REF!", "#DIV/0!"]]
    brought = Brought(tmp_path, workbook(*rows), "faq.xlsx", split_by="auto")
    [problem] = brought.look().problems
    assert (problem.line, problem.field, problem.reason) == (2, "answer", "error_cell")
    assert "Excel's, #N/A" in problem.problem
    brought.read()
    assert [row["messages"][1]["content"] for row in brought.rows()] == ["c"]
    assert Brought(tmp_path, b"question,answer\nWhat does VLOOKUP say?,#N/A\n").read().taken == 1


def test_a_line_break_in_a_cell_is_one_however_the_workbook_writes_it(tmp_path: Path):
    content = workbook(["question", "answer"], ["q", "one\ntwo\nthree"])
    with zipfile.ZipFile(BytesIO(content)) as parts:
        held = {name: parts.read(name) for name in parts.namelist()}
    kept = BytesIO()
    with zipfile.ZipFile(kept, "w") as parts:
        for name, data in held.items():
            parts.writestr(name, data.replace(b"one\ntwo\n", b"one_x000D_\ntwo_x000D_"))
    brought = Brought(tmp_path, kept.getvalue())
    brought.read()
    assert brought.rows()[0]["messages"][1]["content"] == "one\ntwo\nthree"


def test_what_a_workbook_says_of_its_rows_looks_is_not_kept_in_memory(tmp_path: Path):
    import openpyxl

    book, kept = openpyxl.Workbook(), BytesIO()
    sheet = book.active
    assert sheet is not None
    for row in range(1, 3001):
        sheet.append(["question", "answer"])
        sheet.row_dimensions[row].height = 30
    book.save(kept)
    path = tmp_path / "rows.xlsx"
    path.write_bytes(kept.getvalue())
    records = tables.Workbook(path, None).records()
    for _ in range(100):
        next(records)
    tracemalloc.start()
    assert sum(1 for _ in records) == 2899
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 800_000, "it was 1.5 MB, half a kilobyte a row"


def test_a_workbook_that_would_fill_the_memory_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tables, "WHOLE", 500)
    with pytest.raises(BadFile, match="Save the sheet as 'CSV UTF-8'"):
        Brought(tmp_path, workbook(["question", "answer"], ["a" * 600, "b"])).look()


def test_a_workbook_with_a_fault_in_any_of_its_parts_is_refused_or_read(tmp_path: Path):
    whole, drawn, refused = workbook(["question", "answer"], ["a", "b"]), random.Random(1), 0
    with zipfile.ZipFile(BytesIO(whole)) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    for name, data in content.items():
        for _ in range(3):
            at, kept = drawn.randrange(len(data)), BytesIO()
            with zipfile.ZipFile(kept, "w") as parts:
                for other, same in content.items():
                    parts.writestr(other, data[:at] + b"x<&" + data[at + 2 :] if other == name else same)
            try:
                Brought(tmp_path, kept.getvalue()).look()
            except BadFile:
                refused += 1
    assert refused > len(content) / 2


def test_an_encoding_that_is_not_the_files_is_refused_or_seen_in_the_preview(tmp_path: Path):
    content = "question,answer\nwhere,là\n".encode()
    with pytest.raises(BadFile, match="does not begin as UTF-16"):
        Brought(tmp_path, content, encoding="utf-16").look()
    look = Brought(tmp_path, content, encoding="windows-1252").look()
    assert look.rows[0]["messages"][1]["content"] == "lÃ"


def archive(name: str) -> bytes:
    kept = BytesIO()
    with zipfile.ZipFile(kept, "w") as parts:
        parts.writestr(name, "x")
    return kept.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"\xd0\xcf\x11\xe0rest", "Save it as .xlsx"),
        (b"PAR1rest", "Parquet"),
        (b"\x1f\x8brest", "Unpack it first"),
        (b"\x00\x01\x02", "not text"),
        (archive("a.txt"), "an archive"),
        (archive("xl/workbook.xml"), "cannot be read"),
        (b"PK\x03\x04cut", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_rows_is_refused_with_the_next_step(tmp_path: Path, content: bytes, said: str):
    with pytest.raises(BadFile, match=said):
        Brought(tmp_path, content).look()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manual.pdf", b"%PDF-1.7"), ("manual.docx", archive("word/document.xml")),
        ("Notes.TXT", b"First, a word of thanks.\nThen, the rest.\n"), ("notes.md", b"# Ferries\n\nThey leave at 9.\n"),
    ],
)  # fmt: skip
def test_a_text_to_read_is_refused_by_what_it_is_with_the_next_step(
    tmp_path: Path, name: str, content: bytes
):
    for bring in (Brought(tmp_path, content, name).look, Brought(tmp_path, content, name).read):
        with pytest.raises(BadFile, match="a column of questions and a column of answers") as refusal:
            bring()
        assert refusal.value.code == "document"


def test_a_text_with_tabs_or_json_is_read_whatever_it_is_called(tmp_path: Path):
    assert Brought(tmp_path, b"question\tanswer\na, b\tc\n", "rows.txt").look().columns == [
        "question",
        "answer",
    ]
    assert Brought(tmp_path, b'{"prompt": "a", "completion": "b"}\n', "rows.txt").read().taken == 1


def test_two_columns_of_one_name_and_one_of_none_stay_apart(tmp_path: Path):
    assert Brought(tmp_path, b"a,a,,b\n1,2,3,4\n").look().columns == ["a", "a (2)", "column 3", "b"]


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path):
    with pytest.raises(BadFile, match="'prompt' is to come from 'q', but the columns are a, b"):
        Brought(tmp_path, b"a,b\n1,2\n", mapping={"prompt": "q", "completion": "b"}).read()
