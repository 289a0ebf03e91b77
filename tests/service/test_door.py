"""Who calls is asked before a body is read, and a body that grows too long is refused where it stands."""

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.exceptions import HTTPException

from service import door
from tests.gateway import Gateway


def answer_to(gateway: Gateway, head: str, body: bytes = b"") -> bytes:
    """What comes back on a bare connection, though the body that `head` announces never comes whole."""
    address = urlsplit(gateway.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as line:
        line.sendall(f"{head}\r\nhost: gateway\r\n\r\n".encode() + body)
        return line.recv(65536)


def test_a_stranger_is_refused_before_the_file_comes(gateway: Gateway):
    form = "content-type: multipart/form-data; boundary=x\r\ncontent-length: 400000000"
    assert answer_to(gateway, f"POST /v1/files HTTP/1.1\r\n{form}").startswith(b"HTTP/1.1 401")


def test_a_wrong_key_is_refused_before_the_body_comes(gateway: Gateway):
    head = "POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer tb-wrong\r\ncontent-length: 1000"
    assert answer_to(gateway, head).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
def test_a_body_that_is_announced_too_long_is_refused_at_once(gateway: Gateway, path: str):
    form = "multipart/form-data; boundary=x" if path == "/v1/files" else "application/json"
    head = f"authorization: Bearer {gateway.key}\r\ncontent-type: {form}\r\ncontent-length: {10**11}"
    assert answer_to(gateway, f"POST {path} HTTP/1.1\r\n{head}").startswith(b"HTTP/1.1 413")


def test_a_form_is_let_in_as_a_file_only_where_a_file_is_taken(gateway: Gateway):
    """Elsewhere it would be held in memory, half a gigabyte for each request."""
    spec = httpx.get(f"{gateway.url}/openapi.json").json()
    taking = {
        path for path, methods in spec["paths"].items() for one in methods.values()
        if "multipart/form-data" in one.get("requestBody", {}).get("content", {})
    }  # fmt: skip
    assert taking == {path for path in spec["paths"] if door.FILES.fullmatch(path)}
    form = f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {door.JSON + 1}"
    head = f"authorization: Bearer {gateway.key}\r\n{form}"
    for path in ("/v1/chat/completions", "/v1/uploads", "/api/imports/import_1/start"):
        assert answer_to(gateway, f"POST {path} HTTP/1.1\r\n{head}").startswith(b"HTTP/1.1 413"), path


def test_a_body_that_does_not_say_its_length_is_cut_at_the_limit(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(door, "JSON", 1000)

    def endless() -> Iterator[bytes]:
        yield b'{"model": "fanal", "messages": [{"role": "user", "content": "'
        for _ in range(100):
            yield b"x" * 1000

    refused = gateway.admin.post(
        "/v1/chat/completions", content=endless(), headers={"content-type": "application/json"}
    )
    assert refused.status_code == 413
    assert "Send less at once" in refused.json()["error"]["message"]


def test_a_stranger_who_asks_with_a_method_that_has_no_body_is_answered_without_reading_one(gateway: Gateway):
    head = "GET /healthz HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: "
    assert answer_to(gateway, f"{head}1000").startswith(b"HTTP/1.1 200"), "before the body came"
    assert answer_to(gateway, f"{head}{door.STRANGERS + 1}").startswith(b"HTTP/1.1 413")


async def test_a_body_that_such_a_method_brings_is_counted_all_the_same():
    came = 0

    async def reads_all(_: Any, receive: Any, __: Any) -> None:
        while came <= 2 * door.STRANGERS:
            await receive()

    async def receive() -> dict[str, Any]:
        nonlocal came
        came += 1000
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": []}
    with pytest.raises(HTTPException, match="Send less at once"):
        await door.Door(reads_all)(scope, receive, receive)
    assert came <= door.STRANGERS + 1000


def test_a_session_is_opened_without_a_key_and_with_little(gateway: Gateway):
    link = httpx.post(f"{gateway.url}/api/session", json={"link": "tb-nothing"})
    assert (link.status_code, link.json()["error"]["code"]) == (401, "invalid_api_key")
    large = httpx.post(f"{gateway.url}/api/session", json={"link": "x" * (door.STRANGERS + 1)})
    assert large.status_code == 413
