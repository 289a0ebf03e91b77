"""The events of a streamed response, from the chunks of a streamed chat completion. Pure; knows no HTTP.

Events come in OpenAI's order: each item is added, grows and is done before the next one begins.
"""

from typing import Any

from service.domain.endings import Ending
from service.domain.identity import now
from service.domain.response_items import call_item, message_item, text_part
from service.domain.response_objects import broken, ended, key_of
from service.errors import EngineError

Body = dict[str, Any]
SENT_AGAIN = "The engine sent a part of a tool call that had ended. Send the request again."


class Events:
    """Tells one response. Each method returns the events to send now; `end` or `fail` comes last."""

    def __init__(self, response: Body) -> None:
        self.response = response
        self.items: list[Body] = []
        self._ending = Ending()
        self._calls: list[int] = []
        """Places of the calls seen, the newest last."""
        self._sent = 0

    def begin(self) -> list[Body]:
        return [
            self._event("created", response=self.response),
            self._event("in_progress", response=self.response),
        ]

    def take(self, chunk: Body) -> list[Body]:
        """What one chunk of the chat completion adds. Raises `EngineError` for a call that goes on after its end."""
        self._ending.take(chunk)
        events: list[Body] = []
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta") or {}
            if delta.get("content"):
                events += self._text(delta["content"])
            for part in delta.get("tool_calls") or ():
                events += self._call(part)
        return events

    def end(self) -> list[Body]:
        """The model ended its answer: whole, or cut at the limit."""
        answer = self._ending.response()
        response = ended(self.response, answer, now())
        events = [] if self.items or response["status"] != "completed" else self._open_message()
        events += self._close("completed" if response["status"] == "completed" else "incomplete")
        response["output"] = self.items
        return [*events, self._event(response["status"], response=response)]

    def fail(self, message: str) -> list[Body]:
        """The engine broke off: never an end that looks like one."""
        if self.items and self.items[-1]["status"] == "in_progress":
            self.items[-1]["status"] = "incomplete"
        return [self._event("failed", response=broken(self.response, self.items, message))]

    def _text(self, delta: str) -> list[Body]:
        events: list[Body] = []
        if not self._open("message"):
            events = self._close("completed") + self._open_message()
        self.items[-1]["content"][0]["text"] += delta
        return [*events, self._of_part("output_text.delta", delta=delta, logprobs=[])]

    def _call(self, part: Body) -> list[Body]:
        function, events = part.get("function") or {}, []
        if part["index"] not in self._calls:
            events = self._close("completed")
            self._calls.append(part["index"])
            item_id = f"fc_{key_of(self.response)}_{len(self.items)}"
            self.items.append(
                call_item(item_id, part.get("id") or item_id, function.get("name") or "", "", "in_progress")
            )
            events.append(self._of_item("output_item.added"))
        elif part["index"] != self._calls[-1] or not self._open("function_call"):
            raise EngineError(SENT_AGAIN)
        if arguments := function.get("arguments"):
            self.items[-1]["arguments"] += arguments
            events.append(self._told("function_call_arguments.delta", delta=arguments))
        return events

    def _open(self, kind: str) -> bool:
        return bool(self.items) and (self.items[-1]["type"], self.items[-1]["status"]) == (
            kind,
            "in_progress",
        )

    def _open_message(self) -> list[Body]:
        item_id = f"msg_{key_of(self.response)}_{len(self.items)}"
        self.items.append(message_item(item_id, None, "in_progress"))
        added = self._of_item("output_item.added")
        self.items[-1]["content"] = [text_part("")]
        return [added, self._of_part("content_part.added", part=text_part(""))]

    def _close(self, status: str) -> list[Body]:
        if not self.items or self.items[-1]["status"] != "in_progress":
            return []
        item = self.items[-1]
        item["status"] = status
        if item["type"] == "function_call":
            done = self._told("function_call_arguments.done", name=item["name"], arguments=item["arguments"])
            return [done, self._of_item("output_item.done")]
        text = item["content"][0]["text"]
        return [
            self._of_part("output_text.done", text=text, logprobs=[]),
            self._of_part("content_part.done", part=text_part(text)),
            self._of_item("output_item.done"),
        ]

    def _of_item(self, kind: str) -> Body:
        return self._event(kind, output_index=len(self.items) - 1, item=dict(self.items[-1]))

    def _told(self, kind: str, **fields: Any) -> Body:
        place = {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}
        return self._event(kind, **place, **fields)

    def _of_part(self, kind: str, **fields: Any) -> Body:
        return self._told(kind, content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> Body:
        event = {"type": f"response.{kind}", "sequence_number": self._sent, **fields}
        self._sent += 1
        return event
