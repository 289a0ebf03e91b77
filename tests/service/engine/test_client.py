"""The client's wire: streams, cuts, and every failure as one of our errors."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from service.engine.client import Engine
from service.engine.engines import Engines
from service.errors import EngineError, EngineTimeout, EngineUnavailable, TailorbirdError, TooMany
from tests.service.engine.double import BASE, double_engine


def _ask(word: str) -> dict:
    return {"model": BASE, "messages": [{"role": "user", "content": word}]}


@contextlib.asynccontextmanager
async def _pair(folder: Path, **timeouts: float):
    async with double_engine(folder) as double:
        engine = Engine(double.url, **timeouts)
        try:
            yield double, engine
        finally:
            await engine.close()


async def _read(engine: Engine, word: str, into: list[bytes]) -> None:
    async for together in engine.stream(_ask(word)):
        into.extend(together)


async def test_a_stream_yields_each_event_to_done(tmp_path: Path):
    async with _pair(tmp_path) as (_, engine):
        seen = [event async for together in engine.stream(_ask("hello")) for event in together]
    assert seen == [b'{"n": 1}', b'{"n": 2}', b"[DONE]"]


async def test_closing_a_stream_closes_the_connection_to_the_engine(tmp_path: Path):
    async with _pair(tmp_path) as (double, engine):
        async with contextlib.aclosing(engine.stream(_ask("long"))) as stream:
            async for _ in stream:
                assert engine.in_flight == 1
                break
        async with asyncio.timeout(5):
            await double.cut.wait()
        assert engine.in_flight == 0


async def test_cancelling_whoever_reads_a_stream_closes_the_connection(tmp_path: Path):
    async with _pair(tmp_path) as (double, engine):
        task = asyncio.create_task(_read(engine, "long", []))
        await asyncio.sleep(0.1)
        task.cancel()
        async with asyncio.timeout(5):
            await double.cut.wait()


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("full", TooMany),
        ("dead", EngineUnavailable),
        ("break", EngineUnavailable),
        ("short", EngineUnavailable),
        ("error", EngineError),
    ],
)
async def test_a_failure_in_a_stream_is_raised_and_never_looks_like_an_end(
    tmp_path: Path, word: str, error: type[TailorbirdError]
):
    seen: list[bytes] = []
    async with _pair(tmp_path) as (_, engine):
        with pytest.raises(error):
            await _read(engine, word, seen)
    assert b"[DONE]" not in seen


async def test_a_silent_engine_is_given_up_after_the_time_limit(tmp_path: Path):
    async with _pair(tmp_path, stream_timeout=0.2, answer_timeout=0.2) as (_, engine):
        with pytest.raises(EngineTimeout):
            await engine.chat(_ask("hang"))
        with pytest.raises(EngineTimeout):
            await _read(engine, "hang", [])


@pytest.mark.heavy
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_is_given_up_when_the_engine_makes_no_step_and_waited_for_while_it_does(
    tmp_path: Path, streamed: bool
):
    async with _pair(tmp_path, stream_timeout=0.4) as (double, engine):

        def ask() -> asyncio.Task[object]:
            return asyncio.ensure_future(_read(engine, "hang", []) if streamed else engine.chat(_ask("hang")))

        began = time.monotonic()
        with pytest.raises(EngineTimeout):
            await ask()
        assert 0.4 <= time.monotonic() - began < 5
        assert engine.in_flight == 0
        assert engine.hung
        asking = ask()
        for _ in range(30):
            double.steps += 1
            await asyncio.sleep(0.05)
        assert not asking.done(), "long, but not hung"
        with pytest.raises(EngineTimeout):
            await asyncio.wait_for(asking, 5)


async def test_a_stream_that_falls_silent_is_given_up(tmp_path: Path):
    async with _pair(tmp_path, stream_timeout=0.2) as (double, engine):
        seen: list[bytes] = []
        with pytest.raises(EngineTimeout):
            await _read(engine, "stall", seen)
        assert len(seen) == 2
        assert not engine.hung, "what it does for others is not known"
        await asyncio.wait_for(double.cut.wait(), 5)


async def test_an_engine_that_is_not_there_is_unavailable(tmp_path: Path):
    engine = Engine(f"unix:{tmp_path}/none.sock")
    assert not await engine.health()
    with pytest.raises(EngineUnavailable):
        await engine.chat(_ask("hello"))
    await engine.close()


async def test_loading_twice_is_a_success_and_a_refusal_says_why(tmp_path: Path):
    async with _pair(tmp_path) as (double, engine):
        await engine.load("a", "/adapters/a")
        await engine.load("a", "/adapters/a")
        assert double.load_fields == {"lora_name", "lora_path"}, "nothing is ever loaded in place of another"
        assert await engine.served() == {BASE, "a"}
        double.refuses = {"b"}
        with pytest.raises(EngineError, match="rank 64 is greater"):
            await engine.load("b", "/adapters/b")


async def test_a_relative_folder_is_never_sent_as_it_would_name_a_repository(tmp_path: Path):
    async with _pair(tmp_path) as (double, engine):
        with pytest.raises(ValueError, match="absolute path"):
            await engine.load("a", "someone/adapter")
        assert double.loads == 0


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="unix:/path or http"):
        Engine("engine.sock")


def _three() -> list[Engine]:
    engines = [Engine(f"http://127.0.0.1:{port}") for port in (1, 2, 3)]
    for engine in engines:
        engine.ready, engine.models = True, {BASE, "a"}
    return engines


def test_an_adapter_stays_on_one_engine_and_only_its_own_moves_when_that_one_goes():
    one, two, three = _three()
    engines = Engines([one, two, three])
    for engine in engines:
        engine.models = {f"adapter-{n}" for n in range(50)}
    before = {f"adapter-{n}": engines.pick(f"adapter-{n}") for n in range(50)}
    assert {engine.url for engine in before.values()} == {one.url, two.url, three.url}
    two.ready = False
    for name, engine in before.items():
        assert engines.pick(name) is engine or engine is two


def test_a_hot_adapter_spills_over_to_the_next_engine():
    engines = Engines(_three())
    first = engines.pick("a")
    first.in_flight = 9
    assert engines.pick("a") is not first


def test_a_request_for_an_adapter_no_ready_engine_has_is_refused():
    engines = Engines(_three())
    with pytest.raises(EngineUnavailable, match="No engine has loaded 'b'"):
        engines.pick("b")
    for engine in engines:
        engine.ready = False
    assert not engines.ready
    with pytest.raises(EngineUnavailable, match="starting or gone"):
        engines.pick("a")
