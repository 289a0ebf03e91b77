"""The edge of reading a file that people bring: `python -m service.intake FOLDER`.

A process of its own, because what is read here was made elsewhere: it may take long, and it may be made to harm.
Its memory is bounded, it yields to everybody else, and it ends with whoever started it.
"""

import os
import resource
import sys
from pathlib import Path

from service.contract import folder
from service.contract.imports import ImportError, IntakeSpec
from service.intake import documents
from service.intake.problems import BadFile
from service.intake.reading import preview
from service.intake.sources import Source
from service.intake.splits import part
from service.intake.whole import Import

MEMORY = 2 << 30
"""Bytes of address space, libraries included."""


def main(place: Path) -> int:
    """Do what `job.json` says; `report.json`, written last, means done. A refusal is `error.json` and exit code 1."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    spec = IntakeSpec.model_validate(folder.read_json(place / folder.JOB))
    try:
        if spec.task == "preview":
            made = preview(spec, Source(Path(spec.path), spec.plan, spec.filename))
        elif spec.task == "document":
            os.nice(10)
            made = documents.read(Path(spec.path), spec.filename)
        else:
            os.nice(10)
            made = part(spec, place) if spec.task == "split" else Import(spec, place).run()
    except BadFile as bad:
        error = ImportError(code=bad.code, message=bad.message, problem=bad.problem, line=bad.line)
        return _refuse(place, error)
    except MemoryError:
        said = "The file needs more memory than its reading may take. Split it, or save rows as CSV or JSON lines."
        return _refuse(place, ImportError(code="too_much_memory", message=said))
    folder.write_json(place / folder.REPORT, made.model_dump())
    return 0


def _refuse(place: Path, error: ImportError) -> int:
    folder.write_json(place / folder.ERROR, error.model_dump())
    return 1


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    sys.exit(main(Path(sys.argv[1])))
