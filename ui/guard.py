"""What stands in front of every screen: pure ASGI, so that streams pass through it untouched.

Sends people who ask for a page to the sign-in page, to their language or to a page that says why not; refuses
writes that another site's page started; and sets the headers that keep a browser from calling anybody else.
Everything below a screen is guarded by that screen's own door (`sessions.only`), the data by the gateway too.
"""

from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.contract.users import Role
from ui.client import Refused
from ui.login import show
from ui.opening import opening
from ui.sessions import People, language_of, may, token_of
from ui.settings import Settings
from ui.words import words

SAFE = ("GET", "HEAD", "OPTIONS")
SCREENS: dict[str, Role] = {
    "": "user",
    "compare": "user",
    "review": "reviewer",
    "studio": "reviewer",
    "admin": "administrator",
}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-src 'self'; frame-ancestors 'self'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
"""Nothing from outside is loaded or called; Gradio's own pages need inline scripts and `eval`."""


class Guard:
    def __init__(self, app: ASGIApp, people: People, settings: Settings) -> None:
        self._app, self._people, self._settings = app, people, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        answer = await self._answer(request)

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_policy(message["headers"])
            await send(message)

        screen = screen_of(request.url.path) if request.method == "GET" and answer is None else None
        await (answer or self._app)(scope, receive, opening(mark, screen[0]) if screen else mark)

    async def _answer(self, request: Request) -> Response | None:
        """What is answered here, before any screen sees the request; none lets it pass."""
        if request.method not in SAFE:
            if _from_elsewhere(request, self._settings.public_url):
                return JSONResponse({"detail": "This came from another site's page and was refused."}, 403)
            return None
        screen = screen_of(request.url.path)
        if screen is None:
            return None
        language, name = screen
        if not request.url.path.endswith("/"):
            return RedirectResponse(_address(request, request.url.path + "/"), 307)
        if language == "en" and language_of(request) == "fr":
            return RedirectResponse(_address(request, "/fr" + request.url.path), 303)
        return await self._door(request, name)

    async def _door(self, request: Request, name: str) -> Response | None:
        w = words("fr" if request.url.path.startswith("/fr/") else language_of(request))
        try:
            user = await self._people.who(token_of(request))
        except Refused:
            return show("waiting", w, status=503)
        if user is None:
            wanted = quote(_address(request, request.url.path), safe="/")
            return RedirectResponse(f"/login?next={wanted}", 303)
        if not may(user, SCREENS[name], name):
            role = w(f"role_{SCREENS[name]}")
            return show(
                "refused",
                w,
                status=403,
                name=user.name,
                role=role,
                closed=may(user, SCREENS[name]),
                home=request.url.path.startswith("/fr/"),
            )
        return None


def screen_of(path: str) -> tuple[str, str] | None:
    """`(language, screen)` when `path` is the address of a screen's page, with or without its last slash."""
    parts = [part for part in path.split("/") if part]
    language = "fr" if parts[:1] == ["fr"] else "en"
    rest = parts[1:] if language == "fr" else parts
    name = rest[0] if rest else ""
    return (language, name) if len(rest) <= 1 and name in SCREENS else None


def _address(request: Request, path: str) -> str:
    return f"{path}?{request.url.query}" if request.url.query else path


def _from_elsewhere(request: Request, public_url: str | None) -> bool:
    """Whether a browser says that a page of another origin started this write."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    if public_url is not None and origin == public_url:
        return False
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    return urlsplit(origin).netloc not in hosts


def _with_policy(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name.lower() for name, _ in headers}
    added = {
        b"content-security-policy": POLICY.encode(),
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"same-origin",
    }
    page = dict(headers).get(b"content-type", b"").startswith(b"text/html")
    if page:
        added[b"cache-control"] = b"no-store"
    return [*headers, *((name, value) for name, value in added.items() if name not in there)]
