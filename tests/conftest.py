"""What every room's tests share: a gateway over a double of the engine, and, for the heavy ones, the whole service.

What a fixture needs is imported by the fixture: most tests of the rooms need no service at all.
"""

import asyncio
import gc
import re
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.gateway import Gateway
    from tests.running import Running

ROUNDS = {f"tests/loop/test_{name}.py" for name in ("real_data", "screens", "whole_loop")}
"""Whole rounds of training, minutes each: they have a service of their own where there are several processes."""
TOGETHER = ("rounds", "tests/loop/", "tests/service/engine/")
WHOLLY_HEAVY = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.heavy\b", re.MULTILINE)

gc.disable()  # what is imported stays: see `pytest_collection_finish`


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A module of heavy tests alone is not even imported when they are left out: it brings torch along."""
    if config.option.markexpr == "not heavy" and collection_path.suffix == ".py":
        return bool(WHOLLY_HEAVY.search(collection_path.read_text())) or None
    return None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In several processes (`-n`), what shares a service or engines stays in one of them; everything else is dealt
    out a module at a time, so that a module's fixtures are made once."""
    from xdist.scheduler import LoadScopeScheduling

    class Rooms(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _together(nodeid)

    return Rooms(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, and those with the most heavy tests, so that nobody waits for them at the end."""
    heavy = Counter(_together(item.nodeid) for item in items if item.get_closest_marker("heavy"))

    def when(item: pytest.Item) -> tuple[int, int]:
        part = _together(item.nodeid)
        return (*TOGETHER, part).index(part), -heavy[part]

    items.sort(key=when)


def _together(nodeid: str) -> str:
    """The part of the tests that one process runs by itself."""
    module = nodeid.partition("::")[0]
    if module in ROUNDS:
        return "rounds"
    return next((room for room in TOGETHER if module.startswith(room)), module)


def pytest_collection_finish() -> None:
    """What was imported stays: the collector need not walk through it again and again, a tenth of the quick tests."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def plain_http() -> Iterator[None]:
    """No test speaks TLS; reading the authorities' certificates would be most of the price of a client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
        yield


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with every migration applied, to be copied."""
    from service.db.session import migrate

    path = tmp_path_factory.mktemp("schema") / "tailorbird.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> "Iterator[Gateway]":
    """One for all: to build its routes costs more than most tests. Each test names and counts what it made itself."""
    from tests.gateway import running_gateway

    with running_gateway(tmp_path_factory.mktemp("home"), schema) as running:
        yield running


@pytest.fixture(scope="module")
def own_gateway(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> "Iterator[Gateway]":
    """One for a module that fills it by hand or by chance, or must know all that is in it."""
    from tests.gateway import running_gateway

    with running_gateway(tmp_path_factory.mktemp("own"), schema) as running:
        yield running


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Running]":
    """The whole service, as `tailorbird run` starts it: real engine, worker, screens. One for all heavy tests."""
    from tests.running import running_service

    with running_service(tmp_path_factory.mktemp("service")) as running:
        yield running
