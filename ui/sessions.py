"""Who is signed in, and which screens that opens. The gateway decides; this only asks and remembers briefly.

Owns the two cookies, the cache of answers to "who is this", and the check at a screen's door: the role, and whose an
open page is.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, cast

import gradio as gr
from fastapi import HTTPException, Request

from service.contract.users import RANK, Role, User
from ui.client import Gateway, Refused

COOKIE = "tailorbird_session"
COMPARE = "compare"
LANGUAGE_COOKIE = "tailorbird_language"
Language = Literal["en", "fr"]


class People:
    """Answers "who is this token?" from the gateway, remembered for `life` seconds."""

    def __init__(self, gateway: Gateway, life: float = 5.0) -> None:
        self._gateway, self._life = gateway, life
        self._known: dict[str, tuple[float, User | None]] = {}

    async def who(self, token: str | None) -> User | None:
        """The person, or none for an unknown token. Raises `Refused` when the gateway cannot say."""
        if not token:
            return None
        digest = hashlib.sha256(token.encode()).hexdigest()
        until, user = self._known.get(digest, (0.0, None))
        if until > time.monotonic():
            return user
        try:
            user = await self._gateway.me(token)
        except Refused as refused:
            if refused.status != 401:
                raise
            user = None
        if len(self._known) > 5000:
            self._known.clear()
        self._known[digest] = (time.monotonic() + self._life, user)
        return user

    def forget(self, token: str) -> None:
        self._known.pop(hashlib.sha256(token.encode()).hexdigest(), None)


def token_of(request: Request | gr.Request | None) -> str:
    """The session token of a request, from Gradio or FastAPI; empty when there is none."""
    cookies = cast(Mapping[str, str], getattr(request, "cookies", None) or {})
    return cookies.get(COOKIE, "")


def may(user: User, role: Role, screen: str = "") -> bool:
    """Whether the role is enough, and whether the house's rules open the screen to this person."""
    return RANK[user.role] >= RANK[role] and (user.compares or screen != COMPARE)


STALE = "x-tailorbird-stale"
"""Header that has the browser load the page again: somebody else has signed in since."""
OPEN_PAGES = 20_000
"""Pages whose owner one screen remembers; the one that was longest silent is forgotten first."""


def only(people: People, role: Role, screen: str = "") -> Callable[[Request], Awaitable[str]]:
    """The door of a screen for `role` and above: 401 for nobody, 403 for somebody else, and for somebody who names
    another person's open page. Gradio itself hands a page's messages to whoever knows its `session_hash`."""
    owners: OrderedDict[str, str] = OrderedDict()

    async def check(request: Request) -> str:
        try:
            user = await people.who(token_of(request))
        except Refused as refused:
            raise HTTPException(503, refused.message) from refused
        if user is None:
            raise HTTPException(401, "Sign in first.")
        if not may(user, role, screen):
            raise HTTPException(403, f"This screen is for the role '{role}'.")
        for page in await _pages_in(request):
            if owners.setdefault(page, user.id) != user.id:
                raise HTTPException(403, "This page is another person's. Load it again.", {STALE: "1"})
            owners.move_to_end(page)
        while len(owners) > OPEN_PAGES:
            owners.popitem(last=False)
        return user.id

    return check


def language_of(request: Request) -> Language:
    """What was chosen, else what the browser prefers."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if chosen in ("en", "fr"):
        return cast(Language, chosen)
    return _preferred(request.headers.get("accept-language", ""))


def is_https(request: Request, public_url: str | None) -> bool:
    return request.url.scheme == "https" or (public_url or "").startswith("https://")


async def _pages_in(request: Request) -> set[str]:
    """The open pages that a request names, wherever Gradio reads `session_hash`."""
    places: list[Any] = [request.path_params, request.query_params, request.headers]
    if "json" in request.headers.get("content-type", ""):
        try:
            places.append(await request.json())
        except ValueError:
            pass  # Gradio says that it cannot read it
    found = [place.get("session_hash") for place in places if isinstance(place, Mapping)]
    return {page for page in found if isinstance(page, str) and page}


def _preferred(header: str) -> Language:
    """The better of our languages by RFC 9110's quality values; English when neither is named."""
    best: tuple[float, Language] = (0.0, "en")
    for part in header.split(","):
        name, _, parameters = part.strip().partition(";")
        language = name.strip().lower().partition("-")[0]
        quality = _quality(parameters)
        if language in ("en", "fr") and quality > best[0]:
            best = (quality, cast(Language, language))
    return best[1]


def _quality(parameters: str) -> float:
    value: Any = parameters.strip().removeprefix("q=")
    try:
        return float(value) if value else 1.0
    except ValueError:
        return 0.0
