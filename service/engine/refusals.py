"""What vLLM refuses, as one of our errors.

Owns how its statuses and sentences are read. Knows no connection.
"""

import orjson

from service.errors import BadInput, EngineError, EngineUnavailable, NotFound, TailorbirdError, TooMany

GONE = "The engine is starting or gone. Try again in a few seconds."


def refusal(status: int, body: bytes) -> TailorbirdError:
    """The engine's error as one of ours. vLLM's body is `{"error": {"message", "type", "param", "code"}}`."""
    try:
        error = orjson.loads(body)["error"]
        message, kind, param = str(error["message"]), str(error.get("type")), error.get("param")
        status = error["code"] if isinstance(error.get("code"), int) else status
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        message, kind, param = body.decode(errors="replace")[:500] or f"status {status}", "", None
    message = message.split(" (parameter=", 1)[0]
    if status == 503 and "busy" in message:
        return TooMany("The engine's queue is full. Try again in a few seconds.")
    if status == 503 or "EngineDead" in kind + message:
        return EngineUnavailable(GONE)
    if status == 404:
        return NotFound(message, param=param, code="model_not_found" if param == "model" else None)
    if 400 <= status < 500:
        too_long = "maximum context length" in message
        return BadInput(message, param=param, code="context_length_exceeded" if too_long else None)
    return EngineError(f"The engine failed: {message}")
