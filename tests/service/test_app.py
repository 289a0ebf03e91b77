"""The life of a request beside its route: a reader who does not read, and a gateway that is told to end."""

import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from service import connection
from tests.gateway import Gateway, running_gateway

WORDS, SIZE = 4_000, 4_000
"""More than every buffer between the engine and a reader holds together, as words of one chunk each."""


@pytest.mark.heavy
def test_a_reader_who_does_not_read_holds_up_the_engine_and_then_loses_the_answer(
    tmp_path: Path, schema: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "READING", 1.0)
    with running_gateway(tmp_path, schema) as gateway:
        with unread(gateway, " ".join(["w" * SIZE] * WORDS)):
            for _ in range(2_000):
                found = kept(gateway)
                if found[0] != "running":
                    break
                assert gateway.admin.get("/v1/models").status_code == 200, "others are served meanwhile"
        assert gateway.admin.get("/api/status").json()["chats_under_way"] == 0
    status, length = found
    assert status == "interrupted"
    assert 0 < length < WORDS * SIZE, "what nobody read was not fetched from the engine"


def unread(gateway: Gateway, question: str) -> socket.socket:
    """A connection that asks for a stream and takes no more of it than fits into a small buffer."""
    body = json.dumps(
        {"model": "fanal", "messages": [{"role": "user", "content": question}], "stream": True}
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {gateway.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    reader.connect(("127.0.0.1", gateway.settings.api_port))
    reader.sendall(head.encode() + body)
    return reader


def kept(gateway: Gateway) -> tuple[str, int]:
    """How the one completion stands, and how long its answer is."""
    with closing(sqlite3.connect(gateway.settings.home / "tailorbird.db")) as database:
        row = database.execute("select status, length(output) from completions").fetchone()
    return row or ("running", 0)
