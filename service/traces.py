"""Where a request's time goes, for who collects traces. Nobody does until an OTLP endpoint is named.

Owns when the gateway tells something of a request, and to whom: to nobody, which costs a call that does
nothing, or to `service.opentelemetry`, which is imported only then. What is told are ids, names of models and
counts; never what people write, no person, no key.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own variables: where one of them is set, traces are sent there."""


@dataclass(frozen=True)
class Question:
    """What is told of a question as it goes to the engine."""

    operation: str
    """`chat` or `text_completion`."""
    model: str
    """As the caller asked for it."""
    answerer: str
    """Its name in the engine."""
    release: str
    adapter: str
    answer: str
    """The id that the answer will have."""
    streamed: bool


class Trace:
    """One request on its way. Of this one nothing is kept."""

    def engine_asked(self, question: Question) -> Mapping[str, str]:
        """The wait is over, the engine begins. Returns the headers that it gets, so that it can tell its own part."""
        return {}

    def first_token(self) -> None:
        """The engine has said something."""

    def engine_failed(self, error: Exception) -> None:
        """Only the error's class is told: its message may repeat what was asked."""

    def engine_done(self, status: str, usage: Mapping[str, int | None] | None, ends: Sequence[str]) -> None:
        """The answer has ended, as its record says; `ends` are the finish reasons. Harmless if it never began."""

    def end(self, route: str | None, status: int) -> None:
        """The request is over. `route` is its path as it is described, None where no route took it."""


class Traces:
    """The traces of one gateway. These go nowhere."""

    def begin(self, request_id: str, method: str, headers: Sequence[tuple[bytes, bytes]]) -> Trace:
        """A request has come, with `headers` as ASGI has them; a trace that its caller began goes on."""
        return Trace()

    async def close(self) -> None:
        """Send what is left, for some seconds at most."""


def start() -> Traces:
    """As the environment says: sent to the endpoint it names, or to nowhere."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return Traces()
    from service.opentelemetry import SentTraces

    return SentTraces()
