"""An application that hears of what ended: a real server that keeps what was posted to it."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.serving import serving

SAID = b"what the receiver says stays with the receiver"


@dataclass
class Receiver:
    """Answers with the `statuses` it was given, one after the other, then with 200; never while it hangs."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    hangs: bool = False
    came: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    """Path, body and headers of each request."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.came.append((scope["path"], body, headers))
        while self.hangs:  # noqa: ASYNC110 - it is set in the test's own thread
            await asyncio.sleep(0.02)
        status = self.statuses.pop(0) if self.statuses else 200
        elsewhere = [(b"location", b"/elsewhere")] if 300 <= status < 400 else []
        await send({"type": "http.response.start", "status": status, "headers": elsewhere})
        await send({"type": "http.response.body", "body": SAID})

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, _, headers in self.came]

    @property
    def subjects(self) -> list[str]:
        return [json.loads(body)["data"]["id"] for _, body, _ in self.came]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    with serving(receiver) as url:
        receiver.url = f"{url}/hook?for=us"
        yield receiver
        receiver.hangs = False
