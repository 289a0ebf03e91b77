"""What a list of keys tells of their use."""

import time
from typing import Any

import httpx

from tests.gateway import Gateway


def listed(gateway: Gateway, key_id: str) -> dict[str, Any]:
    found = gateway.admin.get("/api/keys").raise_for_status().json()["data"]
    return next(key for key in found if key["id"] == key_id)


def until_used(gateway: Gateway, key_id: str) -> int:
    """It is written down behind the answer."""
    deadline = time.monotonic() + 30
    while (at := listed(gateway, key_id)["last_used_at"]) is None:
        assert time.monotonic() < deadline, "that the key was used was not written down"
        time.sleep(0.05)
    return at


def make(gateway: Gateway, **more: Any) -> tuple[str, dict[str, str]]:
    made = gateway.admin.post("/api/keys", json={"name": "app", **more}).raise_for_status().json()
    assert made["key"]["last_used_at"] is None
    return made["key"]["id"], {"authorization": f"Bearer {made['secret']}"}


def test_a_key_tells_when_it_was_used_whatever_it_was_used_for(gateway: Gateway):
    body = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]}
    began = int(time.time())
    asked, header = make(gateway)
    httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=header).raise_for_status()
    looked, header = make(gateway)
    httpx.get(f"{gateway.url}/v1/models", headers=header).raise_for_status()
    signed_in, header = make(gateway)
    secret = header["authorization"].removeprefix("Bearer ")
    httpx.post(f"{gateway.url}/api/session", json={"key": secret}).raise_for_status()
    unused, _ = make(gateway)
    for key in (asked, looked, signed_in):
        assert began <= until_used(gateway, key) <= time.time()
    assert listed(gateway, unused)["last_used_at"] is None


def test_what_a_key_spent_today_is_told_where_it_is_counted_and_nowhere_else(gateway: Gateway):
    body = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
    free, header = make(gateway)
    httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=header).raise_for_status()
    limited, header = make(gateway, limits={"tokens_per_day": 100_000})
    httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=header).raise_for_status()
    assert listed(gateway, free)["tokens_today"] is None
    assert listed(gateway, limited)["tokens_today"] > 0
