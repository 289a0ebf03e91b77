"""How an answer ended, gathered whole while it streams, so that what is recorded lacks nothing. Knows no database."""

from dataclasses import dataclass, field
from typing import Any

GOOD_ENDS = {"stop", "length", "tool_calls", "function_call", "content_filter"}
WHOLE = {"chat.completion.chunk": "chat.completion"}
"""The `object` of a stream's chunks, and of the same answer in one piece."""


@dataclass
class Ending:
    """Choices by index, in the shape of an answer that came in one piece."""

    choices: dict[int, dict[str, Any]] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    head: dict[str, Any] = field(default_factory=dict)
    """What an answer says besides choices and figures: its id, its model, when it began."""
    status: str = "interrupted"

    def take(self, chunk: dict[str, Any]) -> None:
        """Add what one chunk of a stream, or the whole answer, says."""
        aside = {"choices", "usage"}
        self.head |= {k: v for k, v in chunk.items() if k not in aside and v is not None}
        self.usage = chunk.get("usage") or self.usage
        for part in chunk.get("choices", ()):
            choice = self.choices.setdefault(part.get("index", 0), {"index": part.get("index", 0)})
            if "delta" in part:
                message = choice.setdefault("message", {"role": "assistant", "content": None})
                _add_delta(message, part["delta"] or {})
            elif "message" in part:
                choice["message"] = part["message"]
            else:
                choice["text"] = choice.get("text", "") + (part.get("text") or "")
            choice["logprobs"] = _joined(choice.get("logprobs"), part.get("logprobs"))
            choice["finish_reason"] = part.get("finish_reason") or choice.get("finish_reason")

    def ended_well(self, choices: int) -> bool:
        """Every choice was ended by the model itself, not by an abort of the engine."""
        ends = [self.choices.get(index, {}).get("finish_reason") for index in range(choices)]
        return all(end in GOOD_ENDS for end in ends)

    @property
    def broken(self) -> bool:
        """Whether the engine, and not the model, has ended a choice."""
        return any(
            (choice.get("finish_reason") or "stop") not in GOOD_ENDS for choice in self.choices.values()
        )

    @property
    def text(self) -> str:
        """What the first choice says."""
        choice = self.choices.get(0, {})
        return str(choice.get("text") or choice.get("message", {}).get("content") or "")

    @property
    def finish_reason(self) -> str | None:
        return self.choices.get(0, {}).get("finish_reason")

    def response(self) -> dict[str, Any]:
        """The answer in one piece, however it came."""
        kind = self.head.get("object", "")
        choices = [self.choices[index] for index in sorted(self.choices)]
        return self.head | {"object": WHOLE.get(kind, kind), "choices": choices, "usage": self.usage}


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("content", "refusal", "reasoning"):
        if delta.get(name):
            message[name] = (message.get(name) or "") + delta[name]
    for part in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        while len(calls) <= part["index"]:
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[part["index"]], part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def _joined(earlier: dict[str, Any] | None, more: dict[str, Any] | None) -> dict[str, Any] | None:
    """Log-probabilities are lists by name, each growing with the tokens."""
    if not earlier or not more:
        return earlier or more
    both = earlier | {name: value for name, value in more.items() if value}
    return both | {
        name: [*earlier[name], *more[name]] for name in earlier if earlier[name] and more.get(name)
    }
