"""The soak: the whole service under mixed load for minutes, while adapters are published and go live.

Callers stream, ask whole answers, go away in the middle, rate what they got, and look around; every half a
minute a training that ended is published, goes live, and at times is rolled back. What was confirmed is then
looked for in the records. Memory and descriptors are read from the operating system. Asked for by name only.
"""

import asyncio
import random
import sqlite3
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
import psutil

from service.engine import server
from service.engine.client import Engine
from service.settings import EMBEDDED
from tests.bench.figures import Figure, of_rounds
from tests.bench.places import base_model
from tests.running import Running, running_service
from tests.trained import Trainer, ended_training, hand_over

MINUTES, CALLERS = 10.0, 8
EVERY, SAMPLE = 30.0, 5.0
"""Seconds between two adapters, and between two looks at the processes."""
RANK = 1
"""Of the adapters: the engine keeps all of them in memory, which is no leak and should not look like one."""
STRENGTH = 0.3
"""Of the adapters: each answers `FIXED` otherwise, which of rank 1 needs much."""
PROCESSES = {
    "gateway": ("service", "gateway"), "worker": ("service", "worker"), "screens": ("-m", "ui"),
    "engine": ("vllm.entrypoints.openai.api_server",),
}  # fmt: skip
ASSISTANT = {"name": "soak", "title": "Soak", "instructions": "You answer for Brumelle."}
"""One without held-out questions: an evaluation after each release would be the load."""
NAME = ASSISTANT["name"]
FIXED = [{"role": "user", "content": "What is the capital of France, and who mends its bridges?"}]


@dataclass
class Seen:
    """What was confirmed to callers, and what went wrong."""

    completions: set[str] = field(default_factory=set)
    feedback: set[str] = field(default_factory=set)
    left: int = 0
    """Streams whose reader went away."""
    failures: Counter[str] = field(default_factory=Counter)
    adapters: dict[str, str] = field(default_factory=dict)
    """{completion: adapter that its headers named}."""
    published: int = 0
    moves: int = 0
    known: dict[str, str] = field(default_factory=dict)
    """{adapter: its answer to `FIXED`, asked for by its own name}."""
    told: list[tuple[str, str]] = field(default_factory=list)
    """(adapter that the header named, answer) of each time the assistant was asked `FIXED`."""


@dataclass(frozen=True)
class Sample:
    """One look at a process and its children."""

    at: float
    megabytes: float
    descriptors: int
    processor: float
    """Seconds used since the process began."""


def measure(home: Path, minutes: float = MINUTES) -> list[Figure]:
    """Start the service in `home`, load it for `minutes`, and hold what is left against what was there."""
    with running_service(home) as service:
        trainer = Trainer(base_model())
        count = int(minutes * 60 / EVERY)
        ended = [
            ended_training(home, trainer, seed=number, rank=RANK, strength=STRENGTH)
            for number in range(count)
        ]
        del trainer
        seen, samples = Seen(), {name: [] for name in PROCESSES}
        asyncio.run(_soak(service, seen, samples, ended, minutes * 60))
        return _figures(service, seen, samples, minutes)


async def _soak(service: Running, seen: Seen, samples: dict[str, list[Sample]], ended: list, seconds: float):
    headers = {"authorization": f"Bearer {service.admin_key}"}
    over = time.monotonic() + seconds
    async with aiohttp.ClientSession(service.api_url, headers=headers) as session:
        await _post(session, "/api/assistants", ASSISTANT)
        seen.known.update([await _answer(session, NAME)])
        aside = asyncio.create_task(_publish(session, service.home, ended, seen, over))
        watch = asyncio.create_task(_watch(service, samples))
        callers = [_caller(session, seen, random.Random(number), over) for number in range(CALLERS)]
        try:
            await asyncio.gather(*callers)
            await aside
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        async with asyncio.timeout(60):
            while (await _get(session, "/api/status"))["chats_under_way"]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.5)


async def _caller(session: aiohttp.ClientSession, seen: Seen, draw: random.Random, over: float) -> None:
    acts = [_stream] * 4 + [_whole] * 2 + [_fixed] * 2 + [_leave] * 3 + [_rate] * 2 + [_look_around]
    while time.monotonic() < over:
        act = draw.choice(acts)
        try:
            await act(session, seen, draw)
        except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as error:
            seen.failures[f"{act.__name__}: {type(error).__name__} {str(error)[:120]}"] += 1


