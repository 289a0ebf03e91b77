"""Why a row or a whole file is refused: a code, the field, the fact and how to mend it. Knows no format."""

from pydantic import ValidationError

from service.contract.datasets import describe
from service.contract.imports import Problem

MENDS = {
    "not_utf8": "Save the file as UTF-8 ('CSV UTF-8' in Excel), or name its encoding.",
    "not_json": "Write one complete JSON object for each row, in double quotes, without a comma after the last value.",
    "not_an_object": "Write the row as a JSON object: {\"prompt\": ..., \"completion\": ...}.",
    "row_too_long": "Split the row.",
    "missing_field": "Add the field, choose another column for it, or leave the row out.",
    "empty_field": "Fill it in, or leave the row out.",
    "error_cell": "Correct the formula in Excel and save the file again, or leave the row out.",
    "wrong_type": "Write text here, or a list of messages with 'role' and 'content'.",
    "bad_role": "Use 'system', 'user' or 'assistant' ('human' and 'gpt' in ShareGPT).",
    "tool_message": "Leave rows with calls of tools out: they cannot be trained on yet.",
    "last_message": "End a conversation with the assistant's answer, and a prompt with the user's question.",
    "same_answers": "Give a pair two different answers, or leave it out.",
    "bad_label": "Write true or false (yes/no, 1/0, up/down, good/bad also do).",
    "uneven_row": "Put text that holds the separator or a line break in double quotes, so that every row has as many "
    "cells as the header.",
    "other_kind": "Bring rows of one kind in each file: supervised, preferences or rated completions.",
    "bad_row": "Correct the field, or leave the row out.",
}  # fmt: skip

FROM_CONTRACT = (
    ("role 'tool'", "tool_message"),
    ("calls of tools", "tool_message"),
    ("of role 'assistant', is empty", "empty_field"),
    ("last message", "last_message"),
    ("are the same", "same_answers"),
    ("needs content", "empty_field"),
    ("with content", "empty_field"),
    ("Field required", "missing_field"),
    ("Input should be 'system'", "bad_role"),
    ("Input should be a valid", "wrong_type"),
    ("List should have", "wrong_type"),
)
"""What the contract's refusals say, and the code of each."""


def document(what: str) -> "BadFile":
    """The refusal of a text to read, which holds no rows."""
    return BadFile(
        "document", f"The file is {what}: a text to read, and no rows to learn from. Bring it as a document "
        "(`/api/documents`): its passages become drafts to confirm. Or bring a table (Excel or CSV) with a column of "
        "questions and a column of answers."
    )  # fmt: skip


class ErrorCell(str):
    """What stands in a cell that Excel could not compute, such as `#N/A`: nothing to learn, where it is used."""


class BadRecord(ValueError):
    """One row that cannot be used."""

    def __init__(
        self, reason: str, problem: str, *, field: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(problem)
        self.reason, self.problem, self.field, self.line = reason, problem, field, line

    def at(self, file: str, line: int) -> Problem:
        return Problem(
            file=file, line=self.line or line, field=self.field, reason=self.reason, problem=self.problem,
            mend=MENDS[self.reason],
        )  # fmt: skip


class BadFile(ValueError):
    """A file that cannot be read at all, or not in this way. The message ends with the next step."""

    def __init__(
        self, code: str, message: str, problem: Problem | None = None, *, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.problem = code, message, problem
        self.line = problem.line if problem is not None else line


def of_contract(error: ValidationError) -> BadRecord:
    """What the contract says of a converted row."""
    first = error.errors(include_url=False)[0]
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".") or None
    text = describe(error)
    reason = next((code for words, code in FROM_CONTRACT if words in text), "bad_row")
    return BadRecord(reason, text, field=field)


def say(problem: Problem) -> str:
    """One refusal as people read it: file, line, field, fact and mend."""
    field = f", field '{problem.field}'" if problem.field else ""
    return f"{problem.file}, line {problem.line}{field}: {problem.problem} {problem.mend}"
