"""What is in a file of training rows, as people read it: how many, how long, in which language, from where.

Owns the order and the wording, in an import's report and as a page of its own. The gateway measures.
"""

import re
from typing import Annotated, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from service.contract.sheets import DataSheet, Said
from ui import datasets
from ui.client import Refused
from ui.login import problem
from ui.pages import alone, render
from ui.plots import histogram
from ui.screens import Parts
from ui.sessions import language_of, token_of
from ui.words import Words, words

SHOWN = 8
"""Labels and sources that get a bar of their own."""
ROOM = 40
"""Characters of a name above its bar."""
RELEASE = re.compile(r"release (\d+)")


class Counted(NamedTuple):
    """How rows spread over names."""

    bars: list[tuple[str, str, int, float]]
    """A name, the same as there is room for, its rows, and their share of the commonest name's; the commonest first."""
    rare: int
    """Further names, and the rows that they have together."""
    rows: int


def routes(parts: Parts) -> APIRouter:
    """`/studio/data/{file_id}`, for whoever may see the file."""
    router = APIRouter()

    @router.get("/studio/data/{file_id}")
    async def read(file_id: str, request: Request) -> Response:
        w, token = words(language_of(request)), token_of(request)
        try:
            if token is None or await parts.people.who(token) is None:
                return RedirectResponse(f"/login?next={quote(request.url.path, safe='/')}", 303)
            sheet = await parts.gateway.sheet(token, file_id)
            known = await datasets.files(parts.gateway, token)
        except Refused as refused:
            return problem(w, refused)
        file = next((one for one in known if one.id == file_id), None)
        held_out = datasets.held_out_of(file, known) if file else None
        page = render(
            "sheet_page", w, sheet=sheet, body=drawn(w, sheet), file=file, held_out=held_out, page=alone()
        )
        return Response(page, media_type="text/html")

    @router.post("/studio/data/{file_id}")
    async def say(
        file_id: str,
        request: Request,
        source: Annotated[str, Form()] = "",
        licence: Annotated[str, Form()] = "",
    ) -> Response:
        """Write down where a file is from, then show its sheet."""
        w, token = words(language_of(request)), token_of(request)
        try:
            if token is None or await parts.people.who(token) is None:
                return RedirectResponse(f"/login?next={quote(request.url.path, safe='/')}", 303)
            said = Said(source=source.strip()[:500], licence=licence.strip()[:200])
            await parts.gateway.sheet(token, file_id, said)
        except Refused as refused:
            return problem(w, refused)
        return RedirectResponse(request.url.path, 303)

    return router


def drawn(w: Words, sheet: DataSheet) -> Markup:
    """The sheet as HTML, plots first."""
    lengths = (("sheet_prompt", sheet.prompt_words), ("sheet_answer", sheet.answer_words))
    plots = [
        histogram(w, w(name), found) for name, found in (("sheet_tokens", sheet.tokens), *lengths) if found
    ]
    return Markup(
        render(
            "sheet", w, sheet=sheet, plots=plots, lengths=[*lengths, ("sheet_tokens", sheet.tokens)],
            languages=_counted({w(f"language_{name}"): n for name, n in sheet.languages.items()}),
            labels=_counted({_label(w, sheet, name): n for name, n in sheet.labels.items()}),
            sources=_counted({_source(w, name): n for name, n in sheet.sources.items()}),
        )
    )  # fmt: skip


def _counted(counts: dict[str, int]) -> Counted:
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    bars = [(name, _fitting(name), n, n / ordered[0][1]) for name, n in ordered[:SHOWN]]
    return Counted(bars, len(ordered[SHOWN:]), sum(n for _, n in ordered[SHOWN:]))


def _fitting(name: str) -> str:
    """Without the middle of a long one: addresses differ at their end."""
    return name if len(name) <= ROOM else f"{name[: ROOM // 3]}…{name[-ROOM * 2 // 3 :]}"


def _label(w: Words, sheet: DataSheet, name: str) -> str:
    ratings = {"desirable": w("sheet_desirable"), "undesirable": w("sheet_undesirable")}
    return ratings[name] if sheet.kind == "kto" else name


def _source(w: Words, name: str) -> str:
    if name == "base model":
        return w("base_model")
    found = RELEASE.fullmatch(name)
    return w("release_number", number=found[1]) if found else name
