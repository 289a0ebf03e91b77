"""The rules by which feedback becomes rows that train, and the reasons why some of it does not.

- A correction, and a preference for one of two answers to one prompt, makes a preference pair (`dpo`) and an
  example of the better answer (`sft`), with earlier answers to be read and not learned from. A thumb makes a rated
  completion (`kto`), never a pair.
- A tie trains nothing, nor does it when both answers are bad; they count where agreement is measured.
- Left out for what it is, see `Fault`: what was broken off, cut off, bound to a form, or asks a held-out question.
- Left out because people keep it from training, see `Withheld`.
- Left out for what else was said, see `verdicts`: where two answers were preferred both ways, or one answer was rated
  both ways, none of it trains (`conflicting`), nor is an answer an example to which another was preferred; of rows
  that say the same, the first one trains (`duplicate`).

Pure functions over what was said. Knows no database; one person's share is capped where rows are read.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from service.contract.blocklist import Blocklist
from service.contract.chat import Message, text_of
from service.contract.datasets import Kind, is_missing
from service.domain.identity import pseudonym

Fault = Literal[
    "erased", "interrupted", "truncated", "several_choices", "bound_answer", "empty_answer", "missing_value",
    "no_question", "different_prompts", "tie", "both_bad", "unchanged", "held_out_case",
]  # fmt: skip
Withheld = Literal["golden", "personal_data", "rejected", "disputed", "replaced", "kept_private"]
"""Why people keep an answer from training: reviewers by their verdicts, its owner by a choice."""
KEPT = "kept"
"""The verdict on rows that train."""
UNDECIDED = ("tie", "both_bad")
STEP = 1.06
"""Factor between two steps on the scale of lengths."""


@dataclass(frozen=True, slots=True)
class Said:
    """One piece of feedback."""

    feedback_id: str
    user_id: str
    type: str
    rating: int | None
    correction: str | None
    preference: str | None
    left_id: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the rules need of a completion."""

    id: str
    owner: str
    conversation: str | None
    messages: list[dict[str, Any]]
    output: str
    status: str
    finish_reason: str | None
    sampling: dict[str, Any]
    adapter: str
    release: int | None


class Piece(NamedTuple):
    """What one piece of feedback says of one subject: the columns of `material`, but for the assistant."""

    feedback_id: str
    kind: str
    side: int
    user_id: str
    owner: str
    conversation: str
    at: float
    subject: str | None
    voice: str | None
    fault: str | None
    draw: int
    ratio: int | None
    adapters: str
    left: bool | None
    topic: str | None = None

    @property
    def row(self) -> bool:
        """Whether it could train: not so one that only speaks against an example, and none with a fault."""
        return self.fault is None and (self.kind != "sft" or self.side == 1)


def pieces(
    said: Said, answer: Answer, other: Answer | None, blocklist: Blocklist, withheld: Withheld | None = None
) -> list[Piece]:
    """What feedback that stands makes of an answer; `other` is the one that was preferred to it or held beside it."""
    fault: Fault | Withheld | None = withheld
    if fault is None and blocklist.asked(_questions(answer.messages)) is not None:
        fault = "held_out_case"
    if said.type == "rating":
        return [_rated(said, answer, withheld or _of_answer(answer) or fault)]
    if said.type == "preference" and other is None:
        fault = "erased"
    pair = _pair(said, answer, other, withheld or _of_pair(said, answer, other, cut_off_counts=True) or fault)
    shown = withheld or _of_pair(said, answer, other, cut_off_counts=False) or fault
    return [pair, *_example(said, answer, other, shown)]


def verdicts(kind: str, up: int, down: int) -> dict[str, int]:
    """How many of a subject's rows train (`kept`) and how many do not, for so many words on either side of it."""
    rows = up if kind == "sft" else up + down
    if rows == 0:
        return {}
    if up and down:
        return {"conflicting": rows}
    return {KEPT: 1, "duplicate": rows - 1} if rows > 1 else {KEPT: 1}


def row_of(kind: Kind, said: Said, answer: Answer, other: Answer | None) -> dict[str, Any]:
    """The row itself, as it is written for training."""
    origin = {
        "completion_id": answer.id, "feedback_id": said.feedback_id, "person": pseudonym(said.user_id),
        "release": answer.release, "adapter": answer.adapter, "sampling": answer.sampling,
        "conversation": _conversation(answer),
    }  # fmt: skip
    given = {"role": "assistant", "content": answer.output}
    if kind == "kto":
        label = said.rating == 1
        return {"prompt": answer.messages, "completion": [given], "label": label, "tailorbird": origin}
    better = {"role": "assistant", "content": _better(said, other)}
    if kind == "sft":
        return {"messages": [*map(_unlearned, answer.messages), better], "tailorbird": origin}
    return {
        "input": {"messages": answer.messages},
        "preferred_output": [better],
        "non_preferred_output": [given],
        "tailorbird": origin,
    }


def draw_of(feedback_id: str) -> int:
    """A number in [0, 2^63) from the id alone: rows of one person are kept in its order."""
    return int.from_bytes(hashlib.sha256(f"draw:{feedback_id}".encode()).digest()[:8]) >> 1


