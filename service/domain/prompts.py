"""A raw prompt as the engine gets it. Knows no HTTP.

An assistant is a base model, instructions and a release; without a conversation there is no place for
its instructions, and without them it would not be that assistant. So a raw prompt names a model.
"""

from typing import Any

from service.contract.prompts import PromptRequest
from service.domain.chat import Route
from service.errors import BadInput


def body_for_engine(route: Route, request: PromptRequest, *, request_id: str, salt: str) -> dict[str, Any]:
    """The request as the engine gets it. Raises `BadInput` for an assistant, for `echo` and in a conversation."""
    if route.assistant is not None:
        raise BadInput(
            f"'{route.requested}' is an assistant, and its instructions have no place in a raw prompt. "
            "Ask it at /v1/chat/completions, or name the base model or a tuned model ('ft:...').",
            param="model",
        )
    if request.echo:
        raise BadInput(
            "The prompt is not repeated before the answer. Leave 'echo' out.",
            param="echo",
            code="unsupported_parameter",
        )
    if "conversation" in (request.metadata or {}):
        raise BadInput(
            "A raw prompt is no turn of a conversation. Leave 'conversation' out of the metadata, or ask at "
            "/v1/chat/completions.",
            param="metadata",
        )
    body = request.sampling() | {
        "model": route.engine_model, "prompt": request.prompt, "request_id": request_id, "cache_salt": salt,
    }  # fmt: skip
    body.pop("echo", None)
    return body


def as_messages(prompt: Any) -> list[dict[str, Any]]:
    """How a raw prompt stands in the record, where a chat has its messages."""
    return [{"role": "prompt", "content": prompt}]
