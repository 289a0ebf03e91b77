"""The webhooks' deliveries: what ended is posted to who wants to hear of it, again and again until it arrives.

Runs in the gateway's process, one task for each webhook that something is due to, so that a receiver that
hangs holds up nobody else's. What is sent and when it is sent again is the domain's; here is the way to
the receiver: its address is looked up and judged each time, and the very address that was judged is
connected to. No redirect is followed, no proxy is used, and of the answer nothing but its status is read.
"""

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import httpx

from service.api.deps import House
from service.db import tables
from service.domain import addresses, webhooks
from service.logs import log
from service.looking import keep_looking

POLL = 0.5
"""Seconds between two looks at what is due."""
TIME_LIMIT = 15.0
"""Seconds an attempt takes at most, from looking up the name to the status."""
LOOKUPS = 16
"""Names looked up at once, in threads of their own: a name server that hangs holds up no file."""


class NotReached(Exception):
    """There is no address behind the URL that may be sent to, or none that lets us connect."""


class Webhooks:
    """Run `run` as a task, in any number of gateways over one database."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._transport = httpx.AsyncHTTPTransport(
            verify=ssl.create_default_context(),  # a house's own authority is known to its machines
            trust_env=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )  # fmt: skip
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="webhooks")
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Send what is due, until cancelled; what is being sent then is sent again when its lease is over."""
        try:
            await keep_looking(self._look, POLL, "the webhooks cannot be looked at")
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._lookups.shutdown(wait=False, cancel_futures=True)
            await self._transport.aclose()

    async def _look(self) -> None:
        for webhook_id, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[webhook_id]
                if (error := task.exception()) is not None:
                    log.error("a webhook stopped", exc_info=error, extra={"fields": {"webhook": webhook_id}})
        async with self._house.database.reading() as session:
            due = await webhooks.due(session)
        for webhook_id in due - self._tasks.keys():
            self._tasks[webhook_id] = asyncio.create_task(self._serve(webhook_id))

    async def _serve(self, webhook_id: str) -> None:
        """All that is due to one webhook, one after the other."""
        while True:
            async with self._house.database.writing() as session:
                claimed = await webhooks.claim(session, webhook_id)
            if claimed is None:
                return
            webhook, owner, delivery = claimed
            status = await self._attempt(webhook, owner, delivery)
            async with self._house.database.writing() as session:
                await webhooks.note(session, delivery, status)

    async def _attempt(
        self, webhook: tables.Webhook, owner: tables.User, delivery: tables.Delivery
    ) -> int | None:
        """The status that the receiver answers; none when it does not."""
        status, problem = None, None
        body, headers = webhooks.signed(self._house.hasher, delivery)
        headers |= {"content-type": "application/json", "user-agent": "Tailorbird"}
        try:
            async with asyncio.timeout(TIME_LIMIT):
                status = await self._send(
                    httpx.URL(webhook.url), headers, body, owner.role == "administrator"
                )
        except (NotReached, TimeoutError, httpx.HTTPError, OSError) as error:
            problem = type(error).__name__
        fields = {"webhook": webhook.id, "event": delivery.event_id, "attempt": delivery.attempts,
            "status": status, "problem": problem}  # fmt: skip
        log.info("webhook tried", extra={"fields": fields})
        return status

    async def _send(self, url: httpx.URL, headers: dict[str, str], body: bytes, administrator: bool) -> int:
        """Post to the first address that lets us connect. Raises `NotReached`, or as httpx does."""
        port = url.port or (443 if url.scheme == "https" else 80)
        host = url.raw_host.decode().strip("[]")
        closed = await self._engines()
        for address in await self._addresses(host, port):
            outside = self._house.settings.webhooks_outside
            if (address, port) in closed or addresses.refusal(
                address, administrator=administrator, outside=outside
            ):
                continue
            request = httpx.Request(
                "POST", url.copy_with(host=address), content=body,
                headers={"host": url.netloc.decode(), **headers}, extensions={"sni_hostname": host},
            )  # fmt: skip
            try:
                response = await self._transport.handle_async_request(request)
            except httpx.ConnectError:
                continue
            await response.aclose()
            return response.status_code
        raise NotReached

    async def _engines(self) -> set[tuple[str, int]]:
        """Where engines listen over the network: they ask nobody for a key, so no webhook leads to them."""
        found = set()
        for engine in self._house.engines:
            if not engine.url.startswith("unix:"):
                url = httpx.URL(engine.url)
                port = url.port or (443 if url.scheme == "https" else 80)
                found |= {(address, port) for address in await self._addresses(url.host, port)}
        return found

    async def _addresses(self, host: str, port: int) -> list[str]:
        """As the name server tells them now; none when it knows no such name."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._lookups, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
        except (socket.gaierror, UnicodeError):
            return []
        return list(dict.fromkeys(str(one[4][0]) for one in found))
