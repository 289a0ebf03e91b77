"""HTTP to one engine.

Owns the engine's wire: routes, errors, streams and their cutting. Runs in the gateway's process, so it
imports nothing heavy. Knows nothing of assistants, and decides nothing about which adapters there should
be (`reconciler` does). It never reloads an adapter in place: vLLM 0.32 would then read it from disk at
every step (vllm-project/vllm#33791).
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from itertools import takewhile
from typing import Any

import aiohttp
import orjson

from service.engine.refusals import GONE, refusal
from service.engine.silence import Silence
from service.engine.sse import EventTooLong, events
from service.engine.turns import Turns
from service.errors import (
    BadInput,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    NotFound,
    TailorbirdError,
    TooMany,
)

logger = logging.getLogger(__name__)

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
"""The engine's routes that answer: messages, and a raw prompt."""
STEPS = "vllm:iteration_tokens_total_count"
"""vLLM's count of steps, in its figures."""
_JSON = {"content-type": "application/json"}
_NONE: Mapping[str, str] = {}
_OPENING = aiohttp.ClientTimeout(sock_connect=5.0)
AGAIN = 10.0
"""Seconds for the one token by which an engine that was hung shows that it is not."""
_BROKE = "The engine stopped in the middle of the answer. Send the request again."
_ENDING = "The service is ending. Send the request again in a minute."
_SLOW = "The engine did not answer in time. Try again, or ask for a shorter answer."


