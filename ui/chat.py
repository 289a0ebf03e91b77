"""The chat: choose an assistant, ask, watch the answer grow, and say what is wrong with it.

Owns the screen's events and what each one redraws. The page holds only ids; everything shown is read from the
gateway, so a reload or another tab shows the same.
"""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from service.contract.assistants import Assistant
from service.contract.conversations import ConversationTurns
from ui import conversations, feedback
from ui.answers import Answer, growth
from ui.client import Refused
from ui.pages import render
from ui.panel import panel, read
from ui.screens import AT_ONCE, Screen
from ui.words import refusal

KEEP = gr.skip()
NOTHING = [KEEP] * 7
"""A generator that yields nothing would empty every output."""
LONGEST = 100_000
"""Characters of one question, at most."""


class Chat(Screen):
    name = "chat"

    def build(self) -> gr.Blocks:
        w = self.w
        with gr.Blocks(title=f"{w('chat')} · Tailorbird", analytics_enabled=False, fill_width=True) as page:
            here, chosen = gr.Textbox(visible=False), gr.Textbox(visible=False)
            window = gr.Number(conversations.WINDOW, visible=False, precision=0)
            header, side = panel("header"), panel("side")
            with gr.Column(elem_id="main"):
                banner, thread, growing = panel("banner"), panel("thread"), panel("growing")
                composer = gr.Textbox(
                    label=w("message"), show_label=False, placeholder=w("message_hint"), lines=1, max_lines=8,
                    submit_btn=True, stop_btn=False, container=False, elem_id="composer", max_length=LONGEST,
                )  # fmt: skip
            clock = gr.Timer(4, active=False)
            self._wire(page, here, chosen, window, header, side, banner, thread, growing, composer, clock)
        return page

    def _wire(
        self, page: gr.Blocks, here: Any, chosen: Any, window: Any, header: Any, side: Any, banner: Any,
        thread: Any, growing: Any, composer: Any, clock: Any,
    ) -> None:  # fmt: skip
        many: dict[str, Any] = {
            "concurrency_limit": AT_ONCE, "show_progress": "hidden", "api_visibility": "private"
        }  # fmt: skip
        place = [here, chosen, window]
        view = [side, thread, growing, composer, *place]
        loaded = page.load(self.load, None, [header, banner, clock, *view], **many)
        following = loaded.then(self.follow, place, view, **many)
        typed = composer.submit(self.ask_typed, [composer, *place], view, **many)
        pressed = thread.submit(self.ask_pressed, place, view, **many)
        again = growing.submit(self.ask_again, place, view, **many)
        composer.stop(self.stop, here, None, **many)
        turned = side.select(self.turn, place, view, cancels=[following, typed, pressed, again], **many)
        turned.then(self.follow_turned, place, view, **many)
        thread.select(self.choose, place, view, **many)
        # "multiple": a second press while the first is being saved must not be lost.
        thread.click(self.say, place, [thread, window], trigger_mode="multiple", **many)
        side.click(self.rename, here, side, trigger_mode="multiple", **many)
        clock.tick(self.look, None, [banner, clock], **many)

    # What is shown

    async def load(self, request: gr.Request) -> list[Any]:
        """The whole screen, by the address: `?c=` opens a conversation."""
        with self.spoken():
            _, user = await self.person(request)
            up = await self.gateway.ready()
            wanted = str(dict(request.query_params).get("c", ""))
            head = [self.header(user, menu=True), self._banner(up), gr.Timer(active=not up)]
            return [*head, *await self._view(request, wanted, "")]

    async def look(self) -> tuple[str, gr.Timer]:
        """Has the engine come up?"""
        up = await self.gateway.ready()
        return self._banner(up), gr.Timer(active=not up)

    async def turn(
        self, event: gr.EventData, request: gr.Request, here: str, chosen: str, window: int
    ) -> list[Any]:
        """Another conversation, a new one, or one less."""
        act, token = read(event), (await self._person(request))[0]
        with self.spoken():
            if act.act == "delete":
                await self.gateway.delete_conversation(token, act.id)
                return await self._view(request, here if here != act.id else "", chosen)
            return await self._view(request, act.id if act.act == "open" else "", chosen)

    async def choose(
        self, event: gr.EventData, request: gr.Request, here: str, chosen: str, window: int
    ) -> list[Any]:
        """Another assistant for a new conversation, or the same conversation looked at again."""
        act = read(event)
        with self.spoken():
            if act.act == "open":
                return await self._view(request, here, chosen)
            return await self._view(request, "", act.id)

    async def rename(self, event: gr.EventData, request: gr.Request, here: str) -> str:
        act = read(event)
        with self.spoken():
            token, _ = await self.person(request)
            if act.act == "rename" and act.text("title"):
                await self.gateway.rename_conversation(token, act.id, act.text("title")[:120])
            return await conversations.side(self.gateway, token, self.w, here)

    async def say(
        self, event: gr.EventData, request: gr.Request, here: str, chosen: str, window: int
    ) -> tuple[Any, Any]:
        """A rating, its reasons, a correction, or one of them taken back; shown again as the gateway has it."""
        act, said = read(event), None
        with self.spoken():
            token, user = await self.person(request)
            if act.act in feedback.ACTS:
                said = await feedback.give(self.gateway, token, act)
            size = 10_000 if act.act == "earlier" else window
            found = await self.gateway.conversation(token, here)
            answer = self.answers.of(here, user.id)
            assistant = _named(await self.gateway.assistants(token), found.assistant)
            apart = answer.question if answer else None
            shown = conversations.thread(
                self.w, found, assistant, window=size, said=said or ("", ""), growing=apart
            )
            return shown, size

    # Asking

    async def ask_typed(
        self, request: gr.Request, text: str, here: str, chosen: str, window: int
    ) -> AsyncIterator[list[Any]]:
        async for shown in self._ask(request, text, here, chosen):
            yield shown

    async def ask_pressed(
        self, event: gr.EventData, request: gr.Request, here: str, chosen: str, window: int
    ) -> AsyncIterator[list[Any]]:
        async for shown in self._ask(request, read(event).value, here, chosen):
            yield shown

    async def ask_again(
        self, event: gr.EventData, request: gr.Request, here: str, chosen: str, window: int
    ) -> AsyncIterator[list[Any]]:
        async for shown in self._ask(request, read(event).value, here, chosen):
            yield shown

    async def follow(
        self, request: gr.Request, here: str, chosen: str, window: int
    ) -> AsyncIterator[list[Any]]:
        """Go on showing an answer that was being written when the page was opened."""
        with self.spoken():
            token, user = await self.person(request)
            answer = self.answers.of(here, user.id) if here else None
            if answer is None:
                yield NOTHING
                return
            async for shown in self._grow(token, answer, here):
                yield shown

    async def follow_turned(
        self, request: gr.Request, here: str, chosen: str, window: int
    ) -> AsyncIterator[list[Any]]:
        async for shown in self.follow(request, here, chosen, window):
            yield shown

    async def stop(self, request: gr.Request, here: str) -> None:
        with self.spoken():
            _, user = await self.person(request)
            await self.answers.stop(here, user.id)

    async def _ask(self, request: gr.Request, text: str, here: str, chosen: str) -> AsyncIterator[list[Any]]:
        question = text.strip()[:LONGEST]
        if not question:
            yield NOTHING
            return
        with self.spoken():
            token, user = await self.person(request)
            if not here:
                here = (
                    await self.gateway.create_conversation(token, chosen, conversations.title_of(question))
                ).id
            found = await conversations.settled(self.gateway, token, here)
            answer = self.answers.start(
                token, user.id, model=found.assistant, conversation=here,
                messages=conversations.messages(found.turns, question),
            )  # fmt: skip
            async for shown in self._grow(token, answer, here, found):
                yield shown

    async def _grow(
        self, token: str, answer: Answer, here: str, found: ConversationTurns | None = None
    ) -> AsyncIterator[list[Any]]:
        """First the turns before, then only the growing answer, then all as it was recorded."""
        found = found or await self.gateway.conversation(token, here)
        assistant = _named(await self.gateway.assistants(token), found.assistant)
        title = assistant.title if assistant else found.assistant
        place = [here, found.assistant, conversations.WINDOW]
        before = conversations.thread(self.w, found, assistant, growing=answer.question, said=("", ""))
        writing = gr.Textbox(value="", submit_btn=False, stop_btn=True)
        side = await conversations.side(self.gateway, token, self.w, here)
        yield [side, before if found.turns else "", self._growing(answer, title), writing, *place]
        async for _ in growth(answer):
            yield [KEEP, KEEP, self._growing(answer, title), *[KEEP] * 4]
        yield await self._ended(token, answer, here, title, assistant)

    async def _ended(
        self, token: str, answer: Answer, here: str, title: str, assistant: Assistant | None
    ) -> list[Any]:
        found = await conversations.settled(self.gateway, token, here)
        side = await conversations.side(self.gateway, token, self.w, here)
        apart = answer.refused is not None and not answer.text
        shown = conversations.thread(self.w, found, assistant, growing=answer.question if apart else None)
        rest = self._growing(answer, title) if apart or answer.shortened else ""
        ready = gr.Textbox(submit_btn=True, stop_btn=False)
        return [side, shown if found.turns else "", rest, ready, here, found.assistant, conversations.WINDOW]

    def _growing(self, answer: Answer, title: str) -> str:
        problem = refusal(self.w, answer.refused) if answer.refused else ""
        number = answer.begun.release.rpartition("@")[2] if answer.begun else None
        release = None if number is None else int(number) if number.isdigit() else 0
        return render(
            "growing", self.w, title=title, question=answer.question, text=answer.text, release=release,
            problem=problem, conversation=answer.conversation, shortened=answer.shortened,
            done=answer.done.is_set() and answer.refused is None,
        )  # fmt: skip

    async def _view(self, request: gr.Request, here: str, chosen: str) -> list[Any]:
        """Side, thread, growing, composer and the three ids, for one conversation or a new one."""
        token, user = await self.person(request)
        everyone = await self.gateway.assistants(token)
        found: ConversationTurns | None = None
        if here:
            try:
                found = await self.gateway.conversation(token, here)
            except Refused as refused:
                if refused.status != 404:
                    raise
        side = await conversations.side(self.gateway, token, self.w, found.id if found else "")
        answer = self.answers.of(found.id, user.id) if found else None
        writing = answer is not None
        composer = gr.Textbox(interactive=bool(everyone), submit_btn=not writing, stop_btn=writing)
        if found is not None:
            assistant = _named(everyone, found.assistant)
            thread = conversations.thread(
                self.w, found, assistant, growing=answer.question if answer else None
            )
            return [side, thread, "", composer, found.id, found.assistant, conversations.WINDOW]
        one = _named(everyone, chosen) or (everyone[0] if everyone else None)
        welcome = render("welcome", self.w, assistants=everyone, chosen=one)
        if here:
            welcome = render("problem", self.w, text=self.w("conversation_gone")) + welcome
        return [side, welcome, "", composer, "", one.name if one else "", conversations.WINDOW]

    async def _person(self, request: gr.Request) -> tuple[str, Any]:
        with self.spoken():
            return await self.person(request)

    def _banner(self, up: bool) -> str:
        return "" if up else render("banner", self.w)


def _named(assistants: list[Assistant], name: str) -> Assistant | None:
    return next((one for one in assistants if one.name == name), None)
