"""Held-out cases: reading them, checking them, naming the nameless.

Owns how a file of cases is read for measuring. Knows no metric and no gateway.
"""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from evals.refusal import Refused
from service.contract.evaluations import Case


def read_cases(path: Path, sha256: str) -> list[Case]:
    """Read every case of `path`, in order, each with an id.

    Raises `Refused` when the file is not the one that was planned (`sha256`, of its bytes), is empty,
    or holds a row that is no case or is there twice: a doubled row would narrow every interval.
    """
    if not path.exists():
        raise Refused(
            "no_cases", f"There is no '{path.name}' in the run folder. Put the cases there.", path.name
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise Refused(
            "cases_changed",
            f"The cases are not the ones that were planned: their SHA-256 is {found[:12]}…, planned was "
            f"{sha256[:12]}…. Start a new evaluation on the cases as they are now.",
            path.name,
        )
    cases = [
        _case(number, line)
        for number, line in enumerate(content.decode("utf-8-sig", "replace").split("\n"), start=1)
        if line.strip()
    ]
    if not cases:
        raise Refused("no_cases", "The file of cases is empty. Add at least one question.", path.name)
    _refuse_doubles(cases)
    return cases


def question_of(case: Case) -> str:
    """What the user asks, as plain text: the last message of a conversation."""
    return case.messages[-1].text() if case.messages else case.question or ""


def has_reference(case: Case) -> bool:
    return bool((case.reference or "").strip())


def _case(number: int, line: str) -> Case:
    try:
        case = Case.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Refused(
            "invalid_case",
            f"Line {number} of the cases is not a case: {place + ': ' if place else ''}{first['msg']}. "
            "Correct the line and start again.",
            f"line {number}",
        ) from error
    if (why := case.unfit()) is not None:
        raise Refused("invalid_case", f"Line {number} of the cases: {why}", f"line {number}")
    return case.model_copy(update={"id": case.name()})


def _refuse_doubles(cases: list[Case]) -> None:
    seen: dict[str, int] = {}
    for number, case in enumerate(cases, start=1):
        first = seen.setdefault(str(case.id), number)
        if first != number:
            raise Refused(
                "doubled_case",
                f"Cases {first} and {number} are the same ('{case.id}'). Remove one, or give it its own id.",
                str(case.id),
            )
