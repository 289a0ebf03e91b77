"""The verdict refuses each way an adapter can fail to be served."""

import pytest

from service.contract.releases import ServingProof
from service.engine.client import Engine
from service.engine.proof import prove, verdict


def _proof(**changes) -> ServingProof:
    good = {
        "cases": 8,
        "tokens": 400,
        "same_prompt_tokens": True,
        "distance_to_trainer": 0.05,
        "distance_to_base": 0.6,
        "noise": 0.05,
        "tolerance": 0.15,
        "outputs_changed": 8,
        "engine": "vllm 0.32.0",
    }
    return ServingProof(**(good | changes))


def test_an_adapter_that_is_served_as_trained_may_be_published():
    assert verdict(_proof()) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"same_prompt_tokens": False}, "other tokens"),
        ({"distance_to_trainer": 0.2}, "0.150 is tolerated"),
        ({"distance_to_trainer": float("nan")}, "differ from the trainer's"),
        ({"distance_to_base": 0.0}, "does not act on the adapter"),
        ({"distance_to_base": 0.04}, "more like its base model"),
        ({"distance_to_base": 0.055}, "cannot be told from rounding"),
        ({"distance_to_base": float("nan")}, "more like its base model"),
        ({"noise": float("nan")}, "cannot be told from rounding"),
    ],
)
def test_an_adapter_that_is_not_served_as_trained_is_refused_with_the_reason(changes: dict, reason: str):
    said = verdict(_proof(**changes))
    assert said is not None
    assert reason in said


async def test_a_proof_of_nothing_is_refused():
    engine = Engine("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="at least one case"):
        await prove(engine, "base", "adapter", [], 0.15)
