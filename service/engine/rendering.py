"""Whether the engine makes the same tokens of a prompt as the trainer does, asked before anything is trained.

Owns the comparison and its words. An engine that cannot be asked now stands in nobody's way: the proof (`proof`) asks
it again before an adapter is published. Knows no tokenizer: both sides' tokens come as they are.
"""

import asyncio
from collections.abc import Iterable, Sequence

from service.contract.rendering import Rendered, Rendering, tokens_sha256
from service.engine.client import Engine
from service.errors import BadInput, TailorbirdError

CODE = "wrong_prompt"
"""Of a job, or a finding of an estimate, whose prompts are others to the engine."""
PATIENCE = 10.0
"""Seconds that one engine may take: less than a worker's lease."""


async def compare(engines: Iterable[Engine], base: str, prompts: Sequence[Rendered]) -> Rendering:
    """Hold every engine against the trainer's tokens, by their hash; `base` is what it serves the base model as."""
    sha256 = tokens_sha256(one.tokens for one in prompts)
    asked = 0
    for engine in engines if prompts else ():
        try:
            async with asyncio.timeout(PATIENCE):
                if (found := await _other(engine, base, prompts, sha256)) is not None:
                    return found
        except (TailorbirdError, TimeoutError) as error:
            return _unchecked(f"the engine does not say now ({error or 'it takes too long'})")
        asked += 1
    if not asked:
        return _unchecked("no engine is up" if prompts else "no row became tokens")
    return Rendering(
        state="same", prompts=len(prompts), sha256=sha256,
        because=f"The engine makes the same tokens of the prompts of {len(prompts)} rows as the trainer does (SHA-256 "
        f"{sha256[:12]}).",
    )  # fmt: skip


async def _other(engine: Engine, base: str, prompts: Sequence[Rendered], sha256: str) -> Rendering | None:
    """The first prompt that is another one to this engine. Raises as `Engine.tokenize` does, but for a refusal."""
    said: list[list[int]] = []
    for one in prompts:
        try:
            said.append(await engine.tokenize(base, one.messages))
        except BadInput as error:
            return _different(one, f"it refuses the prompt ({error.message})", len(prompts), sha256)
    if tokens_sha256(said) == sha256:
        return None
    one, theirs = next(pair for pair in zip(prompts, said, strict=True) if pair[0].tokens != pair[1])
    return _different(one, _first_difference(one, theirs), len(prompts), sha256)


def _first_difference(one: Rendered, theirs: list[int]) -> str:
    ours = one.tokens
    at = next(
        (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
    )
    there = f"is {theirs[at]}" if at < len(theirs) else "is not there"
    here = f"{ours[at]} ({one.texts[at]!r})" if at < len(ours) else "none"
    return f"its token {at + 1} {there}, the trainer's is {here}"


def _different(one: Rendered, how: str, count: int, sha256: str) -> Rendering:
    return Rendering(
        state="different", prompts=count, sha256=sha256, row=one.row,
        because=f"{one.row}: the engine does not read this prompt as the trainer does: {how}. What is trained would "
        "not be what is served. Start the engine on the folder of the base model that jobs train on, then try again.",
    )  # fmt: skip


def _unchecked(why: str) -> Rendering:
    return Rendering(
        state="unchecked",
        because="Whether the engine makes the same tokens of a prompt as the trainer does could not be checked now: "
        f"{why}. It is asked again when a job starts, and before its adapter is published.",
    )  # fmt: skip
