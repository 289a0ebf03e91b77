"""Every route answers as `/openapi.json` says, whatever it is sent, and none breaks.

Requests are drawn from the description itself, fitting ones and others, and sent by a person of each role and by a
stranger. Names and ids are drawn from what is really there, so that a request gets as far as its role may, and what is
read is read by somebody at least once. A route's refusals are described once for all of them, as `4XX` and `5XX`
(`service.refusals`), since most come before the route is reached; so their statuses are held elsewhere, by the tests of
each route, and here that every refusal has the one shape and none is a 5XX.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.app import create_app
from service.contract.users import RANK
from service.settings import Settings
from tests.gateway import Gateway
from tests.published import measure, publish

pytestmark = pytest.mark.heavy

EXAMPLES = 2
"""Requests for each operation, of each kind and by each caller."""
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance
]  # fmt: skip
ROUTES = [
    (method.upper(), path)
    for path, methods in create_app(Settings(home=Path("nowhere")), []).openapi()["paths"].items()
    for method in methods
]
ENDED_IMPORT = "/api/imports/{import_id}/refused"
"""The one answer that there is only after a process of its own has ended; `api.test_imports` reads it."""
ROUTES.sort(key=lambda route: route[0] == "DELETE")
"""What is deleted can be asked for no more."""


@pytest.fixture(scope="module")
def gateway(own_gateway: Gateway) -> Gateway:
    """One of its own, for whatever is drawn from the description."""
    return own_gateway


@pytest.fixture(scope="module")
def sessions(gateway: Gateway) -> Iterator[dict[str, requests.Session]]:
    """One for each role and one for a stranger. The administrator's is that of whoever owns what is there."""
    found = {role: requests.Session() for role in ("stranger", *RANK)}
    for role in RANK:
        client = gateway.admin if role == "administrator" else gateway.client_of(f"a {role}", role)
        found[role].headers["Authorization"] = client.headers["authorization"]
    yield found
    for session in found.values():
        session.close()


