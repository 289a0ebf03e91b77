"""What would cost the engine much is refused before it sees it."""

from typing import Any

import pytest

from tests.gateway import Gateway

BIRD = [{"role": "user", "content": "Who sews?"}]


def schema(pattern: str) -> dict[str, Any]:
    wanted = {
        "name": "x",
        "schema": {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}},
    }
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


def tool(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        inner = {"type": "array", "items": inner}
    return inner


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"messages": BIRD * 10_000}, "messages"),
        ({"messages": BIRD, "n": 10_000}, "n"),
        ({"messages": BIRD} | schema("^(a|b){1,5000}$"), "response_format.json_schema"),
        ({"messages": BIRD} | schema("^" + ".?" * 200 + "$"), "response_format.json_schema"),
        ({"messages": BIRD} | tool(deep(80)), "tools.0.function.parameters"),
    ],
)
def test_a_request_that_is_too_much_is_refused_by_its_field_and_never_asked(
    gateway: Gateway, asked: dict[str, Any], param: str
):
    before = len(gateway.engine_bodies)
    refused = gateway.admin.post("/v1/chat/completions", json={"model": "fanal", **asked})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(param), error
    assert len(gateway.engine_bodies) == before
