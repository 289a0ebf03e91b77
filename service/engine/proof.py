"""The proof that the running engine serves an adapter, asked for before the adapter is published.

Owns the measurement and the verdict. Knows nothing of how the adapter was trained: the trainer's own
figures come as `ProofCase`s, computed from the saved files read back from disk.

An adapter can be loaded without an error and still not act, or act wrongly (vllm-project/vllm#55193,
#34591, #41754). So the engine is held against the trainer, token by token. Both compute in bf16 with
different kernels, so they never agree exactly. Measured with SmolLM2-135M-Instruct on a processor, in nats:
over 768 tokens of 12 medical answers engine and trainer differ by 0.050 on average without an adapter (99th
percentile 0.26, largest 0.41; the engine repeats itself exactly), and by 0.045 to 0.050 with one, whatever
its strength; over 68 tokens of unlikely text by 0.073 and 0.072. An adapter too weak to matter moves the
engine by 0.043 to 0.055 from its base: that is rounding again. Hence a tolerance of 0.15, two to three
times the noise, and `MARGIN`.
"""

import asyncio
from dataclasses import dataclass

from service.contract.jobs import ProofCase
from service.contract.releases import ServingProof
from service.engine.client import Engine

MARGIN = 1.25
"""How many times the noise an adapter must move the engine, to be told from rounding."""
MAX_ANSWER = 48
"""Tokens of the greedy answers that are compared, at most."""


async def prove(
    engine: Engine, base: str, adapter: str, cases: list[ProofCase], tolerance: float
) -> ServingProof:
    """Measure what `engine` makes of `adapter` (its engine name) and of `base` on every case.

    Distances are mean absolute differences of token log-probabilities (natural logarithm). `tolerance` is
    only noted here; `verdict` applies it. Raises `ValueError` without a token to compare, and what
    `Engine` raises.
    """
    tokens = sum(len(case.completion_tokens) for case in cases)
    if not tokens:
        raise ValueError("A proof needs at least one case with a completion.")
    # All at once: the proof holds for an engine that serves base and adapter in one batch, as it will.
    seen = await asyncio.gather(*(_look(engine, base, adapter, case) for case in cases))
    return ServingProof(
        cases=len(cases),
        tokens=tokens,
        same_prompt_tokens=all(one.same_prompt for one in seen),
        distance_to_trainer=_distance([(one.adapter, one.case.adapter_logprobs) for one in seen]),
        distance_to_base=_distance([(one.adapter, one.base) for one in seen]),
        noise=_distance([(one.base, one.case.base_logprobs) for one in seen]),
        tolerance=tolerance,
        outputs_changed=sum(one.changed for one in seen),
        engine=f"vllm {await engine.version()}",
    )


def verdict(proof: ServingProof) -> str | None:
    """Why the adapter must not be published, in one sentence or two, or None when it may be.

    Refused are: a prompt the engine renders to other tokens than the trainer; an engine farther from the
    trainer than the tolerance; one nearer to its own base model than to the trainer; and an effect not
    above `MARGIN` times the noise between engine and trainer.
    """
    trainer, base, noise = proof.distance_to_trainer, proof.distance_to_base, proof.noise
    if not proof.same_prompt_tokens:
        return (
            "The engine renders a prompt to other tokens than the trainer did. Start the engine on the "
            "folder of the base model that the adapter was trained on."
        )
    if not trainer <= proof.tolerance:  # also refuses a figure that is not a number
        return (
            f"The engine's token log-probabilities differ from the trainer's by {trainer:.3f} on average; "
            f"{proof.tolerance:.3f} is tolerated, and {noise:.3f} is their difference without the adapter."
        )
    if not base > trainer:
        return (
            f"The engine answers more like its base model (distance {base:.3f}) than like the trained one "
            f"(distance {trainer:.3f}): it does not act on the adapter, or the training changed too little."
        )
    if not base > MARGIN * noise:
        return (
            f"The adapter moves the engine by {base:.3f}, which cannot be told from rounding ({noise:.3f}). "
            "Train on more rows or for more epochs."
        )
    return None


@dataclass(frozen=True)
class _Seen:
    """What the engine made of one case; log-probabilities of each completion token."""

    case: ProofCase
    same_prompt: bool
    adapter: list[float]
    base: list[float]
    changed: bool


async def _look(engine: Engine, base: str, adapter: str, case: ProofCase) -> _Seen:
    prompt, completion = case.prompt_tokens, case.completion_tokens
    rendered, tuned, untuned, answer, base_answer = await asyncio.gather(
        engine.tokenize(adapter, case.messages),
        engine.logprobs(adapter, prompt, completion),
        engine.logprobs(base, prompt, completion),
        _answer(engine, adapter, case),
        _answer(engine, base, case),
    )
    return _Seen(case, rendered == prompt, tuned, untuned, changed=answer != base_answer)


async def _answer(engine: Engine, model: str, case: ProofCase) -> str:
    length = min(MAX_ANSWER, max(1, len(case.completion_tokens)))
    body = {"model": model, "messages": case.messages, "temperature": 0, "max_tokens": length}
    answer = await engine.chat(body)
    return str(answer["choices"][0]["message"]["content"])


def _distance(pairs: list[tuple[list[float], list[float]]]) -> float:
    gaps = [abs(a - b) for left, right in pairs for a, b in zip(left, right, strict=True)]
    return sum(gaps) / len(gaps)
