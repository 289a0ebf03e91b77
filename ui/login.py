"""Signing in and out, and the choice of language: plain pages that work without a script.

A one-time link is used up only by pressing its button, so that a preview of the link does no harm. Owns the
cookie's attributes and which addresses may follow a sign-in. Knows no Gradio.
"""

import time
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from service.contract.users import Session
from ui.client import Gateway, Refused
from ui.pages import render, static
from ui.sessions import COOKIE, LANGUAGE_COOKIE, People, is_https, language_of, token_of
from ui.settings import Settings
from ui.words import Words, refusal, words

YEAR = 365 * 86_400


def routes(gateway: Gateway, people: People, settings: Settings) -> APIRouter:
    """`/login`, `/logout` and `/language`."""
    pages = _Pages(gateway, people, settings)
    router = APIRouter()
    router.add_api_route("/login", pages.ask, methods=["GET"])
    router.add_api_route("/login", pages.sign_in, methods=["POST"])
    router.add_api_route("/logout", pages.sign_out, methods=["POST"])
    router.add_api_route("/language", pages.choose, methods=["GET"])
    return router


class _Pages:
    def __init__(self, gateway: Gateway, people: People, settings: Settings) -> None:
        self._gateway, self._people, self._settings = gateway, people, settings

    async def ask(self, request: Request, link: str = "", next: str = "/") -> Response:
        return _login_page(words(language_of(request)), link=link, next=inner(next))

    async def sign_in(
        self,
        request: Request,
        link: Annotated[str, Form()] = "",
        key: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "/",
    ) -> Response:
        w = words(language_of(request))
        how = {"link": link.strip()} if link.strip() else {"key": key.strip()}
        if not any(how.values()):
            return _login_page(w, next=inner(next), problem=w("login_nothing"), status=400)
        try:
            session = await self._gateway.sign_in(**how)
        except Refused as refused:
            problem = w("login_wrong_link" if link else "login_wrong_key")
            if refused.status not in (400, 401):
                problem = refusal(w, refused)
            return _login_page(w, next=inner(next), problem=problem, status=refused.status or 503)
        response = RedirectResponse(inner(next), 303)
        _keep(response, session, secure=is_https(request, self._settings.public_url))
        return response

    async def sign_out(self, request: Request) -> Response:
        token = token_of(request)
        if token:
            self._people.forget(token)
            try:
                await self._gateway.sign_out(token)
            except Refused as refused:
                # A session that has ended already is what was wanted; anything else must be said.
                if refused.status != 401:
                    w = words(language_of(request))
                    return _login_page(w, problem=refusal(w, refused), status=refused.status or 503)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, path="/")
        return response

    async def choose(self, request: Request, to: str = "en", next: str = "/") -> Response:
        response = RedirectResponse(inner(next), 303)
        if to in ("en", "fr"):
            secure = is_https(request, self._settings.public_url)
            response.set_cookie(LANGUAGE_COOKIE, to, max_age=YEAR, path="/", samesite="lax", secure=secure)
        return response


def inner(address: str) -> str:
    """`address` when it stays on this site, else the chat."""
    parts = urlsplit(address)
    odd = "\\" in address or any(ord(character) < 32 for character in address)
    if odd or parts.scheme or parts.netloc or not address.startswith("/") or address.startswith("//"):
        return "/"
    return address


def show(template: str, w: Words, *, status: int = 200, **values: Any) -> HTMLResponse:
    """One of the plain pages."""
    css = static("tokens.css") + static("plain.css")
    return HTMLResponse(render(template, w, css=css, **values), status)


def problem(w: Words, refused: Refused) -> HTMLResponse:
    """A plain page that says why the gateway refused."""
    return show("problem_page", w, status=refused.status or 503, text=refusal(w, refused))


def _login_page(
    w: Words, *, link: str = "", next: str = "/", problem: str = "", status: int = 200
) -> Response:
    return show("login", w, status=status, link=link, next=next, problem=problem)


def _keep(response: Response, session: Session, *, secure: bool) -> None:
    # Lax, not strict: a link to a conversation in somebody's mail must open it. Writes are guarded by their origin.
    life = max(60, session.expires_at - int(time.time()))
    response.set_cookie(
        COOKIE, session.token, max_age=life, path="/", httponly=True, samesite="lax", secure=secure
    )
