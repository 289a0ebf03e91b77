"""The lines of a batch's input: checked all before one is asked, and read again for asking.

Owns what makes a line good, and the ids of lines. Knows no database.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.contract.batches import ENDPOINTS, AnsweredLine, BatchError, Line, LineError
from service.contract.datasets import BadRow, describe, read_objects
from service.contract.sampling import Sampling
from service.domain import sampling
from service.errors import TailorbirdError

MAX_ERRORS = 100
"""Problems that are told of one input file."""
NEVER_ASKED: dict[str, LineError] = {
    "expired": LineError(
        code="batch_expired", message="The day of the batch was over before this request could be asked."
    ),
    "cancelled": LineError(
        code="batch_cancelled", message="The batch was cancelled before this request was answered."
    ),
    "failed": LineError(
        code="batch_failed", message="The batch was given up before this request was answered."
    ),
}


@dataclass
class Checked:
    """What the reading of an input file found."""

    total: int = 0
    models: dict[str, list[int]] = field(default_factory=dict)
    """Which lines ask which model."""
    errors: list[BatchError] = field(default_factory=list)


def check(path: Path, endpoint: str) -> Checked:
    """Read every line. Blocking: call it in a thread."""
    found, seen = Checked(), set[str]()
    with open(path, "rb") as lines:
        try:
            for number, value in read_objects(lines):
                found.total += 1
                error = _check_line(value, endpoint, seen, found.models, number)
                if error is not None and len(found.errors) < MAX_ERRORS:
                    found.errors.append(error)
        except BadRow as error:
            found.errors.append(BatchError(code="invalid_json_line", message=str(error), line=error.line))
    return found


def read_lines(path: Path, done: set[str]) -> Iterator[Line]:
    """The lines of a checked file that are not done yet."""
    with open(path, "rb") as lines:
        for _, value in read_objects(lines):
            if value["custom_id"] not in done:
                yield Line.model_validate(value)


def line_id(batch_id: str, custom_id: str) -> str:
    """The same for a line whenever it is asked."""
    return "batch_req_" + hashlib.sha256(f"{batch_id}\0{custom_id}".encode()).hexdigest()[:24]


def never_asked(path: Path, batch_id: str, done: set[str], end: str) -> Iterator[AnsweredLine]:
    """What the error file says of each line that the batch's end came before."""
    for line in read_lines(path, done):
        yield AnsweredLine(
            id=line_id(batch_id, line.custom_id), custom_id=line.custom_id, response=None,
            error=NEVER_ASKED[end],
        )  # fmt: skip


def _check_line(
    value: dict[str, Any], endpoint: str, seen: set[str], models: dict[str, list[int]], number: int
) -> BatchError | None:
    """What is wrong with one line, if anything; else its id and its model are noted."""
    try:
        line = Line.model_validate(value)
    except ValidationError as error:
        return BatchError(code="invalid_request", message=f"Line {number}: {describe(error)}", line=number)

    def wrong(code: str, message: str, param: str) -> BatchError:
        return BatchError(code=code, message=f"Line {number}: {message}", param=param, line=number)

    if line.custom_id in seen:
        return wrong("duplicate_custom_id", f"'{line.custom_id}' names an earlier line already.", "custom_id")
    seen.add(line.custom_id)
    if line.url != endpoint:
        return wrong("mismatched_url", f"'url' must be the batch's endpoint, '{endpoint}'.", "url")
    try:
        body = ENDPOINTS[endpoint].model_validate(line.body)
        if isinstance(body, Sampling):
            sampling.check(body)
    except ValidationError as error:
        return wrong("invalid_request", describe(error), "body")
    except TailorbirdError as error:
        return wrong(error.code or "invalid_request", error.message, f"body.{error.param}")
    if line.body.get("stream"):
        return wrong(
            "invalid_request", "A batch's answers are not streamed. Leave 'stream' out.", "body.stream"
        )
    models.setdefault(str(line.body["model"]), []).append(number)
    return None
