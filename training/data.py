"""Turns rows into token ids and says which tokens carry loss.

The law of this module: the prompt that is trained is, token for token, the prompt that is served. Prompt
ids are what the chat template gives with its generation prompt, as the engine renders them; the answer's
ids follow it in the template's own rendering, up to and including the token the engine stops at. Every
assistant message carries loss unless it has `"weight": 0`, as at OpenAI. Owns the refusal of rows that
break the law. Knows no model.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import TemplateError

from service.contract.chat import Message
from service.contract.datasets import Example, PreferencePair, RatedCompletion
from service.contract.jobs import TrainingKind
from training.refusal import Refused
from training.rows import NamedRow, plain, prompt_messages

IGNORED = -100
"""The label of a token without loss, PyTorch's convention."""


@dataclass(frozen=True)
class Chat:
    """A tokenizer with its chat template, and the tokens the engine stops at."""

    tokenizer: Any
    stops: frozenset[int]

    @cached_property
    def ends(self) -> list[str]:
        """What the stop tokens are as text."""
        return [self.tokenizer.decode([token]) for token in self.stops]

    def ids(self, messages: list[Message], *, answer_next: bool = False, name: str = "") -> list[int]:
        """Token ids of a conversation as the template renders it, the generation prompt if asked for.

        Raises `Refused` with code `template_refuses` where a template takes no such conversation.
        """
        try:
            rendered = self.tokenizer.apply_chat_template(
                plain(messages), add_generation_prompt=answer_next, tokenize=True, return_dict=True
            )
        except TemplateError as error:
            raise Refused(
                "template_refuses",
                f"{name or 'A conversation'}: the base model's chat template refuses it ({error}). Change the row as "
                "it asks for, or leave it out.",
                name or None,
            ) from None
        return list(rendered["input_ids"])

    def answer(self, name: str, prompt: list[Message], answer: Message) -> tuple[list[int], list[int]]:
        """`(prompt ids, completion ids)`; the completion ends with a stop token and holds no other.

        Raises `Refused` with code `template_refuses`, `not_a_prefix`, `no_end_of_turn` or `end_of_turn_inside`.
        """
        before = self.ids(prompt, answer_next=True, name=name)
        whole = self.ids([*prompt, answer], name=name)
        if whole[: len(before)] != before:
            raise Refused(
                "not_a_prefix",
                f"{name}: the prompt that would be trained is not the prompt that would be served: the "
                "chat template renders it differently when an answer follows. Remove white space at the "
                "start of the answer; if it has none, this model's chat template cannot be trained.",
                name,
            )
        rest = whole[len(before) :]
        ends = [at for at, token in enumerate(rest) if token in self.stops]
        if not ends:
            raise Refused(
                "no_end_of_turn",
                f"{name}: the chat template does not end an answer with a token the engine stops at, so the "
                "model would never learn to stop. Use a base model whose template does.",
                name,
            )
        if len(ends) > 1:
            raise Refused(
                "end_of_turn_inside",
                f"{name}: the answer's text holds the end-of-turn token itself. Remove it from the text.",
                name,
            )
        return before, rest[: ends[0] + 1]


@dataclass(frozen=True)
class ExampleTokens:
    """One row of supervised training: `labels` repeats `input_ids` where there is loss, else `IGNORED`."""

    name: str
    input_ids: list[int]
    labels: list[int]

    @property
    def length(self) -> int:
        return len(self.input_ids)

    @property
    def read(self) -> int:
        return self.length

    @property
    def learned(self) -> int:
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True)
class PairTokens:
    """One preference pair: a prompt and two completions, each ending with a stop token."""

    name: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))

    @property
    def read(self) -> int:
        """The prompt is read with each of the two completions."""
        return 2 * len(self.prompt_ids) + self.learned

    @property
    def learned(self) -> int:
        return len(self.chosen_ids) + len(self.rejected_ids)


@dataclass(frozen=True)
class RatedTokens:
    """One rated completion: a prompt and a completion that ends with a stop token."""

    name: str
    prompt_ids: list[int]
    completion_ids: list[int]
    label: bool

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def read(self) -> int:
        return self.length

    @property
    def learned(self) -> int:
        return len(self.completion_ids)


