"""Files as people bring them, and one call that looks into one or reads it in, without a process of its own."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

from service.contract.imports import ImportPlan, ImportReport, IntakeSpec, Preview
from service.intake.reading import preview
from service.intake.sources import Source
from service.intake.whole import Import


def jsonl(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, str) else json.dumps(row)).encode() + b"\n" for row in rows)


def workbook(*rows: list[Any], title: str = "Rows", more: str | None = None) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    if more is not None:
        book.create_sheet(more).append(["question", "answer"])
    kept = io.BytesIO()
    book.save(kept)
    return kept.getvalue()


class Brought:
    """A file in a folder of its own."""

    def __init__(self, place: Path, content: bytes | Path, name: str = "rows", **plan: Any) -> None:
        self.place = place
        self.path = content if isinstance(content, Path) else place / "brought"
        if isinstance(content, bytes):
            self.path.write_bytes(content)
        with open(self.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        cases = plan.pop("cases", [])
        self.spec = IntakeSpec(
            task="import",
            path=str(self.path),
            filename=name,
            sha256=digest,
            plan=ImportPlan(**plan),
            cases=cases,
        )

    def look(self) -> Preview:
        return preview(self.spec, Source(self.path, self.spec.plan, self.spec.filename))

    def read(self) -> ImportReport:
        return Import(self.spec, self.place).run()

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.place / "rows.jsonl").read_bytes().splitlines()]
