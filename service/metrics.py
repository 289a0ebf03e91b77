"""Figures for Prometheus: what is counted as it happens, and what is looked up when somebody asks.

Owns every name and label. A label has few values, all of our own making: no person, no key, no text of a
request. Knows neither HTTP nor database.
"""

import time
from collections.abc import Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.contract.status import Status

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)

REQUESTS = Counter("tailorbird_requests_total", "Requests by route and status", ["route", "status"])
ANSWERS = Counter("tailorbird_completions_total", "Completions by how they ended", ["status"])
FIRST_TOKEN = Histogram(
    "tailorbird_first_token_seconds", "From a streamed request to its first token", buckets=SECONDS
)
DURATION = Histogram("tailorbird_answer_seconds", "From a request to the end of its answer", buckets=SECONDS)
PROMPT_TOKENS = Counter("tailorbird_prompt_tokens_total", "Tokens read, by what answered", ["release"])
COMPLETION_TOKENS = Counter(
    "tailorbird_completion_tokens_total", "Tokens written, by what answered", ["release"]
)
REFUSED = Counter("tailorbird_limits_refused_total", "Requests refused with 429, by the limit", ["limit"])


def first_token(began: float) -> None:
    """`began` as `time.perf_counter()` says it."""
    FIRST_TOKEN.observe(time.perf_counter() - began)


def answered(status: str, release: str, usage: Mapping[str, int | None] | None, began: float) -> None:
    """One answer has ended, however it did."""
    ANSWERS.labels(status).inc()
    DURATION.observe(time.perf_counter() - began)
    PROMPT_TOKENS.labels(release).inc((usage or {}).get("prompt_tokens") or 0)
    COMPLETION_TOKENS.labels(release).inc((usage or {}).get("completion_tokens") or 0)


def exposition(status: Status) -> bytes:
    """Everything in Prometheus' text format. What is looked up has no memory: what is gone is not told."""
    now = CollectorRegistry()

    def gauge(name: str, said: str, values: Mapping[str, float], label: str = "") -> None:
        metric = Gauge(f"tailorbird_{name}", said, [label] if label else [], registry=now)
        for value_of, value in values.items():
            (metric.labels(value_of) if label else metric).set(value)

    engines = {str(number): engine for number, engine in enumerate(status.engines)}
    gauge("answers_under_way", "Answers being written now", {"": status.chats_under_way})
    gauge("engine_ready", "1 when it answers", {n: e.state == "ready" for n, e in engines.items()}, "engine")
    gauge(
        "adapters_loaded",
        "Adapters in the engine",
        {n: len(e.adapters) for n, e in engines.items()},
        "engine",
    )
    waiting = {number: engine.waiting for number, engine in engines.items()}
    gauge(
        "requests_waiting",
        "Requests that wait for their first step, here or in the engine",
        waiting,
        "engine",
    )
    gauge("adapters_refused", "Adapters that cannot be loaded", {"": len(status.problems)})
    gauge("jobs", "Jobs by status", status.jobs, "status")
    gauge("feedback", "Feedback by kind", status.feedback, "kind")
    gauge("disk_free_bytes", "Free where everything is kept", {"": status.disk_free})
    gauge("problems", "What is wrong, as `tailorbird status` lists it", {"": len(status.wrong)})
    return generate_latest(REGISTRY) + generate_latest(now)
