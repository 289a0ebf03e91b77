"""Reads the rows a run learns from, and refuses data that must not be trained on.

Owns the check of the files' hashes and the search for what is held out and stands in training all the same: rows
of the validation file, and the assistant's held-out questions.
Knows no tokenizer: a refusal here costs no model load.
"""

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.contract import folder
from service.contract.blocklist import GRAM, Blocklist
from service.contract.chat import Message
from service.contract.datasets import (
    BadRow,
    Example,
    Origin,
    PreferencePair,
    Row,
    asked_before,
    asked_in,
    read_rows,
)
from service.contract.jobs import TrainingSpec
from service.contract.words import Near, words
from training.refusal import Refused

TAKES = 28
"""Bytes of memory that each byte of a training file takes as a row, as tokens and in the trainer's table: 27 to 29 were
measured, on rows of 67 to 123 tokens."""
ENOUGH = 5
"""Held-out rows from which on what most of them say is known as the form of their questions."""


@dataclass(frozen=True)
class NamedRow:
    """A row and the place a person finds it at, such as `train.jsonl line 12`."""

    name: str
    row: Row


@dataclass(frozen=True)
class Rows:
    train: list[NamedRow]
    held_out: list[NamedRow]
    """Empty when the run folder has no `validation.jsonl`."""
    set_aside: int = 0
    """Held-out rows that are not measured on, since training asks the same."""
    cases: int = 0
    """Held-out questions that no row of these asks."""


def read(run: Path, spec: TrainingSpec) -> Rows:
    """Read and check `train.jsonl` and, where it stands, `validation.jsonl`.

    Raises `Refused` with code `file_missing`, `wrong_sha256`, `bad_row`, `no_rows`, `held_out_in_training` or
    `held_out_case`.
    """
    rows = load(run, spec)
    refuse_leaks(rows)
    cases = held_out_cases(run, spec)
    refuse_cases(rows, cases)
    repeats = repeated(rows, learned_before(run, spec))
    held_out = [named for at, named in enumerate(rows.held_out) if at not in repeats]
    return Rows(rows.train, held_out, set_aside=len(repeats), cases=len(cases.questions))


def tell(found: Rows, say: Callable[..., None]) -> None:
    """Say how many held-out rows are set aside."""
    if found.set_aside:
        said = f"{found.set_aside} held-out rows ask what training asks or asked before, in the same words or nearly"
        say(f"{said}: they would measure memory and are set aside.", "set_aside", n=found.set_aside)


def load(run: Path, spec: TrainingSpec, *, held_out: bool = True) -> Rows:
    """The same, not yet looked through for what is held out; without the held-out rows if they are not wanted.

    Raises `Refused` with code `too_much_data` for more than fits into memory, before a row is read.
    """
    path = run / folder.TRAIN
    if not path.is_file():
        raise Refused("file_missing", f"{folder.TRAIN} is not in the run folder. Write it, then start again.")
    _refuse_too_much(path.stat().st_size, free_memory())
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != spec.train_sha256:
        raise Refused(
            "wrong_sha256",
            f"{folder.TRAIN} has the SHA-256 {found}, the job names {spec.train_sha256}: these are not "
            "the rows that were agreed on. Freeze the dataset again and start a new job.",
            "train_sha256",
        )
    train = _parse(content, folder.TRAIN, spec.kind)
    held_path = run / folder.VALIDATION
    apart = held_out and held_path.is_file()
    return Rows(train, _parse(held_path.read_bytes(), folder.VALIDATION, spec.kind) if apart else [])


