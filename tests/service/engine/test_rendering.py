"""Whether the engine reads prompts as the trainer does: the first difference is named, no engine is no fault."""

from typing import Any, cast

import pytest

from service.contract.rendering import Rendered, tokens_sha256
from service.engine.client import Engine
from service.engine.rendering import compare
from service.errors import BadInput, EngineUnavailable, NotFound

PROMPTS = [
    Rendered(row=f"train.jsonl line {n}", messages=[{"role": "user", "content": f"{n}"}], tokens=[1, n, 9],
             texts=["<s>", f"{n}", "</s>"])
    for n in (4, 5)
]  # fmt: skip


class Answering:
    """A double of an engine: what it says to each question."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said

    async def tokenize(self, model: str, messages: list[dict[str, Any]]) -> list[int]:
        said = self.said[messages[0]["content"]]
        if isinstance(said, Exception):
            raise said
        return said


def engine(four: Any, five: Any) -> Engine:
    return cast(Engine, Answering({"4": four, "5": five}))


async def test_the_same_tokens_have_the_same_hash_and_are_counted():
    found = await compare([engine([1, 4, 9], [1, 5, 9])] * 2, "base", PROMPTS)
    assert (found.state, found.prompts, found.sha256) == ("same", 2, tokens_sha256([[1, 4, 9], [1, 5, 9]]))


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ([1, 7, 9], "its token 2 is 7, the trainer's is 5 ('5')"),
        ([1, 5], "its token 3 is not there, the trainer's is 9 ('</s>')"),
        ([1, 5, 9, 2], "its token 4 is 2, the trainer's is none"),
        (BadInput("System role not supported."), "it refuses the prompt (System role not supported.)"),
    ],
)
async def test_another_prompt_is_named_by_its_row_and_its_first_differing_token(theirs: Any, said: str):
    found = await compare([engine([1, 4, 9], [1, 5, 9]), engine([1, 4, 9], theirs)], "base", PROMPTS)
    assert (found.state, found.row) == ("different", "train.jsonl line 5")
    assert said in found.because
    assert found.because.endswith(
        "Start the engine on the folder of the base model that jobs train on, then try again."
    )


@pytest.mark.parametrize("error", [EngineUnavailable("It is gone."), NotFound("No such route.")])
async def test_an_engine_that_cannot_be_asked_now_is_told_and_is_no_difference(error: Exception):
    for engines in ([], [engine([1, 4, 9], error)]):
        found = await compare(engines, "base", PROMPTS)
        assert found.state == "unchecked"
        assert "could not be checked now" in found.because
    assert (await compare([engine([], [])], "base", [])).state == "unchecked"
