"""A gateway that is told to end: nothing new from that moment, what is short ends well, what is long ends aloud."""

import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.gateway_process import GatewayProcess, gateway_process

pytestmark = pytest.mark.heavy  # gateways that are started and ended


def long_stream(client: openai.OpenAI, words: int) -> Any:
    """A stream of so many words, twenty a second."""
    said: Any = [{"role": "user", "content": "SLOW" + " a" * words}]
    return client.chat.completions.create(model="fanal", messages=said, stream=True)


def asked_whole(client: openai.OpenAI) -> openai.APIStatusError:
    """The refusal of an answer in one piece that takes longer than there is."""
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="fanal", messages=[{"role": "user", "content": "HANG"}])
    return refused.value


def until_gone(gateway: GatewayProcess) -> float:
    """Seconds until nobody is let in any more."""
    began = time.monotonic()
    while time.monotonic() < began + 20:
        try:
            if httpx.get(f"{gateway.url}/readyz").status_code != 200:
                break
        except httpx.HTTPError:
            break
        time.sleep(0.02)
    return time.monotonic() - began


def test_open_streams_end_with_an_error_before_the_deadline_and_the_end_is_no_failure(
    tmp_path: Path, schema: Path
):
    with gateway_process(tmp_path, schema, TAILORBIRD_GRACE="2") as gateway:
        refused: list[openai.APIStatusError] = []
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
        long, short = long_stream(client, 600), long_stream(client, 10)
        whole = threading.Thread(target=lambda: refused.append(asked_whole(client)))
        whole.start()
        first = next(long)
        next(short)
        told = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert until_gone(gateway) < 1
        assert [chunk.choices[0].finish_reason for chunk in short][-1] == "stop"
        with pytest.raises(openai.APIError, match="service is ending") as broken:
            list(long)
        assert broken.value.code == "engine_unavailable"
        assert 1.5 < time.monotonic() - told < 2 + 5, "before the server cuts what is left"
        whole.join(10)
        assert [(error.status_code, error.code) for error in refused] == [(503, "engine_unavailable")]
        assert gateway.process.wait(10) == 0
        with sqlite3.connect(tmp_path / "tailorbird.db") as database:
            found = database.execute("select status from completions where id = ?", (first.id,)).fetchone()
        assert found == ("failed",)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_ends_at_once(tmp_path: Path, schema: Path, sign: signal.Signals):
    with gateway_process(tmp_path, schema) as gateway, httpx.Client() as kept_alive:
        assert kept_alive.get(f"{gateway.url}/healthz").status_code == 200
        gateway.process.send_signal(sign)
        assert gateway.process.wait(10) == (0 if sign is signal.SIGTERM else 130)
