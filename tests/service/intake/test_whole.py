"""Whole imports: real data, planted mistakes, and how much memory a long file takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.contract import folder
from service.contract.imports import STATE, ImportProgress
from service.intake import whole
from service.intake.problems import BadFile
from tests.service.intake.files import Brought, jsonl

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("TAILORBIRD_REAL_DATA", "nowhere"))
real = pytest.mark.skipif(not DATA.is_dir(), reason="TAILORBIRD_REAL_DATA names no folder")


def as_process(brought: Brought) -> dict[str, Any]:
    """Read it in as the service does. Returns the report, or the error."""
    folder.write_json(brought.place / folder.JOB, brought.spec.model_dump())
    command = [sys.executable, "-m", "service.intake", str(brought.place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode in (0, 1), done.stderr) == (True, "")
    return folder.read_json(brought.place / (folder.ERROR if done.returncode else folder.REPORT))


def test_a_file_without_one_good_row_is_refused_with_its_first_mistake(tmp_path: Path):
    rows = jsonl({"prompt": "q", "completion": ""}, {"prompt": "", "completion": "a"})
    with pytest.raises(
        BadFile, match=r"\(2 read\)\. faq.jsonl, line 1, field 'completion': .* is empty\. Fill it in"
    ):
        Brought(tmp_path, rows, "faq.jsonl").read()


def test_an_import_tells_how_far_it_is_and_never_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[ImportProgress] = []
    monkeypatch.setattr(whole, "EVERY", 0.0)
    monkeypatch.setattr(
        folder,
        "write_json",
        lambda path, value: told.append(ImportProgress(**value)) if path.name == STATE else None,
    )
    rows = [{"prompt": f"q{n}", "completion": "a" if n % 10 else ""} for n in range(200)]
    Brought(tmp_path, jsonl(*rows)).read()
    assert [one.share for one in told] == sorted(one.share for one in told)
    assert {one.phase for one in told} == {"reading", "comparing", "writing"}
    assert (told[-1].rows, told[-1].refused) == (200, 20)
    assert told[-1].share > 0.98


def test_the_same_file_makes_the_same_rows_and_the_same_hash_each_time(tmp_path: Path):
    rows = jsonl(*({"prompt": f"q{n}", "completion": f"a{n % 7}"} for n in range(50)))
    sheets = [Brought(tmp_path, rows).read().sheet for _ in range(2)]
    assert sheets[0].sha256 == sheets[1].sha256
    assert sheets[0].model_dump(exclude={"created_at"}) == sheets[1].model_dump(exclude={"created_at"})


@pytest.mark.heavy
@real
def test_real_questions_of_health_are_read_in_without_a_word_of_mapping(tmp_path: Path):
    report = as_process(Brought(tmp_path, DATA / "medquad-niddk-cdc.jsonl", "medquad.jsonl"))
    assert (report["format"], report["kind"], report["refused"]) == ("columns", "sft", {})
    assert report["taken"] == report["read"] > 1400
    sheet = report["sheet"]
    assert sheet["languages"] == {"en": report["taken"]}
    assert sheet["labels"] == {}
    assert sum(sheet["sources"].values()) <= report["taken"]


@pytest.mark.heavy
@real
def test_a_real_classification_shows_its_77_labels_and_its_held_out_half_is_kept_out(tmp_path: Path):
    import csv

    with open(DATA / "banking77-test.csv", newline="") as file:
        held_out = [row["text"] for row in csv.DictReader(file)]
    cases = tmp_path / "cases"
    cases.write_bytes(jsonl(*({"question": text, "reference": "x"} for text in held_out[:500])))
    report = as_process(Brought(tmp_path, DATA / "banking77-train.csv", "banking77.csv", cases=[str(cases)]))
    assert report["read"] == 10_003
    assert len(report["sheet"]["labels"]) == 77
    assert report["cases"] == 500
    trained = {json.loads(line)["messages"][0]["content"] for line in open(tmp_path / "rows.jsonl")}
    assert not trained & set(held_out[:500])
    assert as_process(Brought(tmp_path, DATA / "banking77-test.csv", "t.csv", cases=[str(cases)]))[
        "left_out"
    ]["held_out_case"] >= len(set(held_out[:500]))


@pytest.mark.heavy
def test_bad_rows_among_many_good_ones_are_found_each_with_its_line(tmp_path: Path):
    bad = {17: "{oops", 1_003: '{"prompt": "q"}', 4_999: '{"prompt": "", "completion": "a"}', 5_000: "[]"}
    lines = [bad.get(n) or json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) for n in range(1, 5_001)]
    report = as_process(Brought(tmp_path, "\n".join(lines).encode(), "planted.jsonl"))
    found = {problem["line"]: (problem["reason"], problem["field"]) for problem in report["problems"]}
    assert found == {
        17: ("not_json", None), 1_003: ("missing_field", "completion"), 4_999: ("empty_field", "prompt"),
        5_000: ("not_an_object", None),
    }  # fmt: skip
    assert report["taken"] == 4_996


@pytest.mark.heavy
def test_ten_times_the_rows_take_hardly_more_memory(tmp_path: Path):
    """What is held grows by a byte or two for each row, and by their numbers up to a slice of them."""
    peaks = {}
    for count in (10_000, 100_000):
        path = tmp_path / f"{count}.csv"
        with open(path, "w") as file:
            file.write("question,answer\n")
            for n in range(count):
                answer = f"Turn screw {n} by {n % 360} degrees. " * 12
                file.write(f"How is part {n} of machine {n % 97} mended?,{answer}\n")
        place = tmp_path / f"place{count}"
        place.mkdir()
        report = as_process(Brought(place, path))
        assert report["taken"] == count
        peaks[count] = report["peak_mb"]
    assert (tmp_path / "100000.csv").stat().st_size > 40e6
    assert peaks[100_000] < peaks[10_000] + 40
    assert peaks[100_000] < 200
