"""What every room's tests share: a gateway over a double of the engine, and, for the heavy ones, the whole service."""

import asyncio
import re
import shutil
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service import first_start
from service.app import create_app
from service.db.session import migrate
from service.settings import Settings
from tests.fake_engine import create_fake_engine
from tests.running import Running, running_service
from tests.serving import free_port, serving

WHOLLY_HEAVY = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.heavy\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A module of heavy tests alone is not even imported when they are left out: it brings torch along."""
    if config.option.markexpr == "not heavy" and collection_path.suffix == ".py":
        return bool(WHOLLY_HEAVY.search(collection_path.read_text())) or None
    return None


@pytest.fixture(scope="session", autouse=True)
def plain_http() -> Iterator[None]:
    """No test speaks TLS; reading the authorities' certificates would be most of the price of a client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
        yield


@dataclass
class Gateway:
    """A running gateway with a double behind it."""

    url: str
    settings: Settings
    engine_bodies: list
    admin: httpx.Client

    def client_of(self, name: str, role: str = "user") -> httpx.Client:
        """A client with the API key of a new user of this role."""
        user = self.admin.post("/api/users", json={"name": name, "role": role}).raise_for_status().json()
        link = self.admin.post(f"/api/users/{user['id']}/link").raise_for_status().json()["link"]
        token = httpx.post(f"{self.url}/api/session", json={"link": link}).raise_for_status().json()["token"]
        headers = {"authorization": f"Bearer {token}"}
        key = httpx.post(f"{self.url}/api/keys", json={"name": "test"}, headers=headers).json()["secret"]
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {key}"})

    @property
    def key(self) -> str:
        return (self.settings.home / "admin.key").read_text().strip()


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with every migration applied, to be copied."""
    path = tmp_path_factory.mktemp("schema") / "tailorbird.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> Iterator[Gateway]:
    """One for each test module: fast, and no module sees another's records."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(schema, home)
    settings = Settings(home=home, api_port=free_port(), needed_pairs=2, min_examples=3)
    asyncio.run(first_start.prepare(settings))
    fake = create_fake_engine()
    with serving(fake) as engine_url, serving(create_app(settings, [engine_url]), settings.api_port) as url:
        headers = {"authorization": f"Bearer {(home / 'admin.key').read_text().strip()}"}
        with httpx.Client(base_url=url, headers=headers, timeout=30) as admin:
            for _ in range(100):
                if admin.get("/readyz").status_code == 200:
                    break
            yield Gateway(url, settings, fake.state.bodies, admin)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The whole service, as `tailorbird run` starts it: real engine, worker, screens. One for all heavy tests."""
    home: Path = tmp_path_factory.mktemp("service")
    with running_service(home) as running:
        yield running