def check_template(chat: Chat) -> None:
    """Refuse a chat template that loses what is said or who says it. Code `wrong_template`."""
    said = ["How are you?", "Very well.", "And tomorrow?"]
    talk = [
        Message(role="user", content=said[0]),
        Message(role="assistant", content=said[1]),
        Message(role="user", content=said[2]),
    ]
    text = chat.tokenizer.decode(chat.ids(talk))
    places = [text.find(each) for each in said]
    if -1 in places or places != sorted(places):
        raise wrong_template("leaves out or reorders what is said")
    if text[places[0] + len(said[0]) : places[1]] == text[places[1] + len(said[1]) : places[2]]:
        raise wrong_template("renders a person and the assistant alike")
    if chat.ids(talk, answer_next=True) == chat.ids(talk):
        raise wrong_template("does not ask for an answer, so the model would go on with the question")


def wrong_template(what: str) -> Refused:
    return Refused(
        "wrong_template",
        f"The base model's chat template {what}. Use a base model whose template renders whole conversations.",
        "base_model",
    )


def examples(chat: Chat, rows: list[NamedRow], max_length: int) -> list[ExampleTokens]:
    """Token ids and labels of each row. Raises `Refused`, naming the row."""
    tokens = []
    for named in rows:
        assert isinstance(named.row, Example)
        tokens.append(_example(chat, named.name, named.row.messages))
        _refuse_too_long(tokens[-1], max_length)
    return tokens


def pairs(chat: Chat, rows: list[NamedRow], max_length: int) -> list[PairTokens]:
    """Token ids of each preference pair. Raises `Refused`, naming the row."""
    tokens = []
    for named in rows:
        row = named.row
        assert isinstance(row, PreferencePair)
        prompt, chosen = chat.answer(named.name, row.input.messages, row.preferred_output[0])
        _, rejected = chat.answer(named.name, row.input.messages, row.non_preferred_output[0])
        tokens.append(PairTokens(named.name, prompt, chosen, rejected))
        _refuse_too_long(tokens[-1], max_length)
    return tokens


def rated(chat: Chat, rows: list[NamedRow], max_length: int) -> list[RatedTokens]:
    """Token ids of each rated completion. Raises `Refused`, naming the row."""
    tokens = []
    for named in rows:
        row = named.row
        assert isinstance(row, RatedCompletion)
        tokens.append(
            RatedTokens(named.name, *chat.answer(named.name, row.prompt, row.completion[0]), row.label)
        )
        _refuse_too_long(tokens[-1], max_length)
    return tokens


MAKE: dict[TrainingKind, Callable[[Chat, list[NamedRow], int], Any]] = {
    "sft": examples, "dpo": pairs, "kto": rated,
}  # fmt: skip
"""What turns the rows of each method into tokens."""


def in_turn(rows: list[RatedTokens], seed: int) -> list[RatedTokens]:
    """Rated completions in a drawn order, each label spread evenly: they are learned from in this order.

    Raises `Refused` with code `one_label` when all rows carry the same.
    """
    drawn = random.Random(seed)
    placed: list[tuple[float, RatedTokens]] = []
    for label in (True, False):
        of_label = [row for row in rows if row.label is label]
        if not of_label:
            missing = "desirable" if label else "undesirable"
            raise Refused(
                "one_label",
                f'No row is {missing}: every "label" is {str(not label).lower()}. KTO learns from the '
                f"difference. Add rows with the other label.",
                "train.jsonl",
            )
        drawn.shuffle(of_label)
        placed += [((at + 0.5) / len(of_label), row) for at, row in enumerate(of_label)]
    return [row for _, row in sorted(placed, key=lambda one: one[0])]


def mismatched(rows: list[RatedTokens], pool: list[RatedTokens], max_length: int) -> list[list[int]]:
    """For each row the completion of another row, on another prompt: what KTO's KL estimate is made of.

    `pool` begins with `rows`; the nearest fitting row before each is taken, round the end. Raises `Refused`
    with code `no_mismatch`, naming the row.
    """
    return [_mismatched(row, _before(pool, at), max_length) for at, row in enumerate(rows)]


def unmatched(rows: list[RatedTokens], pool: list[RatedTokens], max_length: int) -> set[str]:
    """Names of the rows for which there is no such completion."""
    alone: set[str] = set()
    for at, row in enumerate(rows):
        try:
            _mismatched(row, _before(pool, at), max_length)
        except Refused:
            alone.add(row.name)
    return alone


