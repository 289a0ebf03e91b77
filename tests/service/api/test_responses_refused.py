import openai
import pytest

from tests.gateway import Gateway
from tests.service.api.test_responses import post


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"model": "nobody"}, 404, "model", "model_not_found"),
        ({"input": []}, 400, "input", "invalid_value"),
        ({"input": [{"role": "wizard", "content": "x"}]}, 400, "input.0.role", "invalid_value"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, 400, "input.0", "invalid_value"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, 400, "input", "invalid_value"),
        ({"temperature": 9}, 400, "temperature", "invalid_value"),
        ({"tools": [{"type": "web_search"}]}, 400, "tools.0", "invalid_value"),
        ({"background": True}, 400, "background", "unsupported_parameter"),
        ({"truncation": "auto"}, 400, "truncation", "unsupported_parameter"),
        ({"reasoning": {"effort": "high"}}, 400, "reasoning.effort", "unsupported_parameter"),
        ({"top_k": 3}, 400, "top_k", "invalid_value"),
        ({"previous_response_id": "resp_none"}, 404, "previous_response_id", "previous_response_not_found"),
    ],
)  # fmt: skip
def test_a_bad_request_is_told_in_openais_shape(gateway: Gateway, change, status, param, code):
    asked = len(gateway.engine_bodies)
    answer = post(gateway, **change)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert error["message"]
    assert len(gateway.engine_bodies) == asked


def test_a_missing_field_is_named(gateway: Gateway):
    error = gateway.admin.post("/v1/responses", json={"model": "fanal"}).json()["error"]
    assert (error["param"], error["code"]) == ("input", "missing_required_parameter")


def test_what_is_kept_is_not_streamed_again(gateway: Gateway):
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    given = client.responses.create(model="fanal", input="hello")
    with pytest.raises(openai.BadRequestError, match="stream"):
        client.responses.retrieve(given.id, stream=True)
    assert client.responses.retrieve(given.id, include=["reasoning.encrypted_content"]).id == given.id
    with pytest.raises(openai.BadRequestError, match="logprobs"):
        client.responses.retrieve(given.id, include=["message.output_text.logprobs"])
