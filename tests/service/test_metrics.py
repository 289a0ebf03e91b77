import asyncio
import json
import re
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from service.engine.client import Engine
from tests.gateway import Gateway

FEW = {"route", "status", "release", "engine", "kind", "limit", "le", "generation", "implementation", "major",
       "minor", "patchlevel", "version"}  # fmt: skip


def figures(gateway: Gateway) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = gateway.admin.get("/metrics").raise_for_status().text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def grown(before: dict, after: dict, name: str, **labels: str) -> float:
    place = (name, tuple(sorted(labels.items())))
    return after.get(place, 0) - before.get(place, 0)


def ask(gateway: Gateway, **body) -> httpx.Response:
    body = {"model": "fanal", "messages": [{"role": "user", "content": "a b"}]} | body
    return gateway.admin.post("/v1/chat/completions", json=body)


def test_an_answer_is_counted_timed_and_measured_in_tokens(gateway: Gateway):
    before = figures(gateway)
    usage = ask(gateway).json()["usage"]
    ask(gateway, stream=True)
    after = figures(gateway)
    route = {"route": "/v1/chat/completions", "status": "200"}
    assert grown(before, after, "tailorbird_requests_total", **route) == 2
    assert grown(before, after, "tailorbird_completions_total", status="complete") == 2
    assert grown(before, after, "tailorbird_answer_seconds_count") == 2
    assert grown(before, after, "tailorbird_first_token_seconds_count") == 1
    for what in ("prompt", "completion"):
        name = f"tailorbird_{what}_tokens_total"
        assert grown(before, after, name, release="fanal@base") == 2 * usage[f"{what}_tokens"]


def test_the_state_of_now_is_looked_up(gateway: Gateway):
    answer, before = ask(gateway).json(), figures(gateway)
    loaded = gateway.admin.get("/api/status").json()["engines"][0]["adapters"]
    gateway.admin.post("/api/feedback", json={"completion_id": answer["id"], "type": "rating", "rating": 1})
    found = figures(gateway)
    assert found["tailorbird_engine_ready", (("engine", "0"),)] == 1
    assert found["tailorbird_adapters_loaded", (("engine", "0"),)] == len(loaded)
    assert found["tailorbird_answers_under_way", ()] == 0
    assert grown(before, found, "tailorbird_feedback", kind="rating") == 1
    assert found["tailorbird_disk_free_bytes", ()] > 0


def test_who_waits_for_a_place_is_counted(gateway: Gateway):
    engine = gateway.engine
    place = ("tailorbird_requests_waiting", (("engine", "0"),))
    assert figures(gateway)[place] == 0
    engine.waiting = 3
    assert figures(gateway)[place] == 3
    engine.waiting = 0


async def test_who_stands_in_line_for_an_adapter_is_counted_too():
    engine = Engine("http://127.0.0.1:9", places=1)
    turns = engine._turns
    assert turns is not None

    async def hold(adapter: str) -> None:
        async with turns.taken(adapter):
            await asyncio.sleep(60)

    holding = [asyncio.create_task(hold(adapter)) for adapter in ("a", "b", "c")]
    await asyncio.sleep(0)
    assert await engine.waiting() == 2, "though the engine itself says nothing"
    for one in holding:
        one.cancel()
    await asyncio.gather(*holding, return_exceptions=True)
    assert await engine.waiting() == 0
    await engine.close()


def test_jobs_are_counted_by_their_status(gateway: Gateway):
    place = ("tailorbird_jobs", (("status", "queued"),))
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    content = "\n".join([json.dumps(row)] * 3).encode()
    form: Any = {"files": {"file": ("a.jsonl", content)}, "data": {"purpose": "fine-tune"}}
    file = gateway.admin.post("/v1/files", **form).json()["id"]
    before = figures(gateway).get(place, 0)
    body = {"model": gateway.settings.model_name, "training_file": file}
    job = gateway.admin.post("/v1/fine_tuning/jobs", json=body).raise_for_status().json()["id"]
    assert figures(gateway)[place] == before + 1
    cancelled = figures(gateway).get(("tailorbird_jobs", (("status", "cancelled"),)), 0)
    gateway.admin.post(f"/v1/fine_tuning/jobs/{job}/cancel").raise_for_status()
    after = figures(gateway)
    assert after.get(place, 0) == before
    assert after["tailorbird_jobs", (("status", "cancelled"),)] == cancelled + 1


def test_a_refusal_by_a_limit_is_counted_by_the_limit(gateway: Gateway, monkeypatch):
    before = figures(gateway)
    monkeypatch.setattr(gateway.settings, "requests_per_minute", 1)
    assert {ask(gateway).status_code for _ in range(3)} == {200, 429}
    monkeypatch.setattr(gateway.settings, "requests_per_minute", None)
    monkeypatch.setattr(gateway.settings, "max_waiting", 0)
    assert ask(gateway).status_code == 429
    after = figures(gateway)
    assert grown(before, after, "tailorbird_limits_refused_total", limit="requests_per_minute") == 2
    assert grown(before, after, "tailorbird_limits_refused_total", limit="overload") == 1


def test_no_label_says_who_or_what(gateway: Gateway):
    ask(gateway, model="somebody-secret")
    httpx.request("GET", f"{gateway.url}/v1/private-path-4711")
    gateway.admin.get("/v1/models/some-private-model")
    # Without the figures: they count and time, and may well hold the digits of a path.
    text = re.sub(r" [\d.e+-]+$", "", gateway.admin.get("/metrics").text, flags=re.MULTILINE)
    me = gateway.admin.get("/api/me").json()
    keys = [key["id"] for key in gateway.admin.get("/api/keys").json()["data"]]
    assert not [word for word in ("secret", "4711", "private", me["id"], me["name"], *keys) if word in text]
    labels = {label for _, labels in figures(gateway) for label, _ in labels}
    assert labels <= FEW


def test_figures_need_an_administrators_key_on_this_machine_too(gateway: Gateway):
    assert httpx.get(f"{gateway.url}/metrics").status_code == 401