class Engine:
    """One vLLM server, at `unix:/path/to/socket` or `http://host:port`. Use it in one event loop.

    `ready`, `models` (what it serves now, base model included) and `release` (as `vllm 0.32.0`, noted
    whenever it comes up, for the record of its answers) are set by the reconciler;
    `in_flight` is the number of chats it is answering for us. `hung` says that an answer was given up because the
    engine made no step; nothing is sent there until the reconciler has seen it answer again. `heard` is when words of
    any answer came last, by `time.monotonic`.
    """

    def __init__(
        self,
        url: str,
        *,
        stream_timeout: float = 120.0,
        answer_timeout: float = 900.0,
        base: str | None = None,
        places: int | None = None,
    ) -> None:
        """Timeouts in seconds: without a step of the engine while an answer's first words are waited for, or a whole
        one, and between the words of a stream; a whole answer at all.

        `places` is how many adapters may be at work at once for us, any but `base`; see `turns`. None: any number.

        Raises `ValueError` for an address that is neither.
        """
        if not url.startswith(("unix:/", "http://", "https://")):
            raise ValueError(f"An engine's address is unix:/path or http://host:port, not '{url}'.")
        self.url = url
        self.ready = False
        self.models: set[str] = set()
        self.in_flight = 0
        self.hung = False
        self.heard = 0.0
        self._using: Counter[str] = Counter()
        self._base_name, self._turns = base, Turns(places) if places is not None else None
        self.release = "unknown"
        self._socket = url.removeprefix("unix:") if url.startswith("unix:") else None
        self._base = "http://engine" if self._socket else url.rstrip("/")
        self._patience, self._answer = stream_timeout, answer_timeout
        self._session: aiohttp.ClientSession | None = None
        self._ending = False
        self._responses: set[aiohttp.ClientResponse] = set()

    async def health(self) -> bool:
        """Whether the engine answers now and its core is alive. Raises nothing."""
        try:
            await self.check()
        except TailorbirdError:
            return False
        return True

    async def check(self) -> None:
        """As `health`, but says how it is not: `EngineTimeout` (slow or hung), else `EngineUnavailable`."""
        async with self._request("GET", "/health", None, _within(2.0)):
            return

    async def version(self) -> str:
        """vLLM's version, as `0.32.0`."""
        return str((await self._json("GET", "/version", timeout=5.0))["version"])

    async def served(self) -> set[str]:
        """Names a request may give as `model`: the base model's and every loaded adapter's."""
        return {str(card["id"]) for card in (await self._json("GET", "/v1/models", timeout=5.0))["data"]}

    async def figures(self) -> dict[str, float]:
        """The engine's own figures, by their names in Prometheus' text format, summed over their labels."""
        found: dict[str, float] = {}
        async with self._request("GET", "/metrics", None, _within(5.0)) as response:
            for line in (await response.text()).splitlines():
                name, _, value = line.rpartition(" ")
                if name and not line.startswith("#"):
                    name = name.partition("{")[0]
                    found[name] = found.get(name, 0.0) + float(value)
        return found

    async def waiting(self) -> int:
        """Requests that wait for their first step: in line here, and in the engine's own queue, where it says so."""
        line = len(self._turns) if self._turns is not None else 0
        try:
            return line + int((await self.figures()).get("vllm:num_requests_waiting", 0))
        except (TailorbirdError, ValueError):
            return line

    async def steps(self) -> float | None:
        """How many steps it has made; none when it does not say now."""
        try:
            return (await self.figures()).get(STEPS)
        except (TailorbirdError, ValueError):
            return None

    async def load(self, name: str, path: str, timeout: float = 60.0) -> None:
        """Load the adapter in folder `path` under `name`; one that is already loaded is left alone.

        Raises `EngineError` with the engine's reason, `EngineUnavailable`, `EngineTimeout`. A path that
        is not absolute is a `ValueError`: vLLM would take it for the name of a repository on a hub.
        """
        if not path.startswith("/"):
            raise ValueError(f"The folder of adapter '{name}' must be an absolute path, not '{path}'.")
        try:
            await self._text("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, timeout)
        except (BadInput, NotFound, EngineError) as error:
            if "already been loaded" not in error.message:
                raise EngineError(f"The engine refused adapter '{name}': {error.message}") from None

    async def unload(self, name: str, timeout: float = 10.0) -> None:
        """Forget the adapter's name; running answers finish. One that is not loaded is left alone."""
        try:
            await self._text("/v1/unload_lora_adapter", {"lora_name": name}, timeout)
        except NotFound:
            return

    async def chat(
        self, body: dict[str, Any], path: str = CHAT, headers: Mapping[str, str] = _NONE
    ) -> dict[str, Any]:
        """One whole answer, to messages or to a raw prompt. Cancelling the call closes the connection, and vLLM aborts.

        `headers` go along with ours: where a trace goes on, for example.
        Raises `BadInput` (the engine's message and param), `NotFound` (model), `TooMany`,
        `EngineUnavailable`, `EngineTimeout`, `EngineError`.
        """
        async with self._counted(body["model"]):
            async with self._while_it_steps():
                return await self._json("POST", path, body | {"stream": False}, self._answer, headers)

    async def stream(
        self, body: dict[str, Any], path: str = CHAT, headers: Mapping[str, str] = _NONE
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the `data` of the events as they come, those that came at once together, the last one `[DONE]`.

        A reader who is behind gets more at once, and passes it on at the price of one.

        A refusal is raised at the first event asked for, with the classes of `chat`; an engine that
        breaks off, or reports an error in the stream, raises `EngineUnavailable` or `EngineError` there.
        Closing the iterator (`contextlib.aclosing`) closes the connection at once, and vLLM aborts.
        """
        async with self._counted(body["model"]):
            async with aclosing(self._events(body | {"stream": True}, path, headers)) as stream:
                async with self._while_it_steps():
                    first = await anext(stream)
                yield first
                async for together in stream:
                    yield together

    def in_use(self, model: str) -> bool:
        """Whether it is answering for us with this model now, or is about to."""
        return model in self._using

    async def warm_up(self, model: str) -> None:
        """Have it compile what vLLM compiles at the first request that needs it; at once when it has.

        That is the ranking of log-probabilities: 2.6 to 3.6 s on two cores, in a step that all requests wait for.
        One that cannot do it is none the worse for answering. Raises `EngineUnavailable`, `EngineTimeout`.
        """
        try:
            await self.chat({"model": model, "prompt": "A", "max_tokens": 1, "temperature": 0,
                             "prompt_logprobs": 0, "logprobs": 0}, TEXT)  # fmt: skip
        except (BadInput, NotFound, TooMany, EngineError) as error:
            logger.warning("the engine at %s was not warmed up: %s", self.url, error)

    async def answers_again(self, model: str) -> bool:
        """Whether one token is answered at once by an engine that was hung. Raises nothing."""
        try:
            await self._json("POST", TEXT, {"model": model, "prompt": ".", "max_tokens": 1}, timeout=AGAIN)
        except TailorbirdError:
            return False
        self.hung = False
        return True

    async def tokenize(self, model: str, messages: list[dict[str, Any]]) -> list[int]:
        """Token ids of the prompt that the engine would render for `messages`, ready for an answer."""
        body = {"model": model, "messages": messages, "add_generation_prompt": True}
        return list((await self._json("POST", "/tokenize", body, timeout=30.0))["tokens"])

    async def logprobs(
        self, model: str, prompt_tokens: list[int], completion_tokens: list[int]
    ) -> list[float]:
        """Natural logarithm of the probability of each completion token, given all before it.

        Two lists of token ids in, one float for each completion token out. Raises as `chat` does.
        """
        tokens = prompt_tokens + completion_tokens
        body = {"model": model, "prompt": tokens, "prompt_logprobs": 0, "max_tokens": 1, "temperature": 0}
        answer = await self._json("POST", TEXT, body, self._answer)
        entries = answer["choices"][0]["prompt_logprobs"][len(prompt_tokens) :]
        return [
            float(entry[str(token)]["logprob"])
            for entry, token in zip(entries, completion_tokens, strict=True)
        ]

    async def _events(
        self, asked: dict[str, Any], path: str, headers: Mapping[str, str]
    ) -> AsyncGenerator[list[bytes], None]:
        """The events of one stream, however long the first may take."""
        silence: Silence | None = None
        try:
            async with self._request("POST", path, asked, _OPENING, headers) as response:
                async for together in events(response.content.iter_any()):
                    silence = silence or Silence(response, self._patience)
                    silence.heard()
                    self.heard = time.monotonic()
                    good = list(takewhile(_is_good, together))
                    if good:
                        yield good
                    if len(good) < len(together):
                        raise refusal(500, together[len(good)])
                    if together[-1] == b"[DONE]":
                        return
                    silence.read()
        finally:
            if silence is not None:
                silence.close()
        raise EngineUnavailable(_BROKE)

    @asynccontextmanager
    async def _while_it_steps(self) -> AsyncIterator[None]:
        """Wait in the block for an answer, or for its first words. A long wait is no hung engine: its steps are looked
        at from time to time. After so long without one the engine counts as hung, and `EngineTimeout` is raised."""
        try:
            async with asyncio.timeout(None) as limit:
                watch = asyncio.create_task(self._watch(limit))
                try:
                    yield
                finally:
                    watch.cancel()
        except TimeoutError:
            raise EngineTimeout(_SLOW) from None

    async def _watch(self, limit: asyncio.Timeout) -> None:
        moved, steps = time.monotonic(), None
        while time.monotonic() - moved < self._patience:
            await asyncio.sleep(self._patience / 4)
            before, steps = steps, await self.steps()
            if None not in (before, steps) and steps != before:
                moved = time.monotonic()
        self.hung = True
        limit.reschedule(0.0)

    async def close(self) -> None:
        """Close every connection. Harmless to repeat."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def give_up(self) -> None:
        """End every answer under way as an engine that breaks off does, and take no more: the service ends."""
        self._ending = True
        for response in self._responses:  # closing alone would leave their readers waiting
            response.content.set_exception(aiohttp.ClientConnectionError())
        await self.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._ending:
            raise EngineUnavailable(_ENDING)
        if self._session is None:
            # vLLM closes an idle connection after 5 s; one that we reuse just then would lose a request.
            pool: dict[str, Any] = {"limit": 0, "keepalive_timeout": 3.0}
            connector = (
                aiohttp.UnixConnector(path=self._socket, **pool)
                if self._socket
                else aiohttp.TCPConnector(**pool)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    @asynccontextmanager
    async def _counted(self, model: str) -> AsyncIterator[None]:
        """Counts one answer while it is waited for and given."""
        self.in_flight += 1
        self._using[model] += 1
        try:
            if self._turns is None or model == self._base_name:
                yield
            else:
                async with self._turns.taken(model):
                    yield
        finally:
            self.in_flight -= 1
            self._using[model] -= 1
            if not self._using[model]:
                del self._using[model]

    async def _json(
        self, method: str, route: str, body: dict[str, Any] | None = None, timeout: float = 30.0,
        headers: Mapping[str, str] = _NONE,
    ) -> dict[str, Any]:  # fmt: skip
        async with self._request(method, route, body, _within(timeout), headers) as response:
            return orjson.loads(await response.read())

    async def _text(self, route: str, body: dict[str, Any], timeout: float) -> str:
        async with self._request("POST", route, body, _within(timeout)) as response:
            return await response.text()

    @asynccontextmanager
    async def _request(
        self, method: str, route: str, body: dict[str, Any] | None, limit: aiohttp.ClientTimeout,
        headers: Mapping[str, str] = _NONE,
    ) -> AsyncIterator[aiohttp.ClientResponse]:  # fmt: skip
        """A response of status 200, failures translated; when left early, its connection is closed."""
        data = None if body is None else orjson.dumps(body)
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._open().request(
                method, self._base + route, data=data, headers={**_JSON, **headers}, timeout=limit
            )
            if response.status != 200:
                raise refusal(response.status, await response.read())
            self._responses.add(response)
            yield response
        except TimeoutError:
            raise EngineTimeout(_SLOW) from None
        except EventTooLong as error:
            raise EngineError(f"The engine's answer cannot be read: {error}.") from None
        except (aiohttp.ClientError, OSError) as error:
            broke = _BROKE if response is not None else GONE
            if not self._ending:
                logger.warning("%s of the engine at %s failed: %s", route, self.url, type(error).__name__)
            raise EngineUnavailable(_ENDING if self._ending else broke) from None
        finally:
            if response is not None:
                self._responses.discard(response)
                if not response.content.at_eof():
                    response.close()


def _is_good(data: bytes) -> bool:
    return not data.startswith(b'{"error"')


def _within(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)