@pytest.fixture(scope="module")
def known(
    gateway: Gateway, sessions: dict[str, requests.Session], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """Something of every kind, by the name that a path or a body calls it."""

    def made(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return gateway.admin.post(path, json=body).raise_for_status().json()

    def put(purpose: str, *lines: Any) -> str:
        data = "\n".join(json.dumps(line) for line in lines).encode()
        form = {"files": {"file": ("a.jsonl", data)}, "data": {"purpose": purpose}}
        return gateway.admin.post("/v1/files", **form).raise_for_status().json()["id"]

    said = [{"role": "user", "content": "hello"}]
    example = {"messages": [*said, {"role": "assistant", "content": "good day"}]}
    asked = {"model": "fanal", "messages": said}
    batch_line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": asked}
    rows, lines = put("fine-tune", *[example] * 3), put("batch", batch_line)
    made(f"/api/sheets/{rows}", {})
    completion = made("/v1/chat/completions", asked)["id"]
    shared = made("/api/conversations", {"assistant": "fanal"})["id"]
    made("/v1/chat/completions", asked | {"metadata": {"conversation": shared}})
    rating = {"completion_id": completion, "type": "rating", "rating": 1}
    upload = {"filename": "a.jsonl", "purpose": "batch", "bytes": 9, "mime_type": "application/jsonl"}
    batch = {"input_file_id": lines, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    webhook = {"url": f"{gateway.url}/healthz", "events": ["batch.completed"]}
    model = gateway.settings.model_name
    brought = gateway.admin.post("/api/imports", files={"file": ("a.csv", b"question,answer\na,b\n")})
    return {
        "model": ["fanal", model],
        "assistant": ["fanal"], "name": ["fanal"],
        "file_id": [rows, lines], "training_file": [rows], "input_file_id": [lines],
        "completion_id": [completion],
        "response_id": [made("/v1/responses", {"model": "fanal", "input": "hello"})["id"]],
        "upload_id": [made("/v1/uploads", upload)["id"]],
        "import_id": [brought.raise_for_status().json()["id"]],
        "batch_id": [made("/v1/batches", batch)["id"]],
        "job_id": [made("/v1/fine_tuning/jobs", {"model": model, "training_file": rows})["id"]],
        "conversation_id": [made("/api/conversations", {"assistant": "fanal"})["id"], shared],
        "share": [made(f"/api/conversations/{shared}/share", {})["share"]],
        "feedback_id": [made("/api/feedback", rating)["id"]],
        "user_id": [made("/api/users", {"name": "somebody", "role": "user"})["id"]],
        "key_id": [made("/api/keys", {"name": "spare"})["key"]["id"]],
        "duel_id": [made("/api/duels", {"assistant": "fanal", "question": "hello"})["id"]],
        "webhook_id": [made("/api/webhooks", webhook)["webhook"]["id"]],
        **learnt(gateway, sessions["reviewer"], tmp_path_factory.mktemp("published")),
    }  # fmt: skip


def learnt(gateway: Gateway, reviewer: requests.Session, place: Path) -> dict[str, list[str]]:
    """What becomes of feedback: a judged answer, a dataset, an adapter trained on it, its release and its measure."""

    def made(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return gateway.admin.post(path, json=body).raise_for_status().json()

    for number in range(8):
        asked = {"model": "fanal", "messages": [{"role": "user", "content": f"question {number}"}]}
        completion = made("/v1/chat/completions", asked)["id"]
        made(
            "/api/feedback",
            {"completion_id": completion, "type": "correction", "correction": f"better {number}"},
        )
    verdict = reviewer.post(
        f"{gateway.url}/api/reviews", json={"completion_id": completion, "verdict": "approve"}
    )
    verdict.raise_for_status()
    dataset = made("/api/datasets", {"assistant": "fanal", "kind": "sft"})
    job = {
        "model": gateway.settings.model_name, "training_file": dataset["training_file"],
        "metadata": {"assistant": "fanal"},
    }  # fmt: skip
    digest, release = publish(gateway.settings, made("/v1/fine_tuning/jobs", job)["id"], place)
    assert release is not None
    measured = [made("/api/evaluations", {"release": release})["id"] for _ in range(2)]
    measure(gateway.settings, measured[0])
    made(f"/api/releases/{release}/stage", {"share": 50, "override_reason": "it is a test"})
    return {
        "dataset_id": [dataset["id"]], "digest": [digest], "evaluation_id": measured, "release": [release],
        "release_id": [release], "review_id": [verdict.json()["id"]],
    }  # fmt: skip


@pytest.fixture(scope="module")
def described(gateway: Gateway, known: dict[str, list[str]]) -> dict[str, Any]:
    """The description, its names and ids narrowed to what is there. We sign the requests ourselves."""
    found = httpx.get(f"{gateway.url}/openapi.json").json()
    del found["components"]["securitySchemes"]
    for path in found["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in known:
                    parameter["schema"] = {"type": "string", "enum": known[parameter["name"]]}
            for fields in bodies(found, operation):
                for name in fields.keys() & known.keys() - {"name"}:
                    fields[name] = {"type": "string", "enum": known[name]}
    return schemathesis.openapi.from_dict(found)


def bodies(found: dict[str, Any], operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The fields of each kind of body that an operation takes."""
    for content in operation.get("requestBody", {"content": {}})["content"].values():
        shape = content["schema"]
        if "$ref" in shape:
            shape = found["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
        yield shape.get("properties", {})


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part)
def test_every_answer_is_as_described(
    gateway: Gateway, sessions: dict[str, requests.Session], described: Any, method: str, path: str
):
    answered: set[int] = set()

    def send(case: Case) -> None:
        for session in sessions.values():
            answer = case.call_and_validate(gateway.url, session, checks=CHECKS, timeout=30)
            answered.add(answer.status_code)

    operation = described[path][method]
    takes = [*operation.path_parameters, *operation.query, *operation.headers, *operation.body]
    for mode in GenerationMode if takes else [GenerationMode.POSITIVE]:
        strategy = operation.as_strategy(generation_mode=mode)
        settings(
            max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(case=strategy)(send))()  # fmt: skip
    if method == "GET" and path != ENDED_IMPORT:
        assert 200 in answered, f"what is shown was never held to its description, only {answered}"
