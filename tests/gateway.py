"""The real gateway on a real port, over a double of the engine."""

import asyncio
import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from service import first_start
from service.app import create_app
from service.settings import Settings
from tests.fake_engine import create_fake_engine
from tests.serving import free_port, serving

PATIENCE = 30.0
"""Seconds that a client waits: the machine may be busy with other tests."""


@dataclass
class Gateway:
    """A running gateway with a double behind it."""

    url: str
    settings: Settings
    engine_bodies: list
    admin: httpx.Client
    engine_headers: list
    engine: Any
    """The state of the double."""
    app: FastAPI

    def client_of(self, name: str, role: str = "user") -> httpx.Client:
        """A client with the API key of a new user of this role, called `name`, or `name 2` when there is one."""
        name = self.free_name(name)
        user = self.admin.post("/api/users", json={"name": name, "role": role}).raise_for_status().json()
        link = self.admin.post(f"/api/users/{user['id']}/link").raise_for_status().json()["link"]
        with httpx.Client(base_url=self.url, timeout=PATIENCE) as anybody:
            token = anybody.post("/api/session", json={"link": link}).raise_for_status().json()["token"]
            headers = {"authorization": f"Bearer {token}"}
            key = anybody.post("/api/keys", json={"name": "test"}, headers=headers).json()["secret"]
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE)

    def free_name(self, name: str) -> str:
        """`name`, or `name 2` and so on where there is one."""
        known = {user["name"] for user in self.admin.get("/api/users").json()["data"]}
        names = (f"{name} {n}" if n > 1 else name for n in itertools.count(1))
        return next(free for free in names if free not in known)

    @property
    def key(self) -> str:
        return (self.settings.home / "admin.key").read_text().strip()


@contextmanager
def running_gateway(home: Path, schema: Path, **more: Any) -> Iterator[Gateway]:
    """One that keeps its things in `home`, with a copy of the migrated database at `schema` and `more` settings."""
    shutil.copy(schema, home)
    settings = Settings(home=home, api_port=free_port(), needed_pairs=2, min_examples=3, **more)
    asyncio.run(first_start.prepare(settings))
    fake = create_fake_engine()
    with (
        serving(fake) as engine_url,
        serving(app := create_app(settings, [engine_url]), settings.api_port) as url,
    ):
        headers = {"authorization": f"Bearer {(home / 'admin.key').read_text().strip()}"}
        with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE) as admin:
            for _ in range(100):
                if admin.get("/readyz").status_code == 200:
                    break
            yield Gateway(url, settings, fake.state.bodies, admin, fake.state.headers, fake.state, app)
