"""Whose adapter goes next, step by step."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from service.engine import turns
from service.engine.turns import Turns


class Crowd:
    """Requests by name, let in or waiting."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.stacks: dict[str, AsyncExitStack] = {}
        self.tasks: dict[str, asyncio.Task] = {}

    async def ask(self, name: str, adapter: str) -> bool:
        """Whether it was let in at once."""
        self.stacks[name] = AsyncExitStack()
        self.tasks[name] = asyncio.create_task(
            self.stacks[name].enter_async_context(self.turns.taken(adapter))
        )
        return await self.is_in(name)

    async def is_in(self, name: str) -> bool:
        for _ in range(5):
            await asyncio.sleep(0)
        return self.tasks[name].done()

    async def end(self, name: str) -> None:
        await self.stacks[name].aclose()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(turns, "monotonic", lambda: now[0])
    return now


async def test_any_number_of_requests_share_an_adapters_place_and_one_more_adapter_waits_for_one():
    crowd = Crowd(2)
    assert [await crowd.ask(f"a{n}", "a") for n in range(3)] == [True] * 3
    assert await crowd.ask("b", "b")
    assert not await crowd.ask("c", "c")
    await crowd.end("a0")
    await crowd.end("a1")
    assert not await crowd.is_in("c")
    await crowd.end("a2")
    assert await crowd.is_in("c")


async def test_an_adapter_at_work_goes_past_who_waits_until_that_has_waited_too_long(clock: list[float]):
    crowd = Crowd(1)
    assert await crowd.ask("hot", "hot")
    assert not await crowd.ask("cold", "cold")
    assert await crowd.ask("hot again", "hot")
    clock[0] += turns.PATIENCE + 0.1
    assert not await crowd.ask("hot once more", "hot")
    await crowd.end("hot")
    assert not await crowd.is_in("cold")
    await crowd.end("hot again")
    assert await crowd.is_in("cold")
    assert not await crowd.is_in("hot once more")
    await crowd.end("cold")
    assert await crowd.is_in("hot once more")


async def test_those_who_wait_are_let_in_in_the_order_they_came():
    crowd = Crowd(1)
    assert await crowd.ask("first", "a")
    for name in ("b", "c"):
        assert not await crowd.ask(name, name)
    await crowd.end("first")
    assert (await crowd.is_in("b"), await crowd.is_in("c")) == (True, False)
    await crowd.end("b")
    assert await crowd.is_in("c")


async def test_who_goes_away_while_waiting_holds_up_nobody(clock: list[float]):
    crowd = Crowd(1)
    assert await crowd.ask("a", "a")
    assert not await crowd.ask("b", "b")
    clock[0] += turns.PATIENCE + 0.1
    assert not await crowd.ask("a again", "a")
    crowd.tasks["b"].cancel()
    assert await crowd.is_in("a again")
    await crowd.end("a")
    await crowd.end("a again")
    assert await crowd.ask("c", "c")
