"""What is left for the engine to be asked: the prompts of a few rows, cut out of what is really trained."""

from pathlib import Path
from typing import Any

import pytest

from service.contract import folder
from service.contract.datasets import Example, PreferencePair, RatedCompletion
from service.contract.rendering import Rendered
from tests.training.conftest import examples, pairs, rated
from tests.training.test_data import chat
from training import data, rendering
from training.rows import NamedRow

__all__ = ["chat"]


def left(run: Path) -> list[Rendered]:
    return [Rendered.model_validate(line) for line in folder.read_lines(run / folder.PROMPTS)]


@pytest.mark.parametrize(
    ("rows", "row", "tokens"),
    [
        (examples(20), Example, data.examples),
        (pairs(20), PreferencePair, data.pairs),
        (rated(20), RatedCompletion, data.rated),
    ],
)
def test_the_prompt_is_what_stands_before_the_answer_that_is_learned(
    rows: list[dict[str, Any]], row: Any, tokens: Any, chat: data.Chat, tmp_path: Path
):
    named = [NamedRow(f"line {n}", row.model_validate(one)) for n, one in enumerate(rows, 1)]
    rendering.write(tmp_path, chat, named, tokens(chat, named, 512))
    prompts = left(tmp_path)
    assert [one.row for one in prompts] == [f"line {n}" for n in range(1, 21, 3)]
    for one in prompts:
        assert "".join(one.texts).endswith("<|im_start|>assistant\n")
        assert one.messages[-1]["role"] == "user"
        assert one.messages[-1]["content"] in "".join(one.texts)


@pytest.mark.parametrize(("weight", "asked"), [(1, ["One?", "1.", "Two?"]), (0, ["One?"])])
def test_of_a_conversation_it_is_the_prompt_of_the_last_answer_that_counts(
    weight: int, asked: list[str], chat: data.Chat, tmp_path: Path
):
    said = [("user", "One?"), ("assistant", "1."), ("user", "Two?"), ("assistant", "2.")]
    messages: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in said]
    messages[-1]["weight"] = weight
    row = Example.model_validate({"messages": messages})
    named = [NamedRow("line 1", row)]
    rendering.write(tmp_path, chat, named, data.examples(chat, named, 512))
    [one] = left(tmp_path)
    assert [message["content"] for message in one.messages] == asked
    assert one.tokens == chat.ids(row.messages[: len(asked)], answer_next=True)
