"""An engine is ready only with all its adapters, and one bad adapter spoils nothing else."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from service.contract.fingerprint import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from service.engine import client
from service.engine.client import Engine
from service.engine.engines import Engines
from service.engine.reconciler import Reconciler
from service.errors import BadInput, EngineError, EngineUnavailable
from tests.service.engine.double import BASE, double_engine


def _folder(place: Path, name: str) -> str:
    """Where an adapter lies, with what tells that it is there."""
    folder = place / "adapters" / name
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        (folder / name).write_text("{}")
    return str(folder)


def _wants(place: Path, *names: str):
    folders = {name: _folder(place, name) for name in names}

    async def desired() -> dict[str, str]:
        return folders

    return desired


async def test_an_engine_becomes_ready_after_everything_missing_is_loaded(tmp_path: Path):
    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        await Reconciler(Engines([engine]), _wants(tmp_path, "a", "b")).look(engine)
        assert engine.ready
        assert double.loaded == {"a": _folder(tmp_path, "a"), "b": _folder(tmp_path, "b")}
        assert engine.models == {BASE, "a", "b"}
        await engine.close()


async def test_a_bad_adapter_is_named_and_left_out_and_the_others_are_served(tmp_path: Path):
    async with double_engine(tmp_path) as double:
        double.refuses = {"bad"}
        engine = Engine(double.url)
        engines = Engines([engine])
        reconciler = Reconciler(engines, _wants(tmp_path, "bad", "good"))
        await reconciler.look(engine)
        assert engines.pick("good") is engine
        with pytest.raises(EngineUnavailable):
            engines.pick("bad")
        assert "rank 64" in reconciler.problems["bad"]
        assert reconciler.causes == {"bad": "engine_error"}
        loads = double.loads
        await reconciler.look(engine)
        assert double.loads == loads, "a refused adapter is not tried again at every look"
        await engine.close()


async def test_an_engine_that_dies_is_not_ready_and_gets_everything_again_when_it_is_back(tmp_path: Path):
    engine = Engine(f"unix:{tmp_path}/engine.sock")
    reconciler = Reconciler(Engines([engine]), _wants(tmp_path, "a"))
    async with double_engine(tmp_path):
        await reconciler.look(engine)
        assert engine.ready
    await reconciler.look(engine)
    assert not engine.ready
    assert engine.models == set()
    async with double_engine(tmp_path) as again:
        await reconciler.look(engine)
        assert again.loaded == {"a": _folder(tmp_path, "a")}
        assert engine.ready
    await engine.close()


@pytest.mark.parametrize("how", ["gone", "core dead"])
async def test_an_engine_that_dies_between_two_looks_is_missed_before_the_next(tmp_path: Path, how: str):
    engine, looks = Engine(f"unix:{tmp_path}/engine.sock"), 0

    async def desired() -> dict[str, str]:
        nonlocal looks
        looks += 1
        return {}

    async def until(ready: bool) -> None:
        async with asyncio.timeout(10):
            while engine.ready != ready:  # noqa: ASYNC110 - a plain attribute
                await asyncio.sleep(0.01)

    running = asyncio.create_task(Reconciler(Engines([engine]), desired, interval=1.5).run())
    async with double_engine(tmp_path) as double:
        await until(True)
        double.healthy = how == "gone"
        if how == "core dead":
            await until(False)
    await until(False)
    assert looks == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await engine.close()


async def test_an_engine_whose_core_is_dead_is_not_ready(tmp_path: Path):
    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        reconciler = Reconciler(Engines([engine]), _wants(tmp_path))
        await reconciler.look(engine)
        double.healthy = False
        await reconciler.look(engine)
        assert not engine.ready
        await engine.close()


async def test_without_the_list_of_adapters_a_new_engine_waits_and_an_old_one_goes_on(tmp_path: Path):
    async def broken() -> dict[str, str]:
        raise OSError("database is locked")

    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        engines = Engines([engine])
        await Reconciler(engines, broken).look(engine)
        assert not engine.ready
        await Reconciler(engines, _wants(tmp_path)).look(engine)
        await Reconciler(engines, broken).look(engine)
        assert engine.ready
        await engine.close()


async def test_ensure_loads_now_on_every_engine_that_is_up(tmp_path: Path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    down = Engine(f"unix:{tmp_path}/none.sock")
    async with double_engine(tmp_path / "one") as one, double_engine(tmp_path / "two") as two:
        up = [Engine(one.url), Engine(two.url)]
        reconciler = Reconciler(Engines([*up, down]), _wants(tmp_path))
        await reconciler.ensure("a", _folder(tmp_path, "a"))
        assert one.loaded == two.loaded == {"a": _folder(tmp_path, "a")}
        two.refuses = {"b"}
        with pytest.raises(EngineError, match="rank 64"):
            await reconciler.ensure("b", _folder(tmp_path, "b"))
        for engine in [*up, down]:
            await engine.close()


async def test_ensure_is_refused_when_no_engine_is_up(tmp_path: Path):
    engine = Engine(f"unix:{tmp_path}/none.sock")
    with pytest.raises(EngineUnavailable, match="No engine is running"):
        await Reconciler(Engines([engine]), _wants(tmp_path)).ensure("a", _folder(tmp_path, "a"))
    await engine.close()


async def test_an_adapter_that_is_gone_is_forgotten_once_and_one_loaded_again_is_left_alone(tmp_path: Path):
    async def gone() -> set[str]:
        return {"old", "never"}

    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        reconciler = Reconciler(Engines([engine]), _wants(tmp_path, "a"), gone)
        await engine.load("old", _folder(tmp_path, "old"))
        await engine.load("own", _folder(tmp_path, "own"))
        await reconciler.look(engine)
        assert set(double.loaded) == {"a", "own"}, "what nobody spoke of stays: it may be under proof"
        assert engine.models == {BASE, "a", "own"}
        await engine.load("old", _folder(tmp_path, "old"))
        await reconciler.look(engine)
        assert "old" in double.loaded, "whoever loads it again has a reason to"
        await engine.close()


async def test_a_new_engine_is_warmed_up_once_before_it_is_ready(tmp_path: Path):
    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        reconciler = Reconciler(Engines([engine]), _wants(tmp_path), base=BASE)
        await reconciler.look(engine)
        await reconciler.look(engine)
        assert engine.ready
        assert [body["model"] for body in double.warmed] == [BASE]
        assert double.warmed[0]["prompt_logprobs"] == 0
        await engine.close()


async def test_an_engine_that_cannot_be_warmed_up_is_ready_all_the_same(tmp_path: Path):
    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        await Reconciler(Engines([engine]), _wants(tmp_path), base="another").look(engine)
        assert engine.ready
        await engine.close()


@pytest.mark.parametrize("name", [ADAPTER_CONFIG, ADAPTER_WEIGHTS])
@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_bytes(b"")])
async def test_an_adapter_whose_files_vanish_is_refused_and_served_again_when_they_are_back(
    tmp_path: Path, name: str, harm: Callable[[Path], object]
):
    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        engines = Engines([engine])
        reconciler = Reconciler(engines, _wants(tmp_path, "a", "b"))
        await reconciler.look(engine)
        file = Path(_folder(tmp_path, "a")) / name
        harm(file)
        await reconciler.look(engine)
        assert engines.pick("b") is engine
        with pytest.raises(EngineUnavailable):
            engines.pick("a")
        with pytest.raises(EngineError, match="files are gone"):
            await reconciler.ensure("a", str(file.parent))
        assert "files are gone" in reconciler.problems["a"]
        _folder(tmp_path, "a")
        await reconciler.look(engine)
        assert engines.pick("a") is engine
        assert reconciler.problems == {}
        await engine.close()


async def test_an_engine_that_hung_gets_nothing_until_it_answers_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client, "AGAIN", 0.05)
    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        engines = Engines([engine])
        reconciler = Reconciler(engines, _wants(tmp_path), base=BASE)
        await reconciler.look(engine)
        engine.hung = double.stuck = True
        assert not engines.ready
        for _ in range(2):
            await reconciler.look(engine)
            assert not engine.ready, "though its /health says that all is well"
        double.stuck = False
        await reconciler.look(engine)
        assert engine.ready
        assert not engine.hung
        await engine.close()


async def test_an_adapter_that_does_not_fit_is_not_asked_for_though_an_engine_has_it(tmp_path: Path):
    def check(path: str) -> None:
        if path.endswith("foreign"):
            raise BadInput("made for another base model")

    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        reconciler = Reconciler(Engines([engine]), _wants(tmp_path, "foreign", "own"), check=check)
        await engine.load("foreign", _folder(tmp_path, "foreign"))
        await reconciler.look(engine)
        assert engine.models == {BASE, "own"}
        assert reconciler.problems == {"foreign": "made for another base model"}
        with pytest.raises(BadInput):
            await reconciler.ensure("foreign", _folder(tmp_path, "foreign"))
        assert set(double.loaded) == {"foreign", "own"}
        await engine.close()


async def test_an_adapter_is_forgotten_only_when_no_answer_is_being_given_with_it(tmp_path: Path):
    async def gone() -> set[str]:
        return {"old"}

    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        reconciler = Reconciler(Engines([engine]), _wants(tmp_path), gone)
        await engine.load("old", _folder(tmp_path, "old"))
        body = {"model": "old", "messages": [{"role": "user", "content": "long"}]}
        async with aclosing(engine.stream(body)) as stream:
            await anext(stream)
            await reconciler.look(engine)
            assert "old" in double.loaded
        await reconciler.look(engine)
        assert "old" not in double.loaded
        await engine.close()
