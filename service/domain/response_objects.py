"""The object `response` on OpenAI's wire, from its beginning to its end. Pure; knows no database.

`echo` is what a response repeats of its request; it is kept with the completion, and all else follows
from the completion's record, so that a response read again is the one that was given.
"""

from typing import Any

from service.contract.responses import ResponseCreate
from service.domain.identity import now
from service.domain.response_items import output_items

Body = dict[str, Any]
BROKEN = "The engine broke off the answer. Send the request again."
RESPONSE, COMPLETION = "resp_", "chatcmpl-"


def response_id(completion_id: str) -> str:
    return RESPONSE + completion_id.removeprefix(COMPLETION)


def completion_id(response_id: str) -> str:
    """The completion that a response is; any other id is left as it is."""
    key = response_id.removeprefix(RESPONSE)
    return COMPLETION + key if key != response_id else response_id


def echo(wanted: ResponseCreate, *, recorded: bool) -> Body:
    """What the response repeats of its request."""
    text = wanted.text.model_dump(by_alias=True, exclude_none=True) if wanted.text else {}
    kept = (
        "instructions", "previous_response_id", "max_output_tokens", "max_tool_calls", "user",
        "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    )  # fmt: skip
    return {
        **{name: getattr(wanted, name) for name in kept},
        "created_at": now(),
        "model": wanted.model,
        "metadata": wanted.metadata or {},
        "tools": [_tool(tool.model_dump()) for tool in wanted.tools or ()],
        "tool_choice": wanted.tool_choice or "auto",
        "parallel_tool_calls": wanted.parallel_tool_calls is not False,
        "text": {"format": {"type": "text"}} | text,
        "store": recorded,
    }


def begun(completion_id: str, echo: Body, sampling: Body) -> Body:
    """The response while it is being written."""
    return {
        "id": response_id(completion_id),
        "object": "response",
        **echo,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "temperature": sampling.get("temperature"),
        "top_p": sampling.get("top_p"),
        "top_logprobs": 0,
        "truncation": "disabled",
        "usage": None,
    }


def ended(response: Body, answer: Body, completed_at: int) -> Body:
    """The response with an answer that the model itself ended; cut at the limit, it is `incomplete`."""
    choice = answer["choices"][0]
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(choice["finish_reason"])
    end = {
        "output": output_items(choice["message"], key_of(response), whole=reason is None),
        "usage": usage(answer.get("usage")),
    }
    if reason is not None:
        return response | end | {"status": "incomplete", "incomplete_details": {"reason": reason}}
    return response | end | {"status": "completed", "completed_at": completed_at}


def broken(response: Body, output: list[Body], message: str = BROKEN) -> Body:
    """The response when the engine failed, with what there was of it."""
    error = {"code": "server_error", "message": message}
    return response | {"status": "failed", "error": error, "output": output}


def usage(figures: Body | None) -> Body | None:
    if not figures:
        return None
    read, written = figures.get("prompt_tokens") or 0, figures.get("completion_tokens") or 0
    cached = (figures.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


def key_of(response: Body) -> str:
    """The part of its id that the ids of its items share."""
    return str(response["id"]).removeprefix(RESPONSE)


def _tool(tool: Body) -> Body:
    return tool | {"strict": bool(tool["strict"])}