def last_answer(chat: Chat, named: NamedRow) -> tuple[list[int], list[int]]:
    """`(prompt ids, completion ids)` of a row's last answer; of a pair, the preferred one."""
    row = named.row
    if isinstance(row, Example):
        answer = row.messages[-1]
    else:
        answer = (row.preferred_output if isinstance(row, PreferencePair) else row.completion)[0]
    return chat.answer(named.name, prompt_messages(row), answer)


def facts(chat: Chat, tokens: list[ExampleTokens] | list[PairTokens] | list[RatedTokens], kind: str) -> str:
    """One sentence on what will be learned, having checked that it can be: for people, before step 1."""
    for row in tokens:
        ends = _ends(row)
        if not ends or not all(end in chat.stops for end in ends):
            raise Refused("no_end_of_turn", f"{row.name}: the end of the answer carries no loss.", row.name)
    sizes = figures(tokens)
    longest = max(tokens, key=lambda row: row.length)
    return (
        f"{sizes['n']} {kind}: {sizes['tokens']} tokens, of which {sizes['learned']} carry loss, the end of "
        f"every answer among them. The longest is {longest.name} with {longest.length} tokens."
    )


def figures(tokens: list[ExampleTokens] | list[PairTokens] | list[RatedTokens]) -> dict[str, int]:
    """How many rows there are, their tokens, and those that carry loss."""
    return {
        "n": len(tokens),
        "tokens": sum(row.read for row in tokens),
        "learned": sum(row.learned for row in tokens),
    }


def _ends(row: ExampleTokens | PairTokens | RatedTokens) -> list[int]:
    """The last token that carries loss, of each of a row's answers."""
    if isinstance(row, PairTokens):
        return [row.chosen_ids[-1], row.rejected_ids[-1]]
    if isinstance(row, RatedTokens):
        return [row.completion_ids[-1]]
    return [label for label in row.labels if label != IGNORED][-1:]


def _before(pool: list[RatedTokens], at: int) -> Iterator[RatedTokens]:
    return (pool[at - back] for back in range(1, len(pool)))


def _mismatched(row: RatedTokens, others: Iterable[RatedTokens], max_length: int) -> list[int]:
    for other in others:
        fits = len(row.prompt_ids) + len(other.completion_ids) <= max_length
        if fits and other.prompt_ids != row.prompt_ids and other.completion_ids != row.completion_ids:
            return other.completion_ids
    raise Refused(
        "no_mismatch",
        f"{row.name}: KTO holds each prompt against an answer to another prompt, and no row has another answer "
        f"to another prompt that fits behind this prompt in {max_length} tokens. Add rows on other prompts, or "
        "shorten this one.",
        row.name,
    )


def _example(chat: Chat, name: str, messages: list[Message]) -> ExampleTokens:
    """Label every assistant message of weight 1, each located by rendering the conversation up to it."""
    whole = chat.ids(messages, name=name)
    labels = [IGNORED] * len(whole)
    end = 0
    for at, message in enumerate(messages):
        if message.role != "assistant" or _weight(name, message) == 0:
            continue
        prompt, completion = chat.answer(name, messages[:at], message)
        start, end = len(prompt), len(prompt) + len(completion)
        if whole[:end] != prompt + completion:
            raise Refused(
                "not_a_prefix",
                f"{name}: the chat template renders message {at + 1} differently when later messages follow, "
                'so it cannot be trained as it was served. Give it "weight": 0, or split the conversation.',
                name,
            )
        labels[start:end] = whole[start:end]
    if end == 0:
        raise Refused(
            "nothing_to_learn",
            f'{name}: every message of role assistant has "weight": 0. Give one weight 1, or drop the row.',
            name,
        )
    return ExampleTokens(name, whole[:end], labels[:end])


def _weight(name: str, message: Message) -> int:
    weight = (message.model_extra or {}).get("weight")
    if weight not in (None, 0, 1):
        raise Refused("bad_row", f"{name}: 'weight' is {weight!r}; it must be 0 or 1.", name)
    return 1 if weight is None else int(weight)


def _refuse_too_long(row: ExampleTokens | PairTokens | RatedTokens, max_length: int) -> None:
    if row.length > max_length:
        raise Refused(
            "row_too_long",
            f"{row.name} is {row.length} tokens long, the limit is {max_length}. Shorten the row, split it in "
            "two, or leave it out. Rows are never cut.",
            row.name,
        )
