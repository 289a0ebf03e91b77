"""What the screens share: the parts they are made of, the header, and how a refusal is said.

A screen is a `gr.Blocks` built once for each language. Its handlers take the person from the request's cookie
and ask the gateway in that person's name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from service.contract.users import User
from ui.answers import Answers
from ui.client import Gateway, Refused
from ui.notices import ours
from ui.pages import render
from ui.sessions import People, token_of
from ui.words import Words, refusal

AT_ONCE = 512
"""Events of one handler, and of one screen, at once; an answer that grows is one. Gradio's defaults are 1 and 40, which
would make people wait for each other."""
MANY: dict[str, Any] = {
    "concurrency_limit": AT_ONCE, "show_progress": "hidden", "api_visibility": "private"
}  # fmt: skip
"""What every event of a screen is given."""


@dataclass(frozen=True)
class Parts:
    gateway: Gateway
    people: People
    answers: Answers


class Screen:
    """One screen in one language. Subclasses add handlers and `build`."""

    name = ""

    def __init__(self, parts: Parts, w: Words) -> None:
        self.gateway, self.people, self.answers, self.w = parts.gateway, parts.people, parts.answers, w
        self.base = "/fr" if w.language == "fr" else ""

    def build(self) -> gr.Blocks:
        """The screen's components and events."""
        raise NotImplementedError

    async def person(self, request: gr.Request) -> tuple[str, User]:
        """The token and the person behind a request. Raises `Refused` when the session has ended."""
        token = token_of(request)
        user = await self.people.who(token)
        if user is None:
            raise Refused(401, "invalid_api_key", "The session has ended.")
        return token, user

    def header(self, user: User, *, menu: bool = False) -> str:
        path = "/" if self.name == "chat" else f"/{self.name}/"
        return render("header", self.w, user=user, here=self.name, base=self.base, path=path, menu=menu)

    @contextmanager
    def spoken(self) -> Iterator[None]:
        """A refusal inside becomes a notice on the screen; nothing else on it changes."""
        try:
            yield
        except Refused as refused:
            text = ours(refusal(self.w, refused), lost=refused.code == "unreachable")
            raise gr.Error(text, duration=12, print_exception=False) from None
