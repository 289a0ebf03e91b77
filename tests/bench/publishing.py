"""R6: what others notice while an adapter is published every few seconds, by the engine alone.

Some callers ask adapters that are in use, over and over, and each answer is held against those that the
adapters gave alone, to the letter: in fp32, as in bf16 a row is rounded otherwise when others are in its step, and a
greedy answer may then go another way. Quiet spans and spans with publishing take turns. To publish is what the service
does: load the adapter, then the proof, here with one case; then its first reader comes.
"""

import asyncio
import time
from dataclasses import dataclass, field

from service.contract.jobs import ProofCase
from service.engine.client import Engine
from service.engine.proof import prove
from service.settings import EMBEDDED
from tests.bench.figures import Figure, of_rounds, percentile
from tests.bench.many_adapters import load
from tests.bench.places import Place
from tests.bench.streams import Heard, Way, ask, question, way

SPANS, EVERY, TIMES = 3, 5.0, 2
"""Spans of each kind, seconds between two adapters, adapters in a span."""
TOKENS = 24
FIXED = "What is the capital of France, and who mends its bridges?"


@dataclass
class Span:
    """What was noticed in one span. Seconds."""

    longest: float = 0.0
    firsts: list[float] = field(default_factory=list)
    """To the first token of a new adapter, or of one in use."""
    loads: list[float] = field(default_factory=list)
    spent: float = 0.0
    """The engine's processor time."""


@dataclass
class Crowd:
    """The callers of the adapters in use, what they were told alone, and what went wrong."""

    known: dict[str, str]
    gaps: list[tuple[float, float]] = field(default_factory=list)
    answers: int = 0
    wrong: int = 0
    """Answers that were not what their adapter said alone."""
    errors: int = 0

    async def keep_asking(self, engine: Way) -> None:
        while True:
            try:
                heard = await ask(engine, FIXED, TOKENS)
            except (RuntimeError, OSError):
                self.errors += 1
                continue
            self.answers += 1
            self.wrong += heard.text != self.known[engine.model]
            self.gaps += heard.gaps


async def measure(place: Place, exact: Place, used: dict[str, str], new: dict[str, str]) -> list[Figure]:
    """Times in `place`, answers in `exact`, an engine in fp32.

    `used` and `new` are {name: folder}; of `new`, one is taken for each time something is published.
    """
    return _times(*await _crowded(place, used, new)) + _answers((await _crowded(exact, used, new))[0])


async def _crowded(
    place: Place, used: dict[str, str], new: dict[str, str]
) -> tuple[Crowd, list[Span], list[Span]]:
    """The callers, the quiet spans and the busy ones."""
    client, fresh = Engine(place.url), iter(new.items())
    await load(place, used)
    async with way(place.url, EMBEDDED) as engine:
        known = {name: (await ask(engine.of(name), FIXED, TOKENS)).text for name in used}
        if len(set(known.values())) < len(known):
            raise RuntimeError("Two adapters answer alike, so a mixed answer could not be told.")
        crowd, case = Crowd(known), await _case(client)
        callers = [asyncio.create_task(crowd.keep_asking(engine.of(name))) for name in used]
        quiet, busy = [], []
        try:
            await _publish(client, engine, case, *next(fresh))  # warms up
            for number in range(SPANS):
                for published in (False, True) if number % 2 else (True, False):
                    before = place.cpu()
                    span = await _span(crowd, client, engine, case, fresh if published else None)
                    span.spent = place.cpu() - before
                    (busy if published else quiet).append(span)
        finally:
            for task in callers:
                task.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            await client.close()
    return crowd, quiet, busy


async def _span(crowd: Crowd, client: Engine, engine: Way, case: ProofCase, fresh) -> Span:
    """One span; `fresh` gives the adapters to publish, None publishes nothing and asks one in use instead."""
    span, began = Span(), time.perf_counter()
    for number in range(TIMES):
        if fresh is None:
            heard = await ask(engine.of(next(iter(crowd.known))), question(), 4)
        else:
            took, heard = await _publish(client, engine, case, *next(fresh))
            span.loads.append(took)
        span.firsts.append(heard.first)
        await asyncio.sleep(max(0.0, began + (number + 1) * EVERY - time.perf_counter()))
    span.longest = max(gap for at, gap in crowd.gaps if at - gap >= began)
    return span


async def _publish(
    client: Engine, engine: Way, case: ProofCase, name: str, folder: str
) -> tuple[float, Heard]:
    """Seconds of the load, and the first reader's answer."""
    began = time.perf_counter()
    await client.load(name, folder)
    took = time.perf_counter() - began
    heard = await ask(engine.of(name), question(), 4)
    await prove(client, EMBEDDED, name, [case], 1.0)
    return took, heard


async def _case(client: Engine) -> ProofCase:
    """A case of a proof. No trainer stands behind it: what the proof costs is measured, not what it says."""
    messages = [{"role": "user", "content": FIXED}]
    tokens = await client.tokenize(EMBEDDED, messages)
    answer = tokens[:TOKENS]
    zeros = [0.0] * len(answer)
    return ProofCase(messages=messages, prompt_tokens=tokens, completion_tokens=answer,
                     adapter_logprobs=zeros, base_logprobs=zeros)  # fmt: skip


def _times(crowd: Crowd, quiet: list[Span], busy: list[Span]) -> list[Figure]:
    gaps = [b.longest / q.longest for q, b in zip(quiet, busy, strict=True)]
    firsts = [percentile(b.firsts, 0.5) / percentile(q.firsts, 0.5) for q, b in zip(quiet, busy, strict=True)]
    spans = [[span.longest * 1000 for span in kind] for kind in (busy, quiet)]
    cold, warm = [percentile([f * 1000 for span in kind for f in span.firsts], 0.5) for kind in (busy, quiet)]
    return [
        of_rounds("R6", f"longest pause of {len(crowd.known)} other streams, publishing / normal", gaps, at_most=1.5,
                  detail=f"{percentile(spans[0], 0.5):.0f} / {percentile(spans[1], 0.5):.0f} ms"),
        of_rounds("R6", "first token of a new adapter / of one in use", firsts, at_most=2.0,
                  detail=f"{cold:.0f} / {warm:.0f} ms"),
        of_rounds("R6", "processor time of the engine in a span, publishing / normal",
                  [b.spent / q.spent for q, b in zip(quiet, busy, strict=True)]),
        of_rounds("R6", "time to load an adapter", [s * 1000 for span in busy for s in span.loads], unit="ms"),
        of_rounds("R6", "errors", [float(crowd.errors)], at_most=0, detail=f"of {crowd.answers} answers"),
    ]  # fmt: skip


def _answers(crowd: Crowd) -> list[Figure]:
    how = f"in fp32, of {crowd.answers}, to the letter"
    return [
        of_rounds(
            "R6", "answers that were not the adapter's own", [float(crowd.wrong)], at_most=0, detail=how
        ),
        of_rounds("R6", "errors in fp32", [float(crowd.errors)], at_most=0),
    ]
