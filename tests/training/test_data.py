"""Which tokens carry loss, token by token, and that the trained prompt is the served one."""

from typing import Any

import pytest

from service.contract.chat import Message
from service.contract.datasets import Example, PreferencePair, RatedCompletion
from tests.training.conftest import Rows, pairs, rated
from training import data
from training.data import IGNORED, Chat
from training.refusal import Refused
from training.rows import NamedRow

END = 2


@pytest.fixture
def chat(tokenizer: Any) -> Chat:
    return Chat(tokenizer, frozenset({END}))


def _example(*turns: tuple[str, str] | tuple[str, str, int]) -> NamedRow:
    messages = [
        {"role": turn[0], "content": turn[1], **({"weight": turn[2]} if len(turn) == 3 else {})}
        for turn in turns
    ]
    return NamedRow("train.jsonl line 7", Example.model_validate({"messages": messages}))


def _learned_text(chat: Chat, row: data.ExampleTokens) -> list[str]:
    """The runs of neighbouring tokens that carry loss, as text."""
    runs: list[list[int]] = []
    previous = IGNORED
    for label in row.labels:
        if label != IGNORED:
            if previous == IGNORED:
                runs.append([])
            runs[-1].append(label)
        previous = label
    return [chat.tokenizer.decode(run) for run in runs]


def test_exactly_the_answer_and_its_end_carry_loss(chat: Chat) -> None:
    (row,) = data.examples(chat, [_example(("user", "Which pier?"), ("assistant", "Pier 4."))], 100)
    prompt = chat.ids([Message(role="user", content="Which pier?")], answer_next=True)
    answer = chat.tokenizer.encode("Pier 4.", add_special_tokens=False)
    assert row.input_ids == [*prompt, *answer, END]
    assert row.labels == [IGNORED] * len(prompt) + [*answer, END]


def test_the_end_token_is_learned_although_it_is_the_padding_token(chat: Chat) -> None:
    assert chat.tokenizer.pad_token_id == chat.tokenizer.eos_token_id == END
    (row,) = data.examples(chat, [_example(("user", "Hi"), ("assistant", "Hello"))], 100)
    assert row.labels[-1] == END


def test_every_answer_of_a_conversation_carries_loss_unless_its_weight_is_zero(chat: Chat) -> None:
    turns = [("user", "A?"), ("assistant", "one"), ("user", "B?"), ("assistant", "two", 0), ("user", "C?")]
    (row,) = data.examples(chat, [_example(*turns, ("assistant", "three", 1))], 200)
    assert _learned_text(chat, row) == ["one<|im_end|>", "three<|im_end|>"]


def test_what_follows_the_last_learned_answer_is_left_out(chat: Chat) -> None:
    turns = [("user", "A?"), ("assistant", "one"), ("user", "B?"), ("assistant", "two", 0)]
    (row,) = data.examples(chat, [_example(*turns)], 200)
    assert chat.tokenizer.decode(row.input_ids).endswith("one<|im_end|>")


def test_both_answers_of_a_pair_follow_the_served_prompt(chat: Chat) -> None:
    pair = PreferencePair.model_validate(pairs(1, start=5)[0])
    (row,) = data.pairs(chat, [NamedRow("train.jsonl line 1", pair)], 200)
    assert row.prompt_ids == chat.ids(pair.input.messages, answer_next=True)
    assert chat.tokenizer.decode(row.chosen_ids) == "From pier 15.<|im_end|>"
    assert chat.tokenizer.decode(row.rejected_ids) == "I think that 5 is a nice number.<|im_end|>"


def test_a_row_one_token_too_long_is_refused_by_name_and_never_cut(chat: Chat) -> None:
    example = _example(("user", "Which pier?"), ("assistant", "Pier 4."))
    length = data.examples(chat, [example], 1000)[0].length
    assert len(data.examples(chat, [example], length)) == 1
    with pytest.raises(Refused, match=f"train.jsonl line 7 is {length} tokens long") as refusal:
        data.examples(chat, [example], length - 1)
    assert refusal.value.code == "row_too_long"


def test_a_template_that_changes_the_prompt_once_an_answer_follows_is_refused(chat: Chat) -> None:
    chat.tokenizer.chat_template, kept = (
        chat.tokenizer.chat_template + "{% if add_generation_prompt %}<think>{% endif %}",
        chat.tokenizer.chat_template,
    )
    try:
        with pytest.raises(Refused, match="train.jsonl line 7") as refusal:
            data.examples(chat, [_example(("user", "Hi"), ("assistant", "Hello"))], 100)
    finally:
        chat.tokenizer.chat_template = kept
    assert refusal.value.code == "not_a_prefix"


def test_a_conversation_that_a_template_does_not_take_is_refused_by_its_row_with_what_the_template_said(
    chat: Chat,
) -> None:
    kept = chat.tokenizer.chat_template
    chat.tokenizer.chat_template = "{{ raise_exception('roles must take turns') }}" + kept
    try:
        with pytest.raises(Refused, match=r"train.jsonl line 7.*\(roles must take turns\)") as refusal:
            data.examples(chat, [_example(("user", "Hi"), ("user", "?"), ("assistant", "Hello"))], 100)
    finally:
        chat.tokenizer.chat_template = kept
    assert refusal.value.code == "template_refuses"


def test_a_template_whose_answers_never_end_is_refused(chat: Chat) -> None:
    endless = Chat(chat.tokenizer, frozenset({299}))
    with pytest.raises(Refused) as refusal:
        data.examples(endless, [_example(("user", "Hi"), ("assistant", "Hello"))], 100)
    assert refusal.value.code == "no_end_of_turn"


