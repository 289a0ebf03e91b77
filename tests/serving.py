"""Running an ASGI application on a real port, in a thread, for as long as a `with` block lasts."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from service.connection import Connection


def free_port() -> int:
    """One that nobody has, below those that the system gives to clients: it is often bound only seconds later."""
    while True:
        port = random.SystemRandom().randrange(10_240, 32_000)  # as tests by chance seed the other one
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


@contextmanager
def serving(app: Any, port: int | None = None) -> Iterator[str]:
    """Yield the base URL of `app`, ended when the block ends."""
    port = port or free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=2,
        timeout_keep_alive=75, http=Connection,  # as the gateway
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 90  # a busy machine
    while not server.started:
        assert thread.is_alive(), "the application did not start"
        assert time.monotonic() < deadline, "the application did not start in time"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
