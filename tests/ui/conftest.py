"""The screens in front of a real gateway, whose engine is a double."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service import first_start
from service.app import create_app as create_gateway
from service.settings import Settings as ServiceSettings
from tests.conftest import Gateway
from tests.fake_engine import create_fake_engine
from tests.serving import free_port, serving
from ui.app import create_app
from ui.sessions import COOKIE
from ui.settings import Settings


@dataclass
class Screens:
    url: str
    gateway: Gateway
    app: FastAPI

    def browser(self, token: str | None = None, **headers: str) -> httpx.Client:
        """A client that behaves as a browser signed in with `token` does, without following redirects."""
        cookies = {COOKIE: token} if token else {}
        return httpx.Client(base_url=self.url, cookies=cookies, headers=headers, timeout=30)

    def token_of(self, name: str, role: str) -> str:
        """The session of a new person."""
        user = (
            self.gateway.admin.post("/api/users", json={"name": name, "role": role}).raise_for_status().json()
        )
        answer = httpx.post(f"{self.gateway.url}/api/session", json={"link": self.link_of(user["id"])})
        return answer.raise_for_status().json()["token"]

    def link_of(self, user_id: str) -> str:
        return self.gateway.admin.post(f"/api/users/{user_id}/link").raise_for_status().json()["link"]


@pytest.fixture(scope="session")
def screens(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> Iterator[Screens]:
    """One for the whole room: building Gradio's applications takes seconds."""
    home, port = tmp_path_factory.mktemp("screens"), free_port()
    shutil.copy(schema, home)
    settings = ServiceSettings(home=home, api_port=free_port(), ui_port=port, needed_pairs=2, min_examples=3)
    asyncio.run(first_start.prepare(settings))
    fake = create_fake_engine()
    with ExitStack() as stack:
        engine = stack.enter_context(serving(fake))
        api = stack.enter_context(serving(create_gateway(settings, [engine]), settings.api_port))
        app = create_app(Settings(port=port, api_url=api))
        url = stack.enter_context(serving(app, port))
        headers = {"authorization": f"Bearer {(home / 'admin.key').read_text().strip()}"}
        with httpx.Client(base_url=api, headers=headers, timeout=30) as admin:
            yield Screens(url, Gateway(api, settings, fake.state.bodies, admin), app)
