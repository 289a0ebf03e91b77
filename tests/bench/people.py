"""A person at the chat's page, as the page's own script speaks to the server: Gradio's queue and its event stream.

Keeps what the page would hold and draws nothing: fifty real browsers would be the load themselves.
"""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from gradio_client.utils import apply_diff

from ui.sessions import COOKIE

WRITTEN, SETTLED = '<div class="text">', "data-completion="
"""In the growing answer when its first words are there; in the thread, once for each answer that is."""


@dataclass
class Shown:
    """One answer as its reader saw it. Seconds after the question was sent."""

    first: float = 0.0
    """Until its first words."""
    took: float = 0.0
    """Until all of it stood in the conversation."""
    updates: int = 0
    """How often the growing answer was drawn."""


class Person:
    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session, self._url, self._headers = session, url, {"cookie": f"{COOKIE}={token}"}
        self._hash = uuid.uuid4().hex[:11]
        self._values: dict[int, Any] = {}
        self._events: list[dict[str, Any]] = []
        self._named: dict[str, int] = {}

    async def open(self) -> None:
        """Load the page and what it asks for at once."""
        async with self._session.get(f"{self._url}/", headers=self._headers) as response:
            response.raise_for_status()
            await response.read()
        async with self._session.get(f"{self._url}/config", headers=self._headers) as response:
            config = await response.json()
        self._events = config["dependencies"]
        for one in config["components"]:
            self._values[one["id"]] = one["props"].get("value")
            self._named[one["props"].get("elem_id")] = one["id"]
        await self._fire(next(one for one in self._events if one["targets"][0][1] == "load"), Shown())

    async def ask(self, question: str) -> Shown:
        """Type a question, send it, and watch until the answer is there. Raises `RuntimeError` when none comes."""
        composer = self._named["composer"]
        self._values[composer] = question
        sent = next(one for one in self._events if one["targets"] == [[composer, "submit"]])
        shown = Shown()
        await self._fire(sent, shown)
        if not shown.took:
            raise RuntimeError(f"No answer came on the screen: {self._values[self._named['growing']]}")
        return shown

    async def _fire(self, event: dict[str, Any], shown: Shown) -> None:
        """An event, and those that follow it."""
        began, before = time.perf_counter(), self._answers()
        waiting = [event]
        while waiting:
            now = waiting.pop(0)
            went = await self._run(now, shown, began, before)
            waiting += [
                one
                for one in self._events
                if one["trigger_after"] == now["id"] and (went or not one["trigger_only_on_success"])
            ]

    async def _run(self, event: dict[str, Any], shown: Shown, began: float, before: int) -> bool:
        body = {
            "data": [self._values[one] for one in event["inputs"]], "event_data": None, "fn_index": event["id"],
            "trigger_id": event["targets"][0][0], "session_hash": self._hash,
        }  # fmt: skip
        join, data = f"{self._url}/gradio_api/queue/join", f"{self._url}/gradio_api/queue/data"
        async with self._session.post(join, json=body, headers=self._headers) as response:
            response.raise_for_status()
        outputs, went = [], False
        async with self._session.get(
            data, params={"session_hash": self._hash}, headers=self._headers
        ) as response:
            response.raise_for_status()
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                message = orjson.loads(line[6:])
                if message["msg"] in ("process_generating", "process_completed"):
                    went = message["success"]
                    told = message["output"].get("data", []) if went else []
                    diffs = message["msg"] == "process_generating" and bool(outputs)
                    outputs = (
                        [apply_diff(*pair) for pair in zip(outputs, told, strict=True)] if diffs else told
                    )
                    self._take(event["outputs"], outputs)
                    self._see(event["outputs"], shown, began, before)
                elif message["msg"] in ("close_stream", "unexpected_error", "server_stopped"):
                    break
        return went

    def _take(self, places: list[int], outputs: list[Any]) -> None:
        for place, value in zip(places, outputs, strict=False):
            if isinstance(value, dict) and value.get("__type__") == "update":
                if "value" in value:
                    self._values[place] = value["value"]
            else:
                self._values[place] = value

    def _see(self, places: list[int], shown: Shown, began: float, before: int) -> None:
        """What a reader would notice now."""
        now, growing = time.perf_counter() - began, self._values[self._named["growing"]] or ""
        written = WRITTEN in growing
        shown.updates += written and self._named["growing"] in places
        if written and not shown.first:
            shown.first = now
        if self._answers() > before and not shown.took:
            shown.took, shown.first = now, shown.first or now

    def _answers(self) -> int:
        return (self._values.get(self._named.get("thread", -1)) or "").count(SETTLED)


async def signed_in(session: aiohttp.ClientSession, api: str, key: str, name: str) -> str:
    """The session of a new person."""
    headers = {"authorization": f"Bearer {key}"}

    async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with session.post(api + path, json=body, headers=headers) as response:
            response.raise_for_status()
            return await response.json()

    user = await post("/api/users", {"name": name, "role": "user"})
    link = await post(f"/api/users/{user['id']}/link", {})
    return (await post("/api/session", {"link": link["link"]}))["token"]
