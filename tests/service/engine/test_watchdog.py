"""An engine that lives and does nothing is killed; one that starts, is busy or is gone is left alone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.engine.client import Engine
from service.engine.watchdog import Watchdog
from tests.service.engine.double import BASE, Double, double_engine

pytestmark = pytest.mark.heavy  # looks that are waited for


@pytest.fixture
async def double(tmp_path: Path) -> AsyncIterator[Double]:
    async with double_engine(tmp_path) as engine:
        yield engine


class Watched:
    """A watchdog at work on a double, and what it has killed."""

    def __init__(self, double: Double) -> None:
        self.life = 1
        self.killed: list[int] = []
        self.watchdog = Watchdog(
            Engine(double.url), BASE, lambda: self.life, self.kill, interval=0.02, patience=0.3
        )

    def kill(self) -> None:
        self.killed.append(self.life)

    async def for_seconds(self, seconds: float) -> list[int]:
        task = asyncio.create_task(self.watchdog.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return self.killed


async def test_an_engine_that_answers_a_token_is_left_alone(double: Double):
    assert await Watched(double).for_seconds(1.0) == []


async def test_an_engine_that_was_up_and_hangs_is_killed(double: Double):
    double.stuck = True
    watched = Watched(double)
    task = asyncio.create_task(watched.watchdog.run())
    async with asyncio.timeout(20):
        while not watched.killed:  # noqa: ASYNC110 - other parts set no event of ours
            await asyncio.sleep(0.02)
    task.cancel()
    assert set(watched.killed) == {1}


async def test_an_engine_too_busy_to_answer_but_still_stepping_is_left_alone(double: Double):
    double.stuck = True

    async def work() -> None:
        while True:
            double.steps += 1
            await asyncio.sleep(0.05)

    busy = asyncio.create_task(work())
    assert await Watched(double).for_seconds(1.0) == []
    busy.cancel()


async def test_an_engine_that_is_still_starting_is_not_judged(double: Double):
    double.stuck, double.healthy = True, False
    assert await Watched(double).for_seconds(0.8) == []


async def test_an_engine_that_is_gone_is_the_supervisors_to_start(tmp_path: Path):
    async with double_engine(tmp_path) as double:
        watched = Watched(double)
        assert await watched.for_seconds(0.2) == []
    assert await watched.for_seconds(0.8) == []
