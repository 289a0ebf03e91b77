"""The screens on a real port, in front of a real gateway, whose engine is a double."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from tests.gateway import Gateway, running_gateway
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
        """The session of a new person, called `name`, or `name 2` when there is one."""
        name = self.gateway.free_name(name)
        user = (
            self.gateway.admin.post("/api/users", json={"name": name, "role": role}).raise_for_status().json()
        )
        answer = httpx.post(f"{self.gateway.url}/api/session", json={"link": self.link_of(user["id"])})
        return answer.raise_for_status().json()["token"]

    def link_of(self, user_id: str) -> str:
        return self.gateway.admin.post(f"/api/users/{user_id}/link").raise_for_status().json()["link"]


@contextmanager
def running_screens(home: Path, schema: Path, **more: Any) -> Iterator[Screens]:
    """Of a gateway with `more` settings."""
    port = free_port()
    with running_gateway(home, schema, ui_port=port, **more) as gateway:
        app = create_app(Settings(port=port, api_url=gateway.url))
        with serving(app, port) as url:
            yield Screens(url, gateway, app)