def ratio_of(step: float) -> float:
    """The ratio of lengths at a step of the scale."""
    return STEP**step


def _rated(said: Said, answer: Answer, fault: Fault | Withheld | None) -> Piece:
    subject = _digest("rated", _prompt(answer.messages), answer.output.strip())
    return _piece(said, answer, "kto", 1 if said.rating == 1 else -1, subject, fault)


def _pair(said: Said, answer: Answer, other: Answer | None, fault: Fault | Withheld | None) -> Piece:
    better, worse = _better(said, other), answer.output.strip()
    if fault is None and better == worse:
        fault = "unchanged"
    subject = _digest("pair", _prompt(answer.messages), *sorted((better, worse)))
    side = 0 if fault in UNDECIDED else 1 if better < worse else -1
    piece = _piece(said, answer, "dpo", side, subject, fault)
    adapters = {answer.adapter, other.adapter} if other is not None else {answer.adapter}
    piece = piece._replace(adapters=" ".join(sorted(adapters)))
    if fault is not None:
        return piece
    return piece._replace(
        ratio=round(math.log(len(better) / len(worse), STEP)),
        left=said.left_id != answer.id if said.left_id else None,
    )


def _example(
    said: Said, answer: Answer, other: Answer | None, fault: Fault | Withheld | None
) -> Iterable[Piece]:
    """The better answer as an example, and a word against the worse one as an example."""
    better, worse, prompt = _better(said, other), answer.output.strip(), _prompt(answer.messages)
    yield _piece(said, answer, "sft", 1, _digest("example", prompt, better), fault)
    if fault is None and better != worse:
        yield _piece(said, answer, "sft", -1, _digest("example", prompt, worse), None)


def _piece(
    said: Said, answer: Answer, kind: Kind, side: int, subject: str, fault: Fault | Withheld | None
) -> Piece:
    counts = fault is None or (kind == "dpo" and fault in UNDECIDED)
    return Piece(
        feedback_id=said.feedback_id, kind=kind, side=side, user_id=said.user_id, owner=answer.owner,
        conversation=_conversation(answer), at=said.at,
        subject=subject if counts else None, fault=fault,
        voice=_digest(kind, subject, said.user_id) if counts else None,
        draw=draw_of(said.feedback_id), ratio=None, adapters=answer.adapter, left=None,
    )  # fmt: skip


def _unlearned(message: dict[str, Any]) -> dict[str, Any]:
    """An earlier message as it is read and not learned from: nobody said that an earlier answer was good."""
    return message | {"weight": 0} if message["role"] == "assistant" else message


def _better(said: Said, other: Answer | None) -> str:
    return (said.correction or "" if other is None else other.output).strip()


def _of_pair(said: Said, answer: Answer, other: Answer | None, *, cut_off_counts: bool) -> Fault | None:
    """An example of the better answer may come from an answer that was cut off: that one is not shown."""
    fault = _of_answer(answer, cut_off_counts=cut_off_counts)
    if fault is None and other is not None:
        fault = _of_answer(other)
        if fault is None and _prompt(other.messages) != _prompt(answer.messages):
            fault = "different_prompts"
    if fault is None and said.preference in UNDECIDED:
        fault = "tie" if said.preference == "tie" else "both_bad"
    if fault is None and said.type == "correction":
        better = _better(said, other)
        return "empty_answer" if not better else "missing_value" if is_missing(better) else None
    return fault


def _of_answer(answer: Answer, *, cut_off_counts: bool = True) -> Fault | None:
    if not answer.messages:
        return "erased"
    if answer.status != "complete":
        return "interrupted"
    if answer.finish_reason == "length" and cut_off_counts:
        return "truncated"
    if answer.sampling.get("n", 1) != 1:
        return "several_choices"
    bound = "tools" in answer.sampling or "response_format" in answer.sampling
    called = ("tool_calls", "function_call")
    if bound or any(one["role"] == "tool" or any(map(one.get, called)) for one in answer.messages):
        return "bound_answer"  # what bound it would not stand in the row: another prompt than was served
    if not answer.output.strip():
        return "empty_answer"
    if cut_off_counts and is_missing(answer.output):
        return "missing_value"
    return None if answer.messages[-1]["role"] == "user" else "no_question"


def _conversation(answer: Answer) -> str:
    """What its rows stay together by: the conversation, or, where a caller keeps its own, the first question."""
    if answer.conversation is not None:
        return answer.conversation
    first = next((at for at, one in enumerate(answer.messages, 1) if one["role"] == "user"), None)
    return "q_" + _digest("beginning", _prompt(answer.messages[:first]))


def _questions(messages: list[dict[str, Any]]) -> Iterable[str]:
    for message in messages:
        if message["role"] == "user":
            content = message["content"]
            yield content if isinstance(content, str) else Message.model_validate(message).text()


def _prompt(messages: Iterable[dict[str, Any]]) -> str:
    """What is said to the model, as the trainer sees it: text or parts of it, with white space around it or without, by
    a named person or not, is the same."""
    said = [{"role": one["role"], "content": text_of(one.get("content")).strip()} for one in messages]
    return json.dumps(said, sort_keys=True, ensure_ascii=False)


def _digest(*parts: str) -> str:
    """96 bits, in hexadecimal."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]
