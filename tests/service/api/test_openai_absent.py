"""What OpenAI has and Tailorbird has not: the official SDK hears clearly that it is not here, and what is."""

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.gateway import Gateway

HERE = (
    "/v1/batches", "/v1/chat/completions", "/v1/completions", "/v1/files", "/v1/fine_tuning/jobs", "/v1/models",
    "/v1/responses", "/v1/uploads",
)  # fmt: skip
ABSENT: dict[str, Callable[[openai.OpenAI], Any]] = {
    "POST /v1/embeddings": lambda c: c.embeddings.create(model="fanal", input="a"),
    "POST /v1/images/generations": lambda c: c.images.generate(model="fanal", prompt="a"),
    "POST /v1/images/edits": lambda c: c.images.edit(model="fanal", image=b"a", prompt="a"),
    "POST /v1/audio/speech": lambda c: c.audio.speech.create(model="fanal", voice="alloy", input="a"),
    "POST /v1/audio/transcriptions": lambda c: c.audio.transcriptions.create(model="fanal", file=b"a"),
    "POST /v1/moderations": lambda c: c.moderations.create(input="a"),
    "POST /v1/vector_stores": lambda c: c.vector_stores.create(name="a"),
    "GET /v1/vector_stores/vs_1": lambda c: c.vector_stores.retrieve("vs_1"),
    "GET /v1/evals": lambda c: c.evals.list(),
    "POST /v1/evals/eval_1/runs": lambda c: c.evals.runs.create(
        "eval_1", data_source={"type": "jsonl", "source": {"type": "file_id", "id": "file-1"}}
    ),
    "POST /v1/containers": lambda c: c.containers.create(name="a"),
    "POST /v1/conversations": lambda c: c.conversations.create(),
    "GET /v1/conversations/conv_1": lambda c: c.conversations.retrieve("conv_1"),
    "POST /v1/fine_tuning/checkpoints/ft:a/permissions": lambda c: (
        c.fine_tuning.checkpoints.permissions.create("ft:a", project_ids=["proj_1"])
    ),
    "POST /v1/fine_tuning/alpha/graders/run": lambda c: c.fine_tuning.alpha.graders.run(
        grader={"type": "string_check", "name": "a", "input": "a", "operation": "eq", "reference": "a"},
        model_sample="a",
    ),
    "POST /v1/fine_tuning/alpha/graders/validate": lambda c: c.fine_tuning.alpha.graders.validate(
        grader={"type": "string_check", "name": "a", "input": "a", "operation": "eq", "reference": "a"}
    ),
    "POST /v1/responses/input_tokens": lambda c: c.responses.input_tokens.count(model="fanal", input="a"),
    "POST /v1/responses/compact": lambda c: c.responses.compact(model="fanal", input="a"),  # type: ignore[arg-type]
    "POST /v1/responses/resp_1/cancel": lambda c: c.responses.cancel("resp_1"),
}


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("asked", ABSENT)
def test_what_is_not_here_is_said_with_what_is(client: openai.OpenAI, asked: str):
    with pytest.raises(openai.NotFoundError) as refusal:
        ABSENT[asked](client)
    error = refusal.value
    assert (error.code, error.type) == ("unknown_url", "invalid_request_error")
    assert f"Unknown address: {asked}. " in error.message
    assert f"there is here: {', '.join(HERE)}." in error.message
    assert error.request_id is not None


@pytest.mark.parametrize(
    ("method", "path", "takes"),
    [
        ("PUT", "/files", "GET, POST"),
        ("POST", "/models", "GET"),
        ("PATCH", "/fine_tuning/jobs/ftjob-1", "GET"),
        ("DELETE", "/chat/completions", "GET, POST"),
    ],
)
def test_a_method_that_an_address_does_not_take_is_said_with_those_it_takes(
    client: openai.OpenAI, method: str, path: str, takes: str
):
    with pytest.raises(openai.APIStatusError) as refusal:
        client.request(object, openai._models.FinalRequestOptions(method=method, url=path, json_data={}))
    error = refusal.value
    assert (error.status_code, error.code) == (405, "method_not_allowed")
    assert f"{method} /v1{path} is not served here. This address takes {takes}." in error.message
    assert error.response.headers["allow"] == takes


def test_a_grader_or_an_integration_in_a_job_is_refused_by_name(client: openai.OpenAI):
    """What a served route does not take of OpenAI's: a 400 that names it."""
    with pytest.raises(openai.BadRequestError) as refusal:
        client.fine_tuning.jobs.create(
            model="fanal", training_file="file-1", method={"type": "reinforcement", "reinforcement": {"grader": {}}}  # type: ignore[arg-type]
        )  # fmt: skip
    assert refusal.value.param is not None
    assert refusal.value.param.startswith("method")
