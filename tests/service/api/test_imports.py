import json
import time
from collections.abc import Iterable
from typing import Any

import httpx

PATIENCE = 60.0


def bring(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return client.post("/api/imports", files={"file": (name, content)})


def jsonl(rows: Iterable[Any]) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def read_in(client: httpx.Client, import_id: str, **plan: Any) -> dict[str, Any]:
    """Start an import and wait for its end."""
    begun = client.post(f"/api/imports/{import_id}/start", json=plan)
    assert begun.status_code == 202, begun.text
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = client.get(f"/api/imports/{import_id}").json()
        if found["status"] != "running":
            return found
        time.sleep(0.05)
    raise AssertionError(f"still running: {found}")


def pairs(count: int) -> list[dict[str, str]]:
    return [
        {"question": f"What is item {n}?", "answer": f"Item {n} is number {n * 7}."} for n in range(count)
    ]
