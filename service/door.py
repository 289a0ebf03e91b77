"""Before a body is read: who calls, and how much may come.

FastAPI reads a request's body before any handler asks who sent it, so a stranger could fill the memory or
the temporary folder. Here a request of a method with a body shows its key first, and a body that grows too
long, whatever the method, is refused where it stands. Knows no route but the one that opens a session and
those that take a file.
"""

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.deps import NO_BODY, identify
from service.errors import TailorbirdError, TooLarge
from service.refusals import OUTAGES, answer, of_outage

SIGN_IN = "/api/session"
STRANGERS = 64 << 10
"""Bytes of a body that needs no key."""
FILES = re.compile("/v1/files|/v1/uploads/[^/]+/parts|/api/imports|/api/documents")
"""Routes that take a form with a file, which goes to the disk as it comes."""
JSON = 32 << 20
"""Bytes of any other body: whatever it says that it is, it is held in memory."""
FRAME = 1 << 20
"""Bytes of a form around its file."""


class Door:
    """Lets a request in once it is known who sends it; the caller is kept in the request's state."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            if not _of_strangers(scope):
                await identify(request, request.app.state.house)
            limit = _limit(request)
            if int(request.headers.get("content-length") or 0) > limit:
                raise TooLarge(_too_large(limit))
        except TailorbirdError as error:
            await answer(error)(scope, receive, send)
            return
        except OUTAGES as error:
            await answer(of_outage(error))(scope, receive, send)
            return
        await self.app(scope, _counted(receive, limit), send)


def _of_strangers(scope: Scope) -> bool:
    """Whether a body of this request needs no key."""
    return scope["method"] in NO_BODY or scope["path"] == SIGN_IN


def _limit(request: Request) -> int:
    if _of_strangers(request.scope):
        return STRANGERS
    form = request.headers.get("content-type", "").startswith("multipart/form-data")
    takes_file = form and FILES.fullmatch(request.scope["path"])
    return (request.app.state.house.settings.max_upload_mb << 20) + FRAME if takes_file else JSON


def _counted(receive: Receive, limit: int) -> Receive:
    came = 0

    async def counting() -> Message:
        nonlocal came
        message = await receive()
        came += len(message.get("body", b""))
        if came > limit:
            raise HTTPException(413, _too_large(limit))  # the one error that FastAPI's reading lets through
        return message

    return counting


def _too_large(limit: int) -> str:
    return (
        f"The body is larger than {limit >> 10} KB. Send less at once; files go to /v1/files or /v1/uploads."
    )
