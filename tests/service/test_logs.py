"""The log of a gateway process: one JSON object a line, findable by the request's id, and never what people wrote."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway_process import GatewayProcess, gateway_process

pytestmark = pytest.mark.heavy  # a gateway in a process of its own

RARE = "zanzibarquince"


def ask(http: httpx.Client, said: str, **more: Any) -> httpx.Response:
    body = {
        "model": "fanal",
        "messages": [{"role": "user", "content": f"{RARE} {said}"}],
        "user": RARE,
        **more,
    }
    return http.post("/v1/chat/completions", json=body)


def asked(gateway: GatewayProcess) -> dict[str, int]:
    """Everything that may go well or wrong, each with the rare word in it: the ids of the requests, and what came of
    each."""
    headers = {"authorization": f"Bearer {gateway.key}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=30) as http:
        answers = [
            ask(http, "good"),
            ask(http, "streamed", stream=True),
            ask(http, "BREAK"),
            ask(http, "SLOW BREAK", stream=True),
            ask(http, "HANG"),
            ask(http, "STALL a b", stream=True),
            ask(http, "none", model=RARE),
            ask(http, "refused", temperature=RARE),
            http.post("/v1/completions", json={"model": "smollm2-135m-instruct", "prompt": RARE}),
            http.post(
                "/v1/responses", json={"model": "fanal", "input": f"{RARE} SLOW BREAK", "stream": True}
            ),
            http.post("/v1/files", files={"file": (RARE, RARE.encode())}, data={"purpose": "fine-tune"}),
            http.get(f"/v1/models/{RARE}"),
            http.get(f"/v1/{RARE}", params={RARE: RARE}),
            http.post(f"/api/{RARE}", content=RARE.encode(), headers={"x-note": RARE}),
            httpx.get(f"{gateway.url}/api/me", headers={"authorization": f"Bearer {RARE}"}),
        ]
        gateway.end_engine()
        answers.append(ask(http, "and nobody answers"))
    assert {answer.status_code for answer in answers} >= {200, 400, 401, 404, 502, 503, 504}
    assert "error" in answers[3].text
    assert "error" in answers[5].text
    return {answer.headers["x-request-id"]: answer.status_code for answer in answers}


def lines_of(gateway: GatewayProcess, ids: set[str]) -> list[dict[str, Any]]:
    """The log, once each request has its line: it is written after the answer."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not all(one in gateway.log for one in ids):
        time.sleep(0.1)
    return [json.loads(line) for line in gateway.log.splitlines()]


def test_every_line_is_json_names_its_request_and_repeats_nothing_that_was_said(tmp_path: Path, schema: Path):
    with gateway_process(tmp_path, schema, TAILORBIRD_ANSWER_TIMEOUT="0.6") as gateway:
        sent = asked(gateway)
        lines = lines_of(gateway, {*sent})
        log = gateway.log
    requests = {line["request"]: line for line in lines if line["message"] == "request"}
    assert {one: requests[one]["status"] for one in sent} == sent
    for line in lines:
        assert line.keys() >= {"at", "level", "message"}
    for one in sent:
        assert requests[one].keys() == {
            "at",
            "level",
            "message",
            "request",
            "method",
            "route",
            "status",
            "ms",
            "key",
        }
    assert RARE not in log.lower()
    assert gateway.key not in log
    assert [line for line in lines if line["message"].startswith("stream broken off")]
