"""The rows that train a model, on OpenAI's wire, and the frozen versions that hold them.

Owns the reading of JSONL: every refusal names the line and the field. An extra key `tailorbird`
on a row carries its origin and is never shown to a model. Knows no files on disk and no tokenizer.
"""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from service.contract.base import Strict, Wire, example
from service.contract.chat import Message, text_of
from service.contract.signal import Signal

SplitBy = Literal["conversation", "person"]
"""What is wholly in training or wholly held out: a conversation, or all conversations of a person."""
Kind = Literal["sft", "dpo", "kto"]
MAX_LINE = 4 * 1024 * 1024
"""Bytes of one row, at most."""


class BadRow(ValueError):
    """A row that cannot be used: says which line, which field and how to mend it."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"Line {line}: {problem}")
        self.line, self.problem = line, problem

    def of(self, filename: str) -> str:
        """The same where a reader may have several files."""
        return f"{filename}, line {self.line}: {self.problem}"


class Origin(Strict):
    """Where a row came from; kept with the row from feedback to adapter."""

    completion_id: str
    feedback_id: str
    person: str
    release: int | None
    adapter: str
    sampling: dict[str, Any]
    conversation: str


class DocumentOrigin(Strict):
    """Where a row came from that a person confirmed from a document."""

    document: str
    """Its file's name."""
    sha256: str
    place: str
    """Where in it: headings, page or line."""
    confirmed_by: str
    """A pseudonym."""
    confirmed_at: float
    conversation: str
    """What a split leaves whole: the document."""


class Example(Wire):
    """One row of supervised training: `{"messages": [...]}`, the last one the assistant's."""

    messages: list[Message] = Field(min_length=2)
    tailorbird: Origin | DocumentOrigin | None = None

    @model_validator(mode="after")
    def _teaches_something(self) -> "Example":
        _without_tools(self, self.messages)
        if self.messages[-1].role != "assistant":
            raise ValueError("the last message must be of role 'assistant': it is what the model learns")
        for at, message in enumerate(self.messages, 1):
            learned = (message.model_extra or {}).get("weight") != 0
            if message.role == "assistant" and not message.text().strip() and learned:
                raise ValueError(
                    f"message {at}, of role 'assistant', is empty: the model would learn to say nothing. Write it, or "
                    'give it "weight": 0'
                )
        return self


class Prompt(Wire):
    messages: list[Message] = Field(min_length=1)


class PreferencePair(Wire):
    """One row of DPO: `{"input": {"messages"}, "preferred_output", "non_preferred_output"}`."""

    input: Prompt
    preferred_output: list[Message] = Field(min_length=1, max_length=1)
    non_preferred_output: list[Message] = Field(min_length=1, max_length=1)
    tailorbird: Origin | None = None

    @model_validator(mode="after")
    def _prefers_something(self) -> "PreferencePair":
        answers = [*self.preferred_output, *self.non_preferred_output]
        _without_tools(self.input, [*self.input.messages, *answers])
        if self.input.messages[-1].role != "user":
            raise ValueError("the last message of 'input' must be of role 'user'")
        for name in ("preferred_output", "non_preferred_output"):
            message: Message = getattr(self, name)[0]
            if message.role != "assistant" or not message.text().strip():
                raise ValueError(f"'{name}' needs one message of role 'assistant' with content")
        if self.preferred_output[0].text().strip() == self.non_preferred_output[0].text().strip():
            raise ValueError("'preferred_output' and 'non_preferred_output' are the same")
        return self


class RatedCompletion(Wire):
    """One row of KTO, in TRL's words: `{"prompt": [...], "completion": [...], "label": bool}`."""

    prompt: list[Message] = Field(min_length=1)
    completion: list[Message] = Field(min_length=1, max_length=1)
    label: bool
    """Whether the completion is desirable."""
    tailorbird: Origin | None = None

    @model_validator(mode="after")
    def _rates_something(self) -> "RatedCompletion":
        _without_tools(self, [*self.prompt, *self.completion])
        if self.prompt[-1].role != "user":
            raise ValueError("the last message of 'prompt' must be of role 'user'")
        if self.completion[0].role != "assistant" or not self.completion[0].text().strip():
            raise ValueError("'completion' needs one message of role 'assistant' with content")
        return self


Row = Example | PreferencePair | RatedCompletion


def is_missing(text: str) -> bool:
    """Whether an answer is what a missing value becomes when a table is saved as text: the trainer refuses it."""
    return text.strip().lower() == "nan"


