"""`make bench`: what the gateway costs, beside the engine itself, in one run, interleaved, with spread.

Starts a service of its own. Prints ratios (gateway / straight): the machine's own speed cancels out.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import orjson

from service.engine import server
from service.settings import EMBEDDED
from tests.running import Running, running_service

ROUNDS = 5
TOKENS = 48


async def measure(running: Running) -> None:
    straight = aiohttp.UnixConnector(path=str(server.socket_path(running.home)))
    headers = {"authorization": f"Bearer {running.admin_key}"}
    async with (
        aiohttp.ClientSession(connector=straight) as engine,
        aiohttp.ClientSession(headers=headers) as gateway,
    ):
        ways: dict[str, Callable[[int], asyncio.Future]] = {
            "straight": lambda n: one_round(engine, "http://engine", n),
            "gateway": lambda n: one_round(gateway, running.api_url, n),
        }
        for at_once in (1, 8):
            figures: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for number in range(-1, ROUNDS):
                order = list(ways) if number % 2 else list(reversed(ways))
                for name in order:
                    result = await ways[name](at_once)
                    if number >= 0:  # the first round warms up
                        figures[name].append(result)
            report(at_once, figures)


async def one_round(session: aiohttp.ClientSession, base: str, at_once: int) -> tuple[float, float]:
    """Median seconds to the first token, and tokens a second of all streams together."""
    began = time.perf_counter()
    firsts = await asyncio.gather(*(one_stream(session, base, number) for number in range(at_once)))
    return statistics.median(firsts), at_once * TOKENS / (time.perf_counter() - began)


async def one_stream(session: aiohttp.ClientSession, base: str, number: int) -> float:
    body = {
        "model": EMBEDDED, "stream": True, "temperature": 0, "max_tokens": TOKENS, "min_tokens": TOKENS,
        "messages": [{"role": "user", "content": f"Tell story number {number} of the sea at {time.time()}."}],
    }  # fmt: skip
    began, first = time.perf_counter(), None
    async with session.post(f"{base}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if first is None and line.startswith(b"data: {"):
                choices = orjson.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    first = time.perf_counter() - began
    assert first is not None
    return first


def report(at_once: int, figures: dict[str, list[tuple[float, float]]]) -> None:
    pairs = list(zip(figures["gateway"], figures["straight"], strict=True))
    for index, name in ((0, "time to first token"), (1, "tokens a second")):
        ratios = sorted(through[index] / direct[index] for through, direct in pairs)
        print(
            f"{name:<20} {at_once} at once: gateway / straight = {statistics.median(ratios):.3f} "
            f"(from {ratios[0]:.3f} to {ratios[-1]:.3f}, {len(ratios)} rounds)",
            flush=True,
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, running_service(Path(place)) as service:
        asyncio.run(measure(service))
