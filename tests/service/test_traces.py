"""Traces: what a collector receives, what it never does, and that a dead one costs nobody anything."""

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from fastapi import FastAPI, Request, Response

from tests.fake_engine import BASE
from tests.gateway import Gateway, running_gateway
from tests.serving import free_port, serving

pytestmark = pytest.mark.heavy  # a gateway and a collector of its own

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLERS = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
"""The example of W3C's Trace Context."""
ROOT = Path(__file__).parents[2]


class Collector:
    """An OTLP/HTTP receiver: the bytes of every request it was sent."""

    def __init__(self) -> None:
        self.port = free_port()
        self.came: list[bytes] = []
        self.app = FastAPI()

        @self.app.post("/v1/traces")
        async def take(request: Request) -> Response:
            self.came.append(await request.body())
            return Response(media_type="application/x-protobuf")

    def spans(self) -> list:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        requests = [ExportTraceServiceRequest.FromString(body) for body in self.came]
        return [
            span for one in requests for r in one.resource_spans for s in r.scope_spans for span in s.spans
        ]

    def request(self, answer: httpx.Response):
        """The span of the request that got this answer; it ends last and is sent a moment later."""
        wanted = answer.headers["x-request-id"]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for span in self.spans():
                if told(span).get("tailorbird.request.id") == wanted:
                    return span
            time.sleep(0.02)
        raise AssertionError("the request left no trace")

    def under(self, answer: httpx.Response) -> list:
        """The wait, and the time at the engine where it was asked."""
        parent = self.request(answer).span_id
        found = [span for span in self.spans() if span.parent_span_id == parent]
        return sorted(found, key=lambda span: span.start_time_unix_nano)


def told(span) -> dict:
    """The span's attributes as plain values."""
    found = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found