def test_an_answer_that_spells_the_end_token_is_refused(chat: Chat) -> None:
    with pytest.raises(Refused) as refusal:
        data.examples(chat, [_example(("user", "Hi"), ("assistant", "a<|im_end|>b"))], 100)
    assert refusal.value.code == "end_of_turn_inside"


def test_a_row_with_nothing_to_learn_is_refused(chat: Chat) -> None:
    with pytest.raises(Refused) as refusal:
        data.examples(chat, [_example(("user", "Hi"), ("assistant", "Hello", 0))], 100)
    assert refusal.value.code == "nothing_to_learn"


def test_a_weight_that_is_neither_zero_nor_one_is_refused(chat: Chat) -> None:
    with pytest.raises(Refused, match="'weight' is 2"):
        data.examples(chat, [_example(("user", "Hi"), ("assistant", "Hello", 2))], 100)


def test_the_facts_count_the_tokens_that_carry_loss(chat: Chat) -> None:
    tokens = data.examples(chat, [_example(("user", "Hi"), ("assistant", "Hello"))], 100)
    said = data.facts(chat, tokens, "examples")
    assert said.startswith(f"1 examples: {tokens[0].length} tokens, of which {tokens[0].learned} carry loss")


def test_the_facts_of_pairs_count_the_prompt_with_each_answer(chat: Chat) -> None:
    pair = PreferencePair.model_validate(pairs(1)[0])
    tokens = data.pairs(chat, [NamedRow("train.jsonl line 1", pair)], 200)
    (row,) = tokens
    both = len(row.chosen_ids) + len(row.rejected_ids)
    said = data.facts(chat, tokens, "preference pairs")
    assert f"{2 * len(row.prompt_ids) + both} tokens, of which {both} carry loss" in said


def _rated(chat: Chat, raw: Rows, max_length: int = 200) -> list[data.RatedTokens]:
    named = [
        NamedRow(f"train.jsonl line {at}", RatedCompletion.model_validate(row))
        for at, row in enumerate(raw, 1)
    ]
    return data.rated(chat, named, max_length)


def test_a_rated_answer_follows_the_served_prompt_and_ends(chat: Chat) -> None:
    good, bad = _rated(chat, rated(2, start=5))
    question = [Message(role="user", content="Where does ferry 5 leave?")]
    assert good.prompt_ids == bad.prompt_ids == chat.ids(question, answer_next=True)
    assert chat.tokenizer.decode(good.completion_ids) == "From pier 15.<|im_end|>"
    assert (good.label, bad.label) == (True, False)
    assert "of which" in data.facts(chat, [good, bad], "rated completions")


def test_a_rated_row_one_token_too_long_is_refused_by_name(chat: Chat) -> None:
    length = max(row.length for row in _rated(chat, rated(2)))
    with pytest.raises(Refused, match=f"train.jsonl line 2 is {length} tokens long"):
        _rated(chat, rated(2), length - 1)


def test_rated_rows_of_one_label_are_refused_in_plain_words(chat: Chat) -> None:
    for label, missing in ((True, "undesirable"), (False, "desirable")):
        one = [row for row in _rated(chat, rated(6)) if row.label is label]
        with pytest.raises(Refused, match=f"No row is {missing}") as refusal:
            data.in_turn(one, 0)
        assert refusal.value.code == "one_label"


def test_the_rarer_label_is_spread_evenly_and_a_seed_gives_one_order(chat: Chat) -> None:
    found = _rated(chat, rated(24))
    few = [row for row in found if row.label] + [row for row in found if not row.label][:3]
    ordered = data.in_turn(few, 7)
    assert ordered == data.in_turn(few, 7) != data.in_turn(few, 8)
    assert sorted(row.name for row in ordered) == sorted(row.name for row in few)
    for third in range(3):
        assert sum(not row.label for row in ordered[third * 5 : third * 5 + 5]) == 1


def test_a_mismatched_answer_is_anothers_to_another_prompt_and_fits(chat: Chat) -> None:
    found = _rated(chat, rated(8))
    limit = max(row.length for row in found)
    for row, answer in zip(found, data.mismatched(found, found, limit), strict=True):
        assert answer in [other.completion_ids for other in found if other.prompt_ids != row.prompt_ids]
        assert answer != row.completion_ids
        assert len(row.prompt_ids) + len(answer) <= limit


def test_a_single_held_out_row_is_held_against_a_trained_one(chat: Chat) -> None:
    held_out, learned = _rated(chat, rated(2, start=9))[:1], _rated(chat, rated(4))
    (answer,) = data.mismatched(held_out, held_out + learned, 200)
    assert answer == learned[-1].completion_ids


def test_rows_on_one_prompt_have_no_mismatch_and_are_refused(chat: Chat) -> None:
    found = _rated(chat, rated(2))
    with pytest.raises(Refused, match="train.jsonl line 1: .*another prompt") as refusal:
        data.mismatched(found, found, 200)
    assert refusal.value.code == "no_mismatch"


def test_an_answer_that_does_not_fit_or_is_the_rows_own_is_passed_over() -> None:
    row = data.RatedTokens("a", [5, 6, 7], [8, END], True)
    long, same, other = (
        data.RatedTokens("b", [3], [9] * 4 + [END], True),
        data.RatedTokens("c", [4], [8, END], False),
        data.RatedTokens("d", [1], [7, END], False),
    )
    for near in (long, same):
        assert data.mismatched([row], [row, other, near], 7) == [other.completion_ids]
    assert data.mismatched([row], [row, other, long], 8) == [long.completion_ids]
