"""What a list of keys tells of their use, and how long what is made or opened with a key may last."""

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


def days_left(gateway: Gateway, header: dict[str, str], **more: Any) -> float | None:
    """How long a key lasts that is made with the key or session in `header`."""
    made = httpx.post(f"{gateway.url}/api/keys", json={"name": "made", **more}, headers=header)
    ends = made.raise_for_status().json()["key"]["expires_at"]
    return ends and round((ends - time.time()) / 86_400, 2)


def test_a_key_that_is_made_with_one_that_expires_does_not_outlast_it(gateway: Gateway):
    _, header = make(gateway, expires_in_days=90)
    opened = {"key": header["authorization"].removeprefix("Bearer ")}
    token = httpx.post(f"{gateway.url}/api/session", json=opened).raise_for_status().json()["token"]
    for holder in (header, {"authorization": f"Bearer {token}"}):
        assert days_left(gateway, holder) == 90
        assert days_left(gateway, holder, expires_in_days=365) == 90
        assert days_left(gateway, holder, expires_in_days=7) == 7


def test_a_key_that_is_made_in_a_session_of_a_link_or_with_a_key_without_end_lasts_as_long_as_wanted(
    gateway: Gateway,
):
    user = gateway.admin.post("/api/users", json={"name": gateway.free_name("Lasting")}).json()["id"]
    link = gateway.admin.post(f"/api/users/{user}/link").json()["link"]
    token = httpx.post(f"{gateway.url}/api/session", json={"link": link}).json()["token"]
    for header in ({"authorization": f"Bearer {token}"}, {"authorization": f"Bearer {gateway.key}"}):
        assert days_left(gateway, header) is None
        assert days_left(gateway, header, expires_in_days=365) == 365


def test_the_journal_leads_from_a_lost_key_to_the_keys_that_were_made_in_its_sessions(gateway: Gateway):
    """The session's own row goes with the key."""
    lost, header = make(gateway)
    opened = {"key": header["authorization"].removeprefix("Bearer ")}
    token = httpx.post(f"{gateway.url}/api/session", json=opened).raise_for_status().json()["token"]
    in_it = {"authorization": f"Bearer {token}"}
    made = httpx.post(f"{gateway.url}/api/keys", json={"name": "made"}, headers=in_it).json()["key"]["id"]
    gateway.admin.delete(f"/api/keys/{lost}").raise_for_status()
    assert httpx.get(f"{gateway.url}/api/me", headers=in_it).status_code == 401

    journal = gateway.admin.get("/api/audit").raise_for_status().json()["data"]
    of_key = next(entry for entry in journal if (entry["action"], entry["subject"]) == ("key.made", made))
    of_session = next(entry for entry in journal if entry["detail"].get("opened_with") == lost)
    assert (of_session["action"], of_session["subject"]) == ("session.opened", of_key["key"])