@contextmanager
def traced(endpoint: str, home: Path, schema: Path) -> Iterator[Gateway]:
    """A gateway that sends its traces to `endpoint`, at once."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
            gateway = stack.enter_context(running_gateway(home, schema))
        yield gateway


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    with serving(collector.app, collector.port):
        yield collector


@pytest.fixture(scope="module")
def gateway(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory, schema: Path
) -> Iterator[Gateway]:
    with traced(f"http://127.0.0.1:{collector.port}", tmp_path_factory.mktemp("traced"), schema) as gateway:
        yield gateway


def ask(gateway: Gateway, said: str = "a b", **more) -> httpx.Response:
    """What came back for a question by the real SDK, refusals included, read to its end."""
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    messages = [{"role": "user", "content": said}]
    body = {"model": "fanal", "messages": messages, "extra_headers": CALLERS} | more
    try:
        raw = client.chat.completions.with_raw_response.create(**body)
    except openai.APIStatusError as refused:
        return refused.response
    raw.http_response.read()
    return raw.http_response


def test_a_request_is_a_span_of_its_callers_trace_with_the_wait_and_the_engine_under_it(
    gateway: Gateway, collector: Collector
):
    answer = ask(gateway)
    said, request = answer.json(), collector.request(answer)
    assert (request.name, request.kind) == ("POST /v1/chat/completions", request.SPAN_KIND_SERVER)
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, SPAN)
    assert told(request) == {
        "http.request.method": "POST", "http.route": "/v1/chat/completions", "http.response.status_code": 200,
        "tailorbird.request.id": answer.headers["x-request-id"],
        "tailorbird.release": "fanal@base", "tailorbird.adapter": "base",
    }  # fmt: skip
    wait, engine = collector.under(answer)
    assert (wait.name, wait.start_time_unix_nano) == ("wait", request.start_time_unix_nano)
    assert wait.end_time_unix_nano == engine.start_time_unix_nano
    assert (engine.name, engine.kind) == ("chat fanal", engine.SPAN_KIND_CLIENT)
    assert gateway.engine_headers[-1]["traceparent"] == f"00-{TRACE}-{engine.span_id.hex()}-01"
    assert told(engine) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "vllm", "gen_ai.request.model": "fanal",
        "gen_ai.response.model": gateway.settings.model_name, "gen_ai.response.id": said["id"],
        "gen_ai.request.stream": False, "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": said["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": said["usage"]["completion_tokens"],
        "tailorbird.completion.status": "complete", "tailorbird.release": "fanal@base",
        "tailorbird.adapter": "base",
    }  # fmt: skip


def test_nothing_that_people_write_no_name_and_no_key_is_told(gateway: Gateway, collector: Collector):
    person = gateway.client_of("Ada Quill")
    asked = [
        ask(gateway, "zanzibar quetzal", user="Ada Quill", metadata={"by": "Ada Quill"}),
        ask(gateway, "zanzibar quetzal", stream=True),
        ask(gateway, "zanzibar TOO LONG"),
        ask(gateway, "zanzibar BREAK"),
        ask(gateway, model="zanzibar"),
        gateway.admin.post("/v1/responses", json={"model": "fanal", "input": "zanzibar quetzal"}),
        gateway.admin.post("/v1/completions", json={"model": BASE, "prompt": "zanzibar quetzal"}),
        person.get("/zanzibar?quetzal=1"),
        person.get("/v1/chat/completions/zanzibar"),
    ]
    assert [answer.status_code for answer in asked] == [200, 200, 400, 502, 404, 200, 200, 404, 404]
    assert "heard zanzibar quetzal" in asked[0].json()["choices"][0]["message"]["content"]
    assert [len(collector.under(answer)) for answer in asked] == [2, 2, 2, 2, 0, 2, 2, 0, 0]
    everything = b"".join(collector.came)
    secrets = (gateway.key, person.headers["authorization"].partition(" ")[2])
    for word in ("zanzibar", "quetzal", "heard", "Ada", "Quill", *secrets):
        assert word.encode() not in everything, word


def test_a_stream_tells_its_first_token_and_what_it_took(gateway: Gateway, collector: Collector):
    _, engine = collector.under(ask(gateway, stream=True))
    assert [event.name for event in engine.events] == ["first token"]
    assert told(engine)["gen_ai.request.stream"] is True
    assert told(engine)["gen_ai.usage.output_tokens"] == len("smollm2- heard a b".split())


def test_a_stream_that_breaks_off_is_an_error_by_its_class(gateway: Gateway, collector: Collector):
    broken = ask(gateway, "a b BREAK", stream=True)
    assert broken.status_code == 200
    request, (_, engine) = collector.request(broken), collector.under(broken)
    for span in (request, engine):
        assert (span.status.code, span.status.message) == (span.status.STATUS_CODE_ERROR, "")
        assert told(span)["error.type"] == "EngineUnavailable"
    assert told(engine)["tailorbird.completion.status"] == "failed"


def test_a_request_that_never_reaches_the_engine_is_a_span_alone(gateway: Gateway, collector: Collector):
    refused = ask(gateway, model="nobody")
    request = collector.request(refused)
    assert told(request)["http.response.status_code"] == 404
    assert request.status.code == request.status.STATUS_CODE_UNSET
    assert collector.under(refused) == []


def test_who_watches_whether_the_gateway_lives_leaves_no_trace(gateway: Gateway, collector: Collector):
    gateway.admin.get("/healthz").raise_for_status()
    collector.request(gateway.admin.get("/v1/models"))
    assert not [span for span in collector.spans() if told(span).get("http.route") == "/healthz"]


def test_an_endpoint_that_is_dead_changes_nothing_for_a_caller_and_is_one_line_in_the_log(
    tmp_path: Path, schema: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("service.opentelemetry.PATIENCE", 0.1)
    caplog.set_level(logging.WARNING, "tailorbird")
    with traced(f"http://127.0.0.1:{free_port()}", tmp_path, schema) as gateway:
        answers = [ask(gateway).json() for _ in range(3)]
    assert {one["choices"][0]["message"]["content"] for one in answers} == {"smollm2- heard a b"}
    assert [r.getMessage().partition(",")[0] for r in caplog.records] == ["traces are not delivered"]


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported(tmp_path: Path, schema: Path):
    code = (
        "import pathlib, sys;"
        "from tests.gateway import running_gateway\n"
        f"with running_gateway(pathlib.Path({str(tmp_path)!r}), pathlib.Path({str(schema)!r})) as gateway:\n"
        "    body = {'model': 'fanal', 'messages': [{'role': 'user', 'content': 'a'}]}\n"
        "    gateway.admin.post('/v1/chat/completions', json=body).raise_for_status()\n"
        "    assert 'traceparent' not in gateway.engine_headers[-1]\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    ran = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert ran.stdout.strip() == "[]"