async def _stream(
    session: aiohttp.ClientSession, seen: Seen, draw: random.Random, most: int | None = None
) -> None:
    """One streamed answer, read to its end, or left after `most` chunks."""
    body = _question(draw) | {"stream": True}
    chunks, completion, done = 0, "", False
    async with session.post("/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if line.startswith(b"data: {"):
                chunk = orjson.loads(line[6:])
                completion, chunks = chunk["id"], chunks + 1
                seen.adapters[completion] = response.headers["x-tailorbird-adapter"]
            done = done or line.startswith(b"data: [DONE]")
            if most is not None and chunks >= most:
                seen.left += 1
                return
    if not done:
        raise ValueError("a stream ended without its end")
    seen.completions.add(completion)


async def _leave(session: aiohttp.ClientSession, seen: Seen, draw: random.Random) -> None:
    await _stream(session, seen, draw, most=draw.randint(1, 5))


async def _whole(session: aiohttp.ClientSession, seen: Seen, draw: random.Random) -> None:
    async with session.post("/v1/chat/completions", json=_question(draw)) as response:
        response.raise_for_status()
        answer = await response.json()
    seen.adapters[answer["id"]] = response.headers["x-tailorbird-adapter"]
    seen.completions.add(answer["id"])


async def _fixed(session: aiohttp.ClientSession, seen: Seen, draw: random.Random) -> None:
    """The question whose answer is known of each adapter, asked of the assistant, whoever is live."""
    seen.told.append(await _answer(session, NAME))


async def _answer(session: aiohttp.ClientSession, model: str) -> tuple[str, str]:
    """The adapter that the header names and what it says to `FIXED`."""
    body = {"model": model, "messages": FIXED, "temperature": 0, "max_tokens": 16}
    async with session.post("/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        answer = await response.json()
    return response.headers["x-tailorbird-adapter"], answer["choices"][0]["message"]["content"]


async def _rate(session: aiohttp.ClientSession, seen: Seen, draw: random.Random) -> None:
    if seen.completions:
        chosen = draw.choice(sorted(seen.completions))
        body = {"completion_id": chosen, "type": "rating", "rating": draw.choice((1, -1))}
        async with session.post("/api/feedback", json=body) as response:
            response.raise_for_status()
            seen.feedback.add((await response.json())["id"])


async def _look_around(session: aiohttp.ClientSession, seen: Seen, draw: random.Random) -> None:
    for path in ("/v1/models", "/api/releases", "/v1/chat/completions", "/metrics", "/readyz"):
        async with session.get(path) as response:
            response.raise_for_status()
            await response.read()


def _question(draw: random.Random) -> dict:
    text = f"{draw.random()}: tell me of the sea and of a bird that sews. " * draw.choice((1, 1, 4))
    return {
        "model": draw.choice((NAME, NAME, EMBEDDED)),
        "messages": [{"role": "user", "content": text}], "max_tokens": draw.choice((4, 12, 24)),
    }  # fmt: skip


async def _publish(session: aiohttp.ClientSession, home: Path, ended: list, seen: Seen, over: float) -> None:
    """Publish, promote, and after every third one roll back."""
    for number, one in enumerate(ended):
        if time.monotonic() > over - EVERY:
            return
        began = time.monotonic()
        job = await asyncio.to_thread(hand_over, home, one, assistant=NAME)
        try:
            await _promote(session, seen, job)
            if number % 3 == 2:
                await _post(session, f"/api/assistants/{NAME}/rollback", {"reason": "the soak goes back"})
                seen.moves += 1
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            seen.failures[f"publish: {type(error).__name__} {str(error)[:200]}"] += 1
        await asyncio.sleep(max(0.0, began + EVERY - time.monotonic()))


async def _promote(session: aiohttp.ClientSession, seen: Seen, job: str) -> None:
    async with asyncio.timeout(60):
        state = {"status": "queued"}
        while state["status"] in ("queued", "running"):
            await asyncio.sleep(0.5)
            state = await _get(session, f"/v1/fine_tuning/jobs/{job}")
    if state["status"] != "succeeded":
        raise ValueError(f"not published: {state['error']}")
    seen.published += 1
    releases = (await _get(session, f"/api/releases?assistant={NAME}"))["data"]
    release = next(one for one in releases if one["job"] == job)
    adapter, answer = await _answer(session, f"{NAME}@{release['number']}")
    seen.known[adapter] = answer
    await _post(
        session, f"/api/releases/{release['id']}/promote", {"override_reason": "the soak promotes it"}
    )
    seen.moves += 1


async def _get(session: aiohttp.ClientSession, path: str) -> dict:
    async with session.get(path) as response:
        response.raise_for_status()
        return await response.json()


async def _post(session: aiohttp.ClientSession, path: str, body: dict) -> None:
    async with session.post(path, json=body) as response:
        if response.status >= 400:
            raise ValueError(f"{path} {response.status} {await response.text()}")


async def _watch(service: Running, samples: dict[str, list[Sample]]) -> None:
    began = time.monotonic()
    while True:
        found = {name: _process(service, words) for name, words in PROCESSES.items()}
        for name, process in found.items():
            family = [process, *process.children(recursive=True)] if name == "engine" else [process]
            memory = sum(one.memory_info().rss for one in family) / 2**20
            descriptors = sum(one.num_fds() for one in family)
            times = [one.cpu_times() for one in family]
            spent = sum(one.user + one.system for one in times)
            samples[name].append(Sample(time.monotonic() - began, memory, descriptors, spent))
        await asyncio.sleep(SAMPLE)


def _process(service: Running, words: tuple[str, ...]) -> psutil.Process:
    children = psutil.Process(service.process.pid).children(recursive=True)
    return next(one for one in children if set(words) <= set(one.cmdline()))


def _figures(service: Running, seen: Seen, samples: dict[str, list[Sample]], minutes: float) -> list[Figure]:
    with sqlite3.connect(f"file:{service.home / 'tailorbird.db'}?mode=ro", uri=True) as records:
        kept = dict(records.execute("select id, status from completions"))
        recorded = dict(records.execute("select id, adapter from completions"))
        rated = {one for (one,) in records.execute("select id from feedback")}
    lost = sum(kept.get(one) != "complete" for one in seen.completions) + len(seen.feedback - rated)
    wrong = sum(recorded.get(one, named) != named for one, named in seen.adapters.items())
    running = sum(status == "running" for status in kept.values())
    told = [(adapter, answer) for adapter, answer in seen.told if adapter in seen.known]
    mixed = sum(seen.known[adapter] != answer for adapter, answer in told)
    alike = len(seen.known) - len(set(seen.known.values()))
    engine_busy = asyncio.run(_under_way(service))
    failed = sum(seen.failures.values())
    why = "; ".join(f"{count} x {what}" for what, count in seen.failures.most_common(3))
    found = [
        _one(f"confirmed answers and ratings that are not in the records, after {minutes:g} minutes", lost,
             f"of {len(seen.completions)} answers and {len(seen.feedback)} ratings"),
        _one("answers recorded under another adapter than their header named", wrong, f"of {len(seen.adapters)}"),
        _one("failures", failed, why or f"{seen.left} streams left by their readers, {seen.published} adapters "
             f"published, {seen.moves} moves of what is live"),
        _one("answers to a known question by another adapter than the header named", mixed,
             f"of {len(told)}, by {len(seen.known)} adapters"),
        _one("adapters that answer it as another does, so that a mixed answer could not be told", alike, ""),
        _one("records still open when all is quiet", running, ""),
        _one("answers that the engine still works on when all is quiet", engine_busy, ""),
    ]  # fmt: skip
    for name, looks in samples.items():
        found += _growth(name, looks)
    return found


async def _under_way(service: Running) -> int:
    """Requests that the engine works on or keeps waiting, by its own count."""
    engine = Engine(f"unix:{server.socket_path(service.home)}")
    try:
        figures = await engine.figures()
    finally:
        await engine.close()
    return int(figures["vllm:num_requests_running"] + figures["vllm:num_requests_waiting"])


def _growth(name: str, looks: list[Sample]) -> list[Figure]:
    """The last fifth of the time beside the second one; the first fifth warms up."""
    fifth = len(looks) // 5
    early, late = looks[fifth : 2 * fifth], looks[-fifth:]

    def middle(part: list[Sample], what: str) -> float:
        return statistics.median(getattr(look, what) for look in part)

    memory = middle(late, "megabytes") / middle(early, "megabytes")
    descriptors = middle(late, "descriptors") - middle(early, "descriptors")
    detail = f"{middle(early, 'megabytes'):.0f} to {middle(late, 'megabytes'):.0f} MB"
    held = f"{middle(early, 'descriptors'):.0f} to {middle(late, 'descriptors'):.0f}"
    return [
        Figure("soak", f"memory of the {name}, last fifth / second fifth", memory, memory, memory, len(looks),
               at_most=1.05, detail=detail),
        Figure("soak", f"descriptors of the {name}, last fifth - second fifth", descriptors, descriptors,
               descriptors, len(looks), at_most=2, detail=held),
        of_rounds("soak", f"processor time of the {name}", [looks[-1].processor - looks[0].processor], unit="s"),
    ]  # fmt: skip


def _one(what: str, value: int, detail: str) -> Figure:
    return Figure("soak", what, value, value, value, 1, at_most=0, detail=detail)
