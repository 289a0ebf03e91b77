"""Conversations outside the chat screen: the one a colleague shared, to read, and one's own, to take away.

Plain pages and files for whoever is signed in; what they may see is decided by the gateway.
"""

from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from ui.attachments import parted
from ui.client import Refused
from ui.login import problem, show
from ui.pages import alone
from ui.screens import Parts
from ui.sessions import language_of, token_of
from ui.words import words

FORMS = {"md": ("markdown", "text/markdown; charset=utf-8"), "json": ("json", "application/json")}


def routes(parts: Parts) -> APIRouter:
    """`/shared/{share}` and `/export/{conversation_id}.md` or `.json`."""
    router = APIRouter()

    @router.get("/shared/{share}")
    async def read(share: str, request: Request) -> Response:
        w, token = words(language_of(request)), token_of(request)
        try:
            if await parts.people.who(token) is None:
                return RedirectResponse(f"/login?next={quote(f'/shared/{share}', safe='/')}", 303)
            found = await parts.gateway.shared_conversation(token, share)
            everyone = await parts.gateway.assistants(token)
        except Refused as refused:
            if refused.status == 404:
                return show("not_shared", w, status=404)
            return problem(w, refused)
        title = next((one.title for one in everyone if one.name == found.assistant), found.assistant)
        turns = [(turn, *parted(turn.question)) for turn in found.turns]
        return show("shared", w, found=found, turns=turns, title=title, page=alone())

    @router.get("/export/{conversation_id}.{ending}")
    async def export(conversation_id: str, ending: str, request: Request) -> Response:
        w, token = words(language_of(request)), token_of(request)
        if ending not in FORMS:
            return show("not_shared", w, status=404)
        form, media = FORMS[ending]
        try:
            if await parts.people.who(token) is None:
                return JSONResponse({"detail": "Sign in first."}, 401)
            content = await parts.gateway.export(token, conversation_id, form)
        except Refused as refused:
            return problem(w, refused)
        name = f"conversation-{conversation_id.removeprefix('conv_')[:8]}.{ending}"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=media, headers=headers)

    return router
