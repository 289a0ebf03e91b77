"""The screens as one application: plain pages, and a Gradio screen for each role and language.

Every screen is a mount of its own with its own check of the role, because a Gradio app shows the components of
all its pages to whoever may see one of them.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import gradio as gr
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from ui import reports, shared, sheets
from ui.admin import Admin
from ui.answers import Answers
from ui.chat import Chat
from ui.client import Gateway, Refused
from ui.compare import Compare
from ui.guard import SCREENS, Guard
from ui.login import routes, show
from ui.maths import typesetter
from ui.notices import LARGEST, notices
from ui.pages import static
from ui.review import Reviewing
from ui.screens import AT_ONCE, Parts, Screen
from ui.sessions import People, language_of, only, token_of
from ui.settings import Settings
from ui.studio import Studio
from ui.theme import theme
from ui.words import LANGUAGES, Words, refusal, words

CLASSES: dict[str, type[Screen]] = {
    "compare": Compare, "review": Reviewing, "studio": Studio, "admin": Admin, "": Chat,
}  # fmt: skip
QUEUE_PAUSE = 0.02
"""Seconds between two looks of an idle page for work: nobody notices, and a processor rests."""
NEVER = 3600.0
"""Seconds between two looks for Gradio's progress bars, of which there are none."""


def create_app(settings: Settings, gateway: Gateway | None = None) -> FastAPI:
    """The application. Nothing is called before it is asked for a page."""
    gateway = gateway or Gateway(settings.api_url)
    parts = Parts(gateway, People(gateway), Answers(gateway))

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await parts.answers.close()
        await gateway.close()

    app = FastAPI(lifespan=life, openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(routes(gateway, parts.people, settings))
    app.include_router(shared.routes(parts))
    app.include_router(reports.routes(parts))
    app.include_router(sheets.routes(parts))
    app.include_router(_plain(parts))
    # The longest path first: a mount takes every address that begins with its own.
    for language in reversed(LANGUAGES):
        for name, screen in CLASSES.items():
            path = "/".join(part for part in ("", "fr" if language == "fr" else "", name) if part)
            _mount(app, screen(parts, words(language)), f"/{path}", name)
    app.add_middleware(Guard, people=parts.people, settings=settings)
    return app


def _mount(app: FastAPI, screen: Screen, path: str, name: str) -> None:
    page = screen.build()
    # What `page.queue(api_open=False)` sets, without building Gradio's application once more.
    page.api_open = False
    page._queue.max_thread_count = AT_ONCE
    # After every event Gradio 6.31 sums up the last ten thousand of them with pandas, for a page that is switched off.
    page._queue.ANAYLTICS_CACHE_FREQUENCY = sys.maxsize
    # Gradio 6.31 itself looks a thousand times a second for work, and a hundred times for progress.
    page._queue.sleep_when_free, page._queue.progress_update_sleep_when_free = QUEUE_PAUSE, NEVER
    look: dict[str, Any] = {
        "theme": theme(), "css": static("screens.css") + static("chat.css") + static("phone.css"),
        "head": f"<style>{static('tokens.css')}{static('page.css')}</style><script>{_script(screen.w)}</script>",
    }  # fmt: skip
    door = only(screen.people, SCREENS[name], name)
    # Gradio 6.31 asks its `auth_dependency` on some of its routes; the application's own dependency is on each.
    gr.mount_gradio_app(
        app, page, path, auth_dependency=door, run_history=False, footer_links=[], show_error=False,
        ssr_mode=False, max_file_size=f"{LARGEST}mb", mcp_server=False, enable_monitoring=False,
        app_kwargs={
            "openapi_url": None, "docs_url": None, "redoc_url": None, "dependencies": [Depends(door)],
        }, **look,
    )  # fmt: skip


def _script(w: Words) -> str:
    given = {"tailorbirdMaths": typesetter(), "tailorbirdSaid": notices(w)}
    values = "".join(f"window.{name} = {json.dumps(value)};" for name, value in given.items())
    return values + static("page.js") + static("connection.js")


def _plain(parts: Parts) -> APIRouter:
    """What is neither a sign-in page nor a screen."""
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/connection")
    async def connection() -> Response:
        """A page that lost its connection asks here, until the gateway answers too."""
        return Response(status_code=204 if await parts.gateway.alive() else 503)

    @router.get("/assets/icon.svg")
    @router.get("/favicon.ico")
    async def icon() -> Response:
        headers = {"cache-control": "public, max-age=86400"}
        return Response(static("icon.svg"), media_type="image/svg+xml", headers=headers)

    @router.get("/studio/report/{evaluation_id}")
    async def report(
        evaluation_id: str, request: Request, lang: Literal["en", "fr"] | None = None
    ) -> Response:
        """An evaluation's report with the policy that the gateway gives it: a page on which nothing runs."""
        token = token_of(request)
        w = words(lang or language_of(request))
        try:
            if await parts.people.who(token) is None:
                return JSONResponse({"detail": "Sign in first."}, 401)
            page, policy = await parts.gateway.report(token, evaluation_id, w.language)
        except Refused as refused:
            return show("no_report", w, status=refused.status or 503, text=refusal(w, refused))
        headers = {"content-security-policy": policy}
        return Response(page, media_type="text/html", headers=headers)

    @router.get("/admin/audit.jsonl")
    async def journal(request: Request) -> Response:
        """The whole journal as a file; the gateway checks who asks."""
        try:
            content = await parts.gateway.export_audit(token_of(request) or "")
        except Refused as refused:
            w = words(language_of(request))
            return show("no_report", w, status=refused.status or 503, text=refusal(w, refused))
        headers = {"content-disposition": 'attachment; filename="audit.jsonl"'}
        return Response(content, media_type="application/jsonl", headers=headers)

    return router
