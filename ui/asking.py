"""Asking in the chat: a new question, an answer asked for again, a question changed; and the answer as it grows.

Owns what is sent for each and what the screen shows meanwhile. What is recorded is the gateway's. An answer begins,
grows and ends in three events: Gradio makes every output of an event anew each time, so what grows stands alone.
"""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from service.contract.assistants import Assistant
from service.contract.conversations import START, Turn
from ui import conversations
from ui.acts import Act
from ui.answers import Answer
from ui.attachments import joined, parted
from ui.branches import before, next_follows
from ui.client import Refused
from ui.pages import render
from ui.screens import Parts, Screen
from ui.sessions import OPEN_PAGES
from ui.words import Words, refusal

KEEP = gr.skip()
NOTHING = [KEEP] * 7
LONGEST = 200_000
"""Characters of one question with its files, at most."""
BROKEN = ("engine_error", "broken_off")
"""Codes of an answer that began and did not end."""
LIVELY = 0.7
"""The temperature of an answer asked for again, where the assistant's own would give nearly the same words."""


class Asking(Screen):
    """The part of the chat that asks. Shows by seven outputs: side, thread, growing, composer and three ids."""

    def __init__(self, parts: Parts, w: Words) -> None:
        super().__init__(parts, w)
        self._listed: dict[str, int] = {}
        """How many conversations an open page lists, where somebody asked for older ones."""

    async def _pressed(self, request: gr.Request, act: Act, here: str, chosen: str) -> list[Any]:
        """A button that asks: a starter, a failed question, an answer again, a changed question."""
        turn, text = None, act.value
        with self.spoken():
            token, _ = await self.person(request)
            if act.act == "ask_now":
                here = act.value
            if act.act in ("regenerate", "ask_now", "edit"):
                found = await conversations.settled(self.gateway, token, here)
                turn = next((one for one in found.turns if one.completion_id == act.id), None)
                if turn is None:
                    raise Refused(400, "not_understood", "This could not be understood. Reload the page.")
                text = _changed(turn, act.text("question")) if act.act == "edit" else turn.question
        again = turn is not None and text == turn.question
        follows = (turn.follows or START) if turn else act.id
        return await self._ask(request, text, here, chosen, follows=follows, again=again)

    async def _ask(
        self, request: gr.Request, text: str, here: str, chosen: str, *, follows: str = "", again: bool = False
    ) -> list[Any]:  # fmt: skip
        """Ask after the turn `follows`, or else after the last one shown: the turns before, and the answer begun."""
        question = text.strip()[:LONGEST]
        if not question:
            return NOTHING
        with self.spoken():
            token, user = await self.person(request)
            if not here:
                title = conversations.title_of(parted(question)[0])
                here = (await self.gateway.create_conversation(token, chosen, title)).id
            side = await self._side(request, token, here, asked=True)
            found = await conversations.settled(self.gateway, token, here)
            assistant = named(await self.gateway.assistants(token), found.assistant)
            follows = follows or next_follows(found)
            calm = again and assistant is not None and assistant.temperature < LIVELY
            answer = self.answers.start(
                token, user.id, model=found.assistant, conversation=here, follows=follows,
                title=assistant.title if assistant else found.assistant,
                messages=conversations.messages(before(found, follows), question),
                temperature=LIVELY if calm else None,
            )  # fmt: skip
            self.answers.show(here, user.id, request.session_hash)
        earlier = conversations.thread(self.w, found, assistant, growing=answer.follows, said=("", ""))
        writing = gr.Textbox(value="", submit_btn=False, stop_btn=True)
        place = [here, found.assistant, conversations.WINDOW]
        return [side, earlier, self._growing(answer), writing, *place]

    async def _side(
        self, request: gr.Request, token: str, here: str, search: str = "", *, asked: bool = False
    ) -> str:
        """The list of conversations, as far as this page was asked to show it."""
        count = self._listed.get(str(request.session_hash), conversations.LISTED)
        return await conversations.side(self.gateway, token, self.w, here, search, asked=asked, count=count)

    def _list_more(self, request: gr.Request) -> None:
        """Older conversations too, on this page."""
        page = str(request.session_hash)
        self._listed[page] = self._listed.pop(page, conversations.LISTED) + conversations.LISTED
        if len(self._listed) > OPEN_PAGES:
            del self._listed[next(iter(self._listed))]

    async def grow(self, request: gr.Request, here: str) -> AsyncIterator[Any]:
        """The answer being written in the conversation, each time it has grown; nothing where there is none."""
        yield KEEP  # a generator that yields nothing would empty its output
        with self.spoken():
            _, user = await self.person(request)
        answer = self.answers.of(here, user.id)
        if answer is not None:
            async for _ in self.answers.growth(answer):
                yield self._growing(answer)

    async def ended(self, request: gr.Request, here: str, chosen: str, window: int) -> list[Any]:
        """All as it was recorded, when an answer has just ended."""
        with self.spoken():
            token, user = await self.person(request)
            answer = self.answers.ended(here, user.id, request.session_hash)
            if answer is None:
                return NOTHING
            found = await conversations.settled(self.gateway, token, here)
            assistant = named(await self.gateway.assistants(token), found.assistant)
        apart = answer.refused is not None and not answer.text
        told = "" if answer.refused else self.w("answer_ready", title=answer.title)
        shown = conversations.thread(
            self.w, found, assistant, growing=answer.follows if apart else None, tell=told
        )
        rest = self._growing(answer) if apart or answer.shortened else ""
        ready = gr.Textbox(submit_btn=True, stop_btn=False)
        return [KEEP, shown, rest, ready, here, found.assistant, conversations.WINDOW]

    def _growing(self, answer: Answer) -> str:
        question, attachments = parted(answer.question)
        code = answer.refused.code if answer.refused else ""
        problem = refusal(self.w, answer.refused) if answer.refused else ""
        if code in BROKEN:  # the button beside it says the rest
            problem = self.w("turn_failed")
        too_long = code == "context_length_exceeded"
        if attachments and too_long:
            problem = self.w("attach_too_long")
        number = answer.begun.release.rpartition("@")[2] if answer.begun else None
        release = None if number is None else int(number) if number.isdecimal() else 0
        return render(
            "growing", self.w, title=answer.title, question=question, attachments=attachments,
            asked=answer.question, follows=answer.follows, text=answer.text, release=release, problem=problem,
            conversation=answer.conversation, shortened=answer.shortened, too_long=too_long,
            done=answer.done.is_set() and answer.refused is None,
        )  # fmt: skip


def named(assistants: list[Assistant], name: str) -> Assistant | None:
    return next((one for one in assistants if one.name == name), None)


def _changed(turn: Turn, question: str) -> str:
    """The changed question with the files of the one it takes the place of."""
    if not question:
        raise Refused(400, "empty_question", "Write a question first.")
    return joined(question, parted(turn.question)[1])
