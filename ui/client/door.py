"""The way to the gateway: the HTTP client, each call in the signed-in person's name, and the reading of refusals.

Knows no route, no screen and no language.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


class Refused(Exception):
    """The gateway said no, or could not be reached (`code` is then `unreachable`, `status` 0)."""

    def __init__(self, status: int, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.line = line
        """Of a file that was refused for it."""


class Door:
    """Calls of the gateway. All methods raise `Refused`."""

    def __init__(self, api_url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        # `trust_env` off: a proxy of the environment must never carry what people say to another machine.
        self.http = httpx.AsyncClient(
            base_url=api_url, transport=transport, trust_env=False,
            timeout=httpx.Timeout(30, connect=5, pool=60),
            # Few at rest: httpx asks the system after each of them before every request.
            limits=httpx.Limits(max_connections=500, max_keepalive_connections=8),
        )  # fmt: skip

    async def close(self) -> None:
        await self.http.aclose()

    async def one(self, model: type[M], token: str | None, method: str, path: str, **more: Any) -> M:
        return model.model_validate((await self.call(token, method, path, **more)).json())

    async def once(self, model: type[M], token: str, path: str, wanted: BaseModel, once: str) -> M:
        """Sent again when no answer came; `once` makes the repeat harmless."""
        more: dict[str, Any] = {
            "json": wanted.model_dump(exclude_none=True), "headers": {"idempotency-key": once}
        }  # fmt: skip
        try:
            return await self.one(model, token, "POST", path, **more)
        except Refused as refused:
            if refused.status != 0:
                raise
        return await self.one(model, token, "POST", path, **more)

    async def list(self, model: type[M], token: str, path: str, **params: Any) -> list[M]:
        answer = await self.call(token, "GET", path, params=params)
        return [model.model_validate(item) for item in answer.json()["data"]]

    async def call(self, token: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = bearer(token) | more.pop("headers", {})
        try:
            response = await self.http.request(method, path, headers=headers, **more)
        except httpx.HTTPError as error:
            raise unreachable(error) from error
        if response.status_code >= 400:
            raise refusal(response.status_code, response.content)
        return response


def bearer(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def part(value: str) -> str:
    """An id as one part of a path: what comes from a browser must not reach another address."""
    return "".join(c for c in value if c.isalnum() or c in "-_.")[:120].strip(".") or "none"


def refusal(status: int, content: bytes) -> Refused:
    try:
        return of_body(status, json.loads(content))
    except (ValueError, TypeError):
        return Refused(
            status, "unknown", f"The service answered with status {status}. Try again in a moment."
        )


def of_body(status: int, body: Any) -> Refused:
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, dict):
        return Refused(
            status, "unknown", f"The service answered with status {status}. Try again in a moment."
        )
    line = error.get("line") if isinstance(error.get("line"), int) else None
    return Refused(status, str(error.get("code") or "unknown"), str(error.get("message") or ""), line)


def unreachable(error: httpx.HTTPError) -> Refused:
    if isinstance(error, httpx.TimeoutException):
        return Refused(0, "timeout", "The service did not answer in time. Try again in a moment.")
    return Refused(0, "unreachable", "The service cannot be reached. Try again in a moment.")