ROW: dict[str, type[Example] | type[PreferencePair] | type[RatedCompletion]] = {
    "sft": Example,
    "dpo": PreferencePair,
    "kto": RatedCompletion,
}


class Dataset(Strict):
    """A frozen, numbered, hashed version of what the feedback on one assistant amounts to."""

    id: str
    assistant: str
    kind: Kind
    number: int
    sha256: str
    """Of the training file's bytes, then the held-out file's."""
    training_file: str
    validation_file: str | None
    rows: int
    held_out: int
    people: int
    excluded: dict[str, int]
    """Rows that were left out, by reason."""
    split_by: SplitBy = "conversation"
    signal: Signal | None = None
    """What was measured when it was frozen; none for what is older than that."""
    created_at: int
    created_by: str


class DatasetCreate(Strict):
    model_config = example(assistant="fanal", kind="sft")

    assistant: str
    kind: Kind = "dpo"
    split_by: SplitBy = "conversation"


def read_rows(lines: Iterable[bytes], kind: str) -> Iterator[Row]:
    """Parse JSONL as rows of `kind`. Raises `BadRow` at the first line that cannot be used."""
    for number, value in read_objects(lines):
        yield check_row(number, value, kind)


def check_row(number: int, value: dict[str, Any], kind: str) -> Row:
    """One parsed line as a row of `kind`. Raises `BadRow`."""
    try:
        return ROW[kind].model_validate(value)
    except ValidationError as error:
        raise BadRow(number, describe(error)) from None


def read_objects(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `(line number, object)` of JSONL, blank lines left out. Raises `BadRow`."""
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise BadRow(number, f"longer than {MAX_LINE // 1024 // 1024} MiB; split the row.")
        if not line.strip():
            continue
        value = _parsed(number, line)
        if not isinstance(value, dict):
            raise BadRow(number, f"a JSON object is needed, this is a {type(value).__name__}.")
        yield number, value


def _parsed(number: int, line: bytes) -> Any:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        value = json.loads(text, parse_constant=partial(_refuse_constant, number))
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except BadRow:
        raise
    except UnicodeDecodeError:
        raise BadRow(number, "not UTF-8; save the file as UTF-8.") from None
    except UnicodeEncodeError:
        raise BadRow(number, "half of a character, a lone surrogate, which no text can hold.") from None
    except json.JSONDecodeError as error:
        raise BadRow(number, f"not valid JSON ({error.msg}, column {error.colno}).") from None
    except ValueError:
        raise BadRow(number, "a number with more digits than can be read.") from None
    except RecursionError:
        raise BadRow(number, "nested too deeply.") from None
    return value


def _refuse_constant(number: int, name: str) -> None:
    raise BadRow(
        number, f"{name} is no value of JSON: a number was missing when the file was made. Remove the row."
    )


def describe(error: ValidationError) -> str:
    """The first problem of a pydantic error in one plain sentence, with the field's path."""
    first = error.errors(include_url=False)[0]
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"'{path}': {message}{more}." if path else f"{message}{more}."


def _without_tools(of: Wire, messages: list[Message]) -> None:
    """Calls of tools are no part of what is trained: the model would learn to announce one, and to stop. Nor is what a
    row says of tools part of its prompt, as it would be of the one that is served."""
    for message in messages:
        if message.role == "tool":
            raise ValueError("messages of role 'tool' cannot be trained on yet; leave those rows out")
        if any((message.model_extra or {}).get(name) for name in ("tool_calls", "function_call")):
            raise ValueError("calls of tools cannot be trained on yet; leave those rows out")
    if any((of.model_extra or {}).get(name) for name in ("tools", "functions")):
        raise ValueError(
            "calls of tools cannot be trained on yet, nor rows with 'tools'; leave those rows out"
        )


def asked_in(lines: Iterable[bytes]) -> Iterator[list[str]]:
    """What a person says before each answer that a file taught, whatever its kind. Its rows were checked when they came
    by the rules of then; one that cannot be read any more says nothing."""
    for line in lines:
        try:
            yield from list(asked_before(json.loads(line)))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue


def asked_before(value: dict[str, Any]) -> Iterator[list[str]]:
    """The same of one row, as plain values."""
    if "messages" not in value:
        yield _of_people(value["input"]["messages"] if "input" in value else value["prompt"])
        return
    for at, message in enumerate(value["messages"]):
        if message.get("role") == "assistant" and message.get("weight") != 0:
            yield _of_people(value["messages"][:at])


def _of_people(messages: list[dict[str, Any]]) -> list[str]:
    return [text_of(one.get("content")) for one in messages if one.get("role") == "user"]
