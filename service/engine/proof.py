"""The proof that the running engine serves an adapter, asked for before the adapter is published.

Owns the measurement and the verdict. Knows nothing of how the adapter was trained: the trainer's own
figures come as `ProofCase`s, computed from the saved files read back from disk.

An adapter can be loaded without an error and still not act, or act wrongly (vllm-project/vllm#55193,
#34591, #41754). So the engine is held against the trainer, token by token.
"""

import asyncio

from service.contract.jobs import ProofCase
from service.contract.releases import ServingProof
from service.engine.client import Engine

NOISE_FACTOR = 2.0
"""How many times the noise an adapter's effect must be, to be told from none."""
MAX_ANSWER = 48
"""Tokens of a greedy answer that is compared with the base model's."""


async def prove(
    engine: Engine, base: str, adapter: str, cases: list[ProofCase], tolerance: float
) -> ServingProof:
    """Measure what `engine` makes of `adapter` (its engine name) and of `base` on every case.

    `tolerance` bounds the mean absolute difference of token log-probabilities (natural logarithm, nats)
    between engine and trainer. Raises `ValueError` without a case, and what `Engine` raises.
    """
    if not cases:
        raise ValueError("A proof needs at least one case.")
    measured = [await _measure(engine, base, adapter, case) for case in cases]
    return ServingProof(
        cases=len(cases),
        tokens=sum(len(case.completion_tokens) for case in cases),
        same_prompt_tokens=all(one.same_prompt for one in measured),
        distance_to_trainer=_distance([(one.adapter, one.case.adapter_logprobs) for one in measured]),
        distance_to_base=_distance([(one.adapter, one.base) for one in measured]),
        noise=_distance([(one.base, one.case.base_logprobs) for one in measured]),
        tolerance=tolerance,
        outputs_changed=sum(one.changed for one in measured),
        engine=f"vllm {await engine.version()}",
    )
