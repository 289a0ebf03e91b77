"""Every route answers as `/openapi.json` says, whatever it is sent, and none breaks.

Requests are drawn from the description itself, fitting ones and others, and sent by a person of each role and by a
stranger. Names and ids are drawn from what is really there, so that a request gets as far as its role may, and what is
read is read by somebody at least once. A route's refusals are described once for all of them, as `4XX` and `5XX`
(`service.refusals`), since most come before the route is reached; so their statuses are held elsewhere, by the tests of
each route, and here that every refusal has the one shape and none is a 5XX.
"""

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
from tests.published import measure
from tests.things import ROWS, TABLE, Things

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
COMMON = {"name", "share"}
"""What a path and a body call by one word, and mean two things."""
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
def things(
    gateway: Gateway, sessions: dict[str, requests.Session], tmp_path_factory: pytest.TempPathFactory
) -> Things:
    return Things(gateway, sessions["reviewer"], tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def known(gateway: Gateway, things: Things) -> dict[str, list[str]]:
    """Something of every kind; of some kinds two that differ."""
    found = {
        name: [make()] for name, make in things.makers.items() if name not in ("url", "link", "documents")
    }
    found["model"].append("fanal")
    found["file_id"].append(things.lines())
    found["evaluation_id"].append(things.makers["evaluation_id"]())
    measure(gateway.settings, found["evaluation_id"][0])
    gateway.admin.post(f"/api/sheets/{found['file_id'][0]}").raise_for_status()
    trial = {"share": 50, "override_reason": "it is a test"}
    gateway.admin.post(f"/api/releases/{things.release}/stage", json=trial).raise_for_status()
    return found


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
                for name in fields.keys() & known.keys() - COMMON:
                    fields[name] = {"type": "string", "enum": known[name]}
    return schemathesis.openapi.from_dict(found)


def bodies(found: dict[str, Any], operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The fields of each kind of body that an operation takes."""
    for content in operation.get("requestBody", {"content": {}})["content"].values():
        for shape in content["schema"].get("anyOf", [content["schema"]]):
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


EXEMPT = {
    "POST /api/estimates": "a process counts tokens with the base model, which is not here; api.test_estimates",
    "POST /api/estimates/round": "likewise",
    "POST /api/splits/{file_id}": "rows enough to part; api.test_splits",
    "POST /api/adapters": "a ZIP that fits the base model's layers; api.test_adapters",
}
"""What no request of ours succeeds at in this gateway, and who looks at its answer."""
WRITES = [route for route in ROUTES if route[0] != "GET" and " ".join(route) not in EXEMPT]
FORMS: dict[str, dict[str, Any]] = {
    "POST /v1/files": {"files": {"file": ("a.jsonl", ROWS * 3)}, "data": {"purpose": "fine-tune"}},
    "POST /v1/uploads/{upload_id}/parts": {"files": {"data": ("a", ROWS)}},
    "POST /api/imports": {"files": {"file": ("a.csv", TABLE)}},
    "POST /api/documents": {"files": {"file": ("a.md", b"# Hours\n\nNine to five.\n")}},
}
"""What is sent as a form, which has no example."""
UNDONE = {
    "POST /v1/fine_tuning/jobs/{job_id}/resume": "/v1/fine_tuning/jobs/{job_id}/pause",
    "DELETE /api/conversations/{conversation_id}/share": "/api/conversations/{conversation_id}/share",
}
"""What takes back what another request did."""


@pytest.mark.parametrize(("method", "path"), WRITES, ids=lambda part: part)
def test_every_example_of_the_description_is_taken_and_its_answer_is_as_described(
    gateway: Gateway, sessions: dict[str, requests.Session], things: Things, described: Any, method: str, path: str
):  # fmt: skip
    """An example's names and ids are those of something real; everything else is sent as it stands there."""
    operation, name, makers = described[path][method], f"{method} {path}", things.makers
    ids = {parameter.name: makers[parameter.name]() for parameter in operation.path_parameters}
    sent = dict(FORMS.get(name, {}))
    if operation.body and name not in FORMS:
        shape = operation.definition.raw["requestBody"]["content"]["application/json"]["schema"]
        named = next(one["$ref"] for one in shape.get("anyOf", [shape]) if "$ref" in one)  # or none at all
        (example,) = described.raw_schema["components"]["schemas"][named.rpartition("/")[2]]["examples"]
        made = {field: makers[field]() for field in example.keys() & makers.keys() - COMMON}
        sent["json"] = example | made
    session = sessions["reviewer" if path.startswith("/api/reviews") else "administrator"]
    before_it(name, ids, sent, things, session)
    answer = session.request(method, gateway.url + path.format(**ids), timeout=30, **sent)
    assert answer.ok, (answer.status_code, answer.text, sent)
    operation.Case(path_parameters=ids).validate_response(answer, checks=CHECKS)


def before_it(
    name: str, ids: dict[str, str], sent: dict[str, Any], things: Things, session: requests.Session
) -> None:
    """What must be so before a request can succeed: some things are only taken back, ended or gone on with."""

    def asked(path: str, method: str = "POST", **more: Any) -> Any:
        answer = session.request(method, things.gateway.url + path.format(**ids), **more)
        answer.raise_for_status()
        return answer.json()

    if name in UNDONE:
        asked(UNDONE[name])
    match name:
        case "POST /v1/uploads/{upload_id}/complete":
            part = asked("/v1/uploads/{upload_id}/parts", files={"data": ("a", ROWS * 3)})
            sent["json"] = {"part_ids": [part["id"]]}
        case "DELETE /v1/models/{model}":
            ids["model"], _, _ = things.published()
        case "POST /api/assistants/{name}/rollback":
            asked(f"/api/releases/{things.release}/promote", json={"override_reason": "it is a test"})
        case "POST /api/releases/{release_id}/stage":  # one that is live already goes on no trial
            ids["release_id"] = things.candidate()[1]
        case "PUT /api/reviews/golden/{completion_id}":
            things.judged(ids["completion_id"])
        case "DELETE /api/reviews/golden/{completion_id}":
            things.judged(ids["completion_id"])
            asked("/api/reviews/golden/{completion_id}", "PUT", json={"expected": "approve"})
        case "DELETE /api/session":
            token = asked("/api/session", json={"link": things.makers["link"]()})["token"]
            sent["headers"] = {"Authorization": f"Bearer {token}"}