def free_memory() -> int:
    """Bytes that the kernel would give to a program without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def prompt_messages(row: Row) -> list[Message]:
    """What the model is shown before its (last) answer."""
    if isinstance(row, Example):
        return row.messages[:-1]
    return row.input.messages if isinstance(row, PreferencePair) else row.prompt


def parts(row: Row) -> list[list[Message]]:
    """All messages of a row: its conversation, or its prompt and each answer to it."""
    if isinstance(row, Example):
        return [row.messages]
    if isinstance(row, PreferencePair):
        return [row.input.messages, row.preferred_output, row.non_preferred_output]
    return [row.prompt, row.completion]


def talks(row: Row) -> list[list[Message]]:
    """The conversations that the chat template is given of a row: one to each answer."""
    if isinstance(row, Example):
        return [row.messages]
    answers = (
        [row.preferred_output, row.non_preferred_output]
        if isinstance(row, PreferencePair)
        else [row.completion]
    )
    return [[*prompt_messages(row), *answer] for answer in answers]


def plain(messages: list[Message]) -> list[dict[str, Any]]:
    """Messages as the chat template takes them, role and text only; `developer` is `system`, as it is served."""
    return [
        {"role": "system" if message.role == "developer" else message.role, "content": message.text()}
        for message in messages
    ]


def _refuse_too_much(size: int, free: int) -> None:
    """Rows that do not fit would have the kernel end the run, after minutes and without a word."""
    if size * TAKES > free:
        raise Refused(
            "too_much_data",
            f"{folder.TRAIN} has {size / 1e6:.0f} MB: its rows would take about {size * TAKES / 1e9:.1f} GB of memory, "
            f"and {free / 1e9:.1f} GB are free. Train on a part of it, of {free / TAKES / 1e6:.0f} MB at most, or on a "
            "machine with more memory.",
            folder.TRAIN,
        )


def _parse(content: bytes, name: str, kind: str) -> list[NamedRow]:
    lines = content.splitlines()
    numbers = [number for number, line in enumerate(lines, 1) if line.strip()]
    try:
        rows: list[Row] = list(read_rows(lines, kind))
    except BadRow as error:
        raise Refused("bad_row", f"{name}: {error}", name) from None
    if not rows:
        raise Refused("no_rows", f"{name} holds no rows. Add some, or leave the file out.", name)
    return [NamedRow(f"{name} line {number}", row) for number, row in zip(numbers, rows, strict=True)]


def held_out_cases(run: Path, spec: TrainingSpec) -> Blocklist:
    """The held-out questions, which stand in the run folder if the job names them: else the check would be none."""
    if spec.cases_sha256 is None:
        return Blocklist([])
    path = run / folder.CASES
    if not path.is_file():
        raise Refused(
            "file_missing",
            f"{folder.CASES}, the held-out questions, is not in the run folder. Start the job again.",
            folder.CASES,
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != spec.cases_sha256:
        raise Refused(
            "wrong_sha256",
            f"{folder.CASES} holds other questions than the job names. Start the job again.",
            "cases_sha256",
        )
    try:
        return Blocklist.read(content.splitlines())
    except (BadRow, ValidationError) as error:
        raise Refused("bad_row", f"{folder.CASES} cannot be read: {error}", folder.CASES) from None


def refuse_cases(rows: Rows, cases: Blocklist) -> None:
    """A held-out question that is learned from can no longer tell whether anything was learned."""
    for named in rows.train:
        asked = (message.text() for message in prompt_messages(named.row) if message.role == "user")
        if (found := cases.asked(asked)) is not None:
            raise Refused(
                "held_out_case",
                f"{named.name} asks what the held-out question '{found.name}' asks, by which releases are measured. "
                "Remove the row, or the question from the assistant's held-out ones.",
                folder.TRAIN,
            )


def refuse_leaks(rows: Rows) -> None:
    """A held-out row that is also learned from would measure memory, not skill."""
    trained = {_content(named.row): named for named in rows.train}
    conversations = {
        named.row.tailorbird.conversation: named.name
        for named in rows.train
        if named.row.tailorbird is not None
    }
    for held in rows.held_out:
        same = trained.get(_content(held.row))
        twin = same.name if same is not None and not _both_of_feedback(same.row, held.row) else None
        if twin is None and held.row.tailorbird is not None:
            twin = conversations.get(held.row.tailorbird.conversation)
        if twin is not None:
            raise Refused(
                "held_out_in_training",
                f"{held.name} is held out but stands in training too, as {twin} (same text or same "
                "conversation). Remove it from one of the two files.",
                folder.VALIDATION,
            )


def learned_before(run: Path, spec: TrainingSpec) -> Iterator[list[str]]:
    """What was asked before each answer that the start adapter, or one before it, was taught."""
    for number in range(len(spec.learned)):
        path = run / folder.LEARNED.format(number=number)
        if not path.is_file():
            said = (
                f"{path.name} is not in the run folder. Write it, or name no files that were learned before."
            )
            raise Refused("file_missing", said)
        with open(path, "rb") as lines:
            yield from asked_in(lines)


def repeated(rows: Rows, before: Iterable[list[str]] = ()) -> set[int]:
    """Places of the held-out rows that ask what a training row asks, in the same words or nearly, whatever is answered;
    or what was asked `before`.

    Words of more than half of the held-out questions are the form that all are asked in, and say nothing.
    """
    held = [_asked(named.row) for named in rows.held_out]
    often = Counter(word for asked in held for word in set(asked))
    form = {word for word, n in often.items() if 2 * n > len(held)} if len(held) >= ENOUGH else set[str]()
    same: dict[str, list[int]] = defaultdict(list)
    for at, asked in enumerate(held):
        same[" ".join(asked)].append(at)
    near = Near(set(asked) - form if len(asked) >= GRAM else set() for asked in held)
    found: set[int] = set()
    # A held-out conversation may be the beginning of a longer one: it is held against what precedes each answer.
    trained = (asked for named in rows.train for asked in asked_before(named.row.model_dump()))
    for asked in map(_told, itertools.chain(trained, before)) if held else ():
        found.update(same.get(" ".join(asked), ()))
        if len(asked) >= GRAM:
            found.update(near.find(set(asked) - form))
    return found


def _asked(row: Row) -> list[str]:
    """All that a person says before the answer; without a word, the text as it is."""
    return _told([message.text() for message in prompt_messages(row) if message.role == "user"])


def _told(texts: list[str]) -> list[str]:
    text = "\n".join(texts)
    return words(text) or [text]


def _both_of_feedback(one: Row, other: Row) -> bool:
    """Two people asked the same and got the same: nobody can mend a round's files, and `repeated` sets it aside."""
    return isinstance(one.tailorbird, Origin) and isinstance(other.tailorbird, Origin)


def _content(row: Row) -> str:
    """What a row says, without its origin: equal for two rows on the same. A label is not part of it."""
    texts = [[(message.role, message.text().strip()) for message in part] for part in parts(row)]
    return json.dumps(texts, ensure_ascii=False)
