"""From feedback to frozen training data, by written rules. Never commits.

- A standing correction makes a preference pair: prompt as it was sent, chosen = the correction,
  rejected = the answer given. A preference between two answers to one prompt makes a pair as well.
- A lone thumb makes a rated completion, never a pair.
- Left out, and counted by reason: answers cut off or not ended, several choices in one answer,
  corrections equal to the answer, second corrections of one answer, repeated pairs, questions
  that stand among the held-out cases, and what reviewers withhold.
- A conversation is wholly in training or wholly held out: decided by a hash of its id.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.assistants import Readiness
from service.contract.chat import Message
from service.contract.datasets import Dataset, Kind
from service.db import tables
from service.domain import assistants, conversations, feedback, files, reviews
from service.domain.identity import new_id, now, pseudonym
from service.domain.keys import Caller
from service.errors import BadInput, NotFound
from service.storage.local import Store

HELD_OUT_SHARE = 5
"""One conversation in so many is held out."""


@dataclass
class Built:
    """What the feedback on an assistant amounts to: rows by split, and what was left out."""

    rows: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """`(split, feedback id, row)`, in the order the feedback came."""
    excluded: Counter[str] = field(default_factory=Counter)
    people: set[str] = field(default_factory=set)

    def split(self, name: str) -> list[dict[str, Any]]:
        return [row for split, _, row in self.rows if split == name]


async def build(session: AsyncSession, assistant: str, kind: Kind, *, cases: set[str]) -> Built:
    """Rows of `kind` from the standing feedback on `assistant`. `cases` are normalised held-out questions."""
    built = Built()
    seen: set[str] = set()
    corrected: set[str] = set()
    withheld = await reviews.withheld(session, assistant)
    for given, completion, other in await _standing(session, assistant):
        row = _row(given, completion, other, kind)
        if row is None:
            continue
        ids = (completion.id, given.id, given.preferred_completion_id or "")
        reason = next((withheld[id_] for id_ in ids if id_ in withheld), None)
        reason = reason or _why_not(given, completion, row, cases, kind)
        if reason is None and kind != "kto" and completion.id in corrected:
            reason = "corrected_twice"
        identity = _digest({key: value for key, value in row.items() if key != "tailorbird"})
        if reason is None and identity in seen:
            reason = "duplicate"
        if reason is not None:
            built.excluded[reason] += 1
            continue
        seen.add(identity)
        corrected.add(completion.id)
        built.people.add(given.user_id)
        built.rows.append((split_of(completion.conversation_id or completion.id), given.id, row))
    return built


def split_of(conversation: str) -> str:
    """`train` or `held_out`, for good: it depends on the id alone."""
    first = hashlib.sha256(f"split:{conversation}".encode()).digest()[0]
    return "held_out" if first % HELD_OUT_SHARE == 0 else "train"


async def freeze(
    session: AsyncSession, store: Store, caller: Caller, assistant: str, kind: Kind
) -> tables.Dataset:
    """A new numbered, hashed version of the data, as two files; the same content gives the same version again."""
    found = await assistants.get_assistant(session, assistant)
    built = await build(session, assistant, kind, cases=await case_questions(session, store, found))
    train, held_out = built.split("train"), built.split("held_out")
    if not train:
        raise BadInput(
            f"There is no usable feedback on '{assistant}' for this yet ({_counted(built.excluded)}). "
            "Correct some answers in the chat, then start again.",
            code="no_data",
        )
    data = {"train": _jsonl(train), "held_out": _jsonl(held_out)}
    sha256 = hashlib.sha256(data["train"] + data["held_out"]).hexdigest()
    same = await session.scalar(
        select(tables.Dataset).where(
            tables.Dataset.assistant == assistant,
            tables.Dataset.kind == kind,
            tables.Dataset.sha256 == sha256,
        )
    )
    if same is not None:
        return same
    return await _keep(session, store, caller, built, data, assistant=assistant, kind=kind, sha256=sha256)


async def readiness(session: AsyncSession, store: Store, name: str, *, needed: int) -> Readiness:
    """What the feedback on one assistant can support today, in figures and one sentence."""
    assistant = await assistants.get_assistant(session, name)
    cases = await case_questions(session, store, assistant)
    pairs = await build(session, name, "dpo", cases=cases)
    rated = await build(session, name, "kto", cases=cases)
    count = len(pairs.rows)
    labels = Counter(bool(row["label"]) for _, _, row in rated.rows)
    talks = {row["tailorbird"]["conversation"] for _, _, row in pairs.rows + rated.rows}
    if count >= needed:
        advice = f"{count} corrected answers are ready. A training round can start."
    else:
        advice = (
            f"{count} of {needed} corrected answers. {needed - count} more make a training round worthwhile."
        )
    return Readiness(
        assistant=name, pairs=count, rated=len(rated.rows), up=labels[True], down=labels[False],
        people=len(pairs.people | rated.people), conversations=len(talks), needed=needed,
        excluded=dict(pairs.excluded), ready=count >= needed, advice=advice,
    )  # fmt: skip


async def get_dataset(session: AsyncSession, dataset_id: str) -> tables.Dataset:
    dataset = await session.get(tables.Dataset, dataset_id)
    if dataset is None:
        raise NotFound(f"No dataset '{dataset_id}'.")
    return dataset


async def list_datasets(session: AsyncSession, assistant: str | None) -> list[tables.Dataset]:
    query = select(tables.Dataset).order_by(tables.Dataset.created_at.desc(), tables.Dataset.number.desc())
    if assistant is not None:
        query = query.where(tables.Dataset.assistant == assistant)
    return list(await session.scalars(query))


def shown(dataset: tables.Dataset) -> Dataset:
    return Dataset.model_validate(dataset)


async def case_questions(session: AsyncSession, store: Store, assistant: tables.Assistant) -> set[str]:
    """The held-out questions of an assistant, normalised: the blocklist of its training data."""
    if assistant.cases_file is None:
        return set()
    file = await files.get_kept(session, assistant.cases_file)
    questions: set[str] = set()
    with open(store.file(file.sha256)) as lines:
        for line in lines:
            if line.strip():
                case = json.loads(line)
                last = case["messages"][-1] if case.get("messages") else {"content": case.get("question")}
                questions.add(_normal(Message(role="user", content=last["content"]).text()))
    return questions


async def _standing(
    session: AsyncSession, assistant: str
) -> list[tuple[tables.Feedback, tables.Completion, tables.Completion | None]]:
    """Feedback in force on an assistant's answers, each with its completion, and the preferred one if any."""
    given = select(tables.Feedback).where(tables.Feedback.assistant == assistant, conversations.may_train())
    rows = list(await session.scalars(given))
    query = select(tables.Completion).where(tables.Completion.assistant == assistant)
    found = {completion.id: completion for completion in await session.scalars(query)}
    return [
        (row, found[row.completion_id], found.get(row.preferred_completion_id or ""))
        for row in feedback.in_force(rows)
    ]


