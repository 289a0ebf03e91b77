"""Traces by OpenTelemetry's SDK, over HTTP to the endpoint of its own variables.

Owns every span and attribute: `gen_ai.*` and `http.*` are the semantic conventions' names (opentelemetry.io),
`tailorbird.*` ours. Spans wait in a bounded queue for a thread that sends them; an endpoint that does not
answer costs spans, never a request. Imported only where an endpoint is set.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.logs import log
from service.traces import Question, Trace, Traces

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
"""Others are the caller's own words."""
PATIENCE = 3.0
"""Seconds at the end of the gateway for an endpoint that does not answer."""
_W3C = TraceContextTextMapPropagator()


class SentTraces(Traces):
    """Traces to the endpoint that the environment names; the SDK reads its other variables too."""

    def __init__(self) -> None:
        complaints = _FirstComplaint()
        logger = logging.getLogger("opentelemetry")
        logger.handlers[:], logger.propagate = [complaints], False
        self._exporter = _Exporter(complaints)
        # Only what the operator says of the service: other detectors tell the machine's and the user's names.
        said = Resource({"service.name": "tailorbird"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=said, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("tailorbird")

    def begin(self, request_id: str, method: str, headers: Sequence[tuple[bytes, bytes]]) -> Trace:
        carried = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        return _SentTrace(self._tracer, request_id, method, _W3C.extract(carried, Context()))

    async def close(self) -> None:
        giving_up = threading.Timer(PATIENCE, self._exporter.shutdown)
        giving_up.start()
        await asyncio.to_thread(self._provider.shutdown)
        giving_up.cancel()


class _SentTrace(Trace):
    """The request's span; under it the wait before the engine, and the time at it."""

    def __init__(self, tracer: Tracer, request_id: str, method: str, caller: Context) -> None:
        self._tracer, self._began = tracer, time.time_ns()
        self._method = method if method in METHODS else "_OTHER"
        told = {"http.request.method": self._method, "tailorbird.request.id": request_id}
        self._request = tracer.start_span(self._method, caller, SpanKind.SERVER, told, start_time=self._began)
        self._engine: Span | None = None
        self._failed = False

    def engine_asked(self, question: Question) -> Mapping[str, str]:
        under, now = set_span_in_context(self._request, Context()), time.time_ns()
        self._tracer.start_span("wait", under, start_time=self._began).end(now)
        ours = {"tailorbird.release": question.release, "tailorbird.adapter": question.adapter}
        self._request.set_attributes(ours)
        told = ours | {
            "gen_ai.operation.name": question.operation, "gen_ai.provider.name": "vllm",
            "gen_ai.request.model": question.model, "gen_ai.response.model": question.answerer,
            "gen_ai.response.id": question.answer, "gen_ai.request.stream": question.streamed,
        }  # fmt: skip
        name = f"{question.operation} {question.model}"
        self._engine = self._tracer.start_span(name, under, SpanKind.CLIENT, told, start_time=now)
        headers: dict[str, str] = {}
        _W3C.inject(headers, set_span_in_context(self._engine, Context()))
        return headers

    def first_token(self) -> None:
        if self._engine is not None:
            self._engine.add_event("first token")

    def engine_failed(self, error: Exception) -> None:
        if self._engine is not None:
            _fail(self._engine, type(error).__name__)
        if getattr(error, "status", 500) >= 500:
            self._failed = True
            _fail(self._request, type(error).__name__)

    def engine_done(self, status: str, usage: Mapping[str, int | None] | None, ends: Sequence[str]) -> None:
        if self._engine is None:
            return
        told = {
            "gen_ai.usage.input_tokens": (usage or {}).get("prompt_tokens"),
            "gen_ai.usage.output_tokens": (usage or {}).get("completion_tokens"),
            "gen_ai.response.finish_reasons": [*ends] or None,
            "tailorbird.completion.status": status,
        }
        self._engine.set_attributes({name: value for name, value in told.items() if value is not None})
        self._engine.end()
        self._engine = None

    def end(self, route: str | None, status: int) -> None:
        self._request.set_attribute("http.response.status_code", status)
        if route is not None:
            self._request.set_attribute("http.route", route)
            self._request.update_name(f"{self._method} {route}")
        if status >= 500 and not self._failed:
            _fail(self._request, str(status))
        self._request.end()


class _Exporter(OTLPSpanExporter):
    def __init__(self, complaints: "_FirstComplaint") -> None:
        super().__init__()
        self._complaints = complaints

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self._complaints.said = False
        return result


class _FirstComplaint(logging.Handler):
    """One line when traces stop getting through, instead of several for every batch."""

    said = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.said and record.levelno >= logging.WARNING:
            self.said = True
            log.warning("traces are not delivered, requests go on without: %s", record.getMessage())


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))