def _row(
    given: tables.Feedback, completion: tables.Completion, other: tables.Completion | None, kind: Kind
) -> dict[str, Any] | None:
    """The row that this feedback makes for `kind`, or none: a thumb makes no pair, a correction no label."""
    origin = {
        "completion_id": completion.id, "feedback_id": given.id, "person": pseudonym(given.user_id),
        "release": completion.release_number, "adapter": completion.adapter, "sampling": completion.sampling,
        "conversation": completion.conversation_id or completion.id,
    }  # fmt: skip
    if given.preference in ("tie", "both_bad"):
        return None  # neither answer is the better one
    answer = {"role": "assistant", "content": completion.output}
    if kind == "kto":
        if given.type != "rating":
            return None
        return {
            "prompt": completion.messages,
            "completion": [answer],
            "label": given.rating == 1,
            "tailorbird": origin,
        }
    if given.preference not in (None, "better"):
        return None
    better = given.correction if given.type == "correction" else other.output if other else None
    if better is None:
        return None
    chosen = {"role": "assistant", "content": better.strip()}
    if kind == "sft":
        return {"messages": [*completion.messages, chosen], "tailorbird": origin}
    return {
        "input": {"messages": completion.messages},
        "preferred_output": [chosen],
        "non_preferred_output": [answer],
        "tailorbird": origin,
    }


def _why_not(
    given: tables.Feedback, completion: tables.Completion, row: dict[str, Any], cases: set[str], kind: Kind
) -> str | None:
    """Why this row must not train, as a code that can be counted; none when it may."""
    if completion.status != "complete":
        return "interrupted"
    if completion.finish_reason == "length" and kind != "sft":
        return "truncated"
    if completion.sampling.get("n", 1) != 1:
        return "several_choices"
    if "tools" in completion.sampling or "response_format" in completion.sampling:
        return "bound_answer"  # what bound it would not stand in the row: another prompt than was served
    if not completion.output.strip():
        return "empty_answer"
    if kind == "dpo" and row["preferred_output"][0]["content"] == completion.output.strip():
        return "unchanged"
    if _normal(Message.model_validate(completion.messages[-1]).text()) in cases:
        return "held_out_case"
    return None


async def _keep(
    session: AsyncSession, store: Store, caller: Caller, built: Built, data: dict[str, bytes], *,
    assistant: str, kind: Kind, sha256: str,
) -> tables.Dataset:  # fmt: skip
    newest = await session.scalar(
        select(func.max(tables.Dataset.number)).where(
            tables.Dataset.assistant == assistant, tables.Dataset.kind == kind
        )
    )
    number = (newest or 0) + 1
    kept: dict[str, tables.File] = {}
    for split, content in data.items():
        if content:
            kept[split] = await files.add_file(
                session, user_id=caller.user_id, filename=f"{assistant}-{kind}-{number}-{split}.jsonl",
                purpose="fine-tune", sha256=store.put_bytes(content), size=len(content), kind=kind,
                rows=content.count(b"\n"),
            )  # fmt: skip
    dataset = tables.Dataset(
        id=new_id("ds_"), assistant=assistant, kind=kind, number=number, sha256=sha256,
        training_file=kept["train"].id, validation_file=kept["held_out"].id if "held_out" in kept else None,
        rows=kept["train"].rows, held_out=kept["held_out"].rows if "held_out" in kept else 0,
        people=len(built.people), excluded=dict(built.excluded), created_at=now(), created_by=caller.user_id,
    )  # fmt: skip
    session.add(dataset)
    await session.flush()
    for split, feedback_id, _ in built.rows:
        session.add(tables.DatasetRow(dataset_id=dataset.id, feedback_id=feedback_id, split=split))
    await session.flush()
    return dataset


def _jsonl(rows: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _counted(excluded: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in excluded.most_common()) or "none was given"
