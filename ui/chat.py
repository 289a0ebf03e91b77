"""The chat: choose an assistant, ask, watch the answer grow, and say what is wrong with it.

Owns the screen's events and what each one redraws. The page holds only ids and files not yet sent; everything
shown is read from the gateway, so a reload or another tab shows the same.
"""

from typing import Any

import gradio as gr

from service.contract.conversations import ConversationTurns
from ui import attachments, conversations, feedback
from ui.acts import Act
from ui.asking import KEEP, LONGEST, NOTHING, Asking, named
from ui.client import Refused
from ui.pages import render
from ui.panel import panel, read
from ui.screens import MANY

LEARNT = "learnt"
"""In the place of a conversation's id: the page of what one's feedback changed."""


class Chat(Asking):
    name = "chat"

    def build(self) -> gr.Blocks:
        w = self.w
        with gr.Blocks(title=f"{w('chat')} · Tailorbird", analytics_enabled=False, fill_width=True) as page:
            here, chosen = gr.Textbox(visible=False), gr.Textbox(visible=False)
            window = gr.Number(conversations.WINDOW, visible=False, precision=0)
            papers = gr.Textbox(visible=False)
            header = panel("header")
            with gr.Column(elem_id="drawer"):
                search, side = panel("search", value=render("search", w)), panel("side")
            with gr.Column(elem_id="main"):
                banner, thread, growing = panel("banner"), panel("thread"), panel("growing")
                with gr.Column(elem_id="dock"):
                    files = panel("files", value=self._files([]))
                    composer = gr.Textbox(
                        label=w("message"), show_label=False, placeholder=w("message_hint"), lines=1,
                        max_lines=8, submit_btn=True, stop_btn=False, container=False, elem_id="composer",
                        max_length=LONGEST,
                    )  # fmt: skip
            clock = gr.Timer(4, active=False)
            place, view = [here, chosen, window], [side, thread, growing, composer, here, chosen, window]
            self._wire_reading(page, place, view, header, search, banner, clock)
            self._wire_asking(place, view, papers, files, search)
        return page

    def _wire_reading(
        self, page: gr.Blocks, place: list[Any], view: list[Any], header: Any, search: Any, banner: Any, clock: Any
    ) -> None:  # fmt: skip
        side, thread, _, composer = view[:4]
        loaded = page.load(self.load, None, [header, banner, clock, *view], **MANY)
        self._under_way = self._followed(loaded, place, view)
        composer.stop(self.stop, place[0], None, **MANY)
        # "multiple": a second press while the first is being saved must not be lost.
        thread.click(self.say, place, [thread, place[2]], trigger_mode="multiple", **MANY)
        side.click(self.tend, place[0], side, trigger_mode="multiple", **MANY)
        search.click(self.search, place[0], side, trigger_mode="always_last", **MANY)
        clock.tick(self.look, None, [banner, clock], **MANY)

    def _wire_asking(self, place: list[Any], view: list[Any], papers: Any, files: Any, search: Any) -> None:
        side, thread, growing, composer = view[:4]
        for asked in (
            composer.submit(self.ask_typed, [composer, papers, *place], [*view, papers, files], **MANY),
            thread.submit(self.ask_pressed, place, view, **MANY),
            growing.submit(self.ask_again, place, view, **MANY),
        ):
            self._under_way += [asked, *self._followed(asked, place, view)]
        for event in (side.select, search.select, growing.select):
            turned = event(self.turn, place, view, cancels=self._under_way, **MANY)
            self._followed(turned, place, view)
        thread.select(self.choose, place, view, **MANY)
        files.click(self.attach, papers, [papers, files], **MANY)

    def _followed(self, event: Any, place: list[Any], view: list[Any]) -> list[Any]:
        """After `event`, an answer that is being written grows, and then all is shown as it was recorded."""
        grown = event.success(self.grow, place[0], view[2], postprocess=False, **MANY)
        return [grown, grown.success(self.ended, place, view, **MANY)]

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
            wanted = {"open": act.id, LEARNT: LEARNT}.get(act.act, "")
            return await self._view(request, wanted, chosen)

    async def choose(
        self, event: gr.EventData, request: gr.Request, here: str, chosen: str, window: int
    ) -> list[Any]:
        """Another assistant for a new conversation, or a conversation looked at again."""
        act = read(event)
        with self.spoken():
            if act.act == "open":
                return await self._view(request, act.id or here, chosen)
            return await self._view(request, "", act.id)

    async def tend(self, event: gr.EventData, request: gr.Request, here: str) -> str:
        """A conversation in the list is renamed or pinned."""
        act = read(event)
        with self.spoken():
            token, _ = await self.person(request)
            if act.act == "rename" and act.text("title"):
                await self.gateway.change_conversation(token, act.id, title=act.text("title")[:120])
            elif act.act == "pin":
                await self.gateway.change_conversation(token, act.id, pinned=act.value == "1")
            elif act.act == "older":
                self._list_more(request)
            return await self._side(request, token, here)

    async def search(self, event: gr.EventData, request: gr.Request, here: str) -> str:
        with self.spoken():
            token, _ = await self.person(request)
            wanted = read(event).text("search")
            return await self._side(request, token, here, wanted)

    async def say(
        self, event: gr.EventData, request: gr.Request, here: str, chosen: str, window: int
    ) -> tuple[Any, Any]:
        """What is said of an answer or settled for the conversation; shown again as the gateway has it."""
        act, said = read(event), None
        with self.spoken():
            token, user = await self.person(request)
            if act.act in feedback.ACTS:
                said = await feedback.give(self.gateway, token, act)
            elif act.act in conversations.SETTLED:
                said = await conversations.settle(self.gateway, token, here, act)
            size = 10_000 if act.act == "earlier" else window
            found = await self.gateway.conversation(token, here)
            answer = self.answers.of(here, user.id)
            assistant = named(await self.gateway.assistants(token), found.assistant)
            apart = answer.follows if answer else None
            shown = conversations.thread(
                self.w, found, assistant, window=size, said=said or ("", ""), growing=apart
            )
            return shown, size

    # Asking

    async def ask_typed(
        self, request: gr.Request, text: str, papers: str, here: str, chosen: str, window: int
    ) -> list[Any]:
        files = attachments.unpacked(papers)
        if files and not text.strip():
            return [*NOTHING, KEEP, self._files(files, self.w("attach_no_question"))]
        shown = await self._ask(request, attachments.joined(text.strip(), files), here, chosen)
        return [*shown, *(["", self._files([])] if files else [KEEP, KEEP])]

    async def ask_pressed(
        self, event: gr.EventData, request: gr.Request, here: str, chosen: str, window: int
    ) -> list[Any]:
        return await self._pressed(request, read(event), here, chosen)

    async def ask_again(
        self, event: gr.EventData, request: gr.Request, here: str, chosen: str, window: int
    ) -> list[Any]:
        return await self._pressed(request, read(event), here, chosen)

    async def stop(self, request: gr.Request, here: str) -> None:
        with self.spoken():
            _, user = await self.person(request)
            await self.answers.stop(here, user.id)

    async def attach(self, event: gr.EventData, request: gr.Request, papers: str) -> tuple[str, str]:
        """A file more or less for the next question."""
        act, problem = read(event), ""
        with self.spoken():
            await self.person(request)
            files = attachments.unpacked(papers)
            try:
                files = _attached(files, act)
            except attachments.Unreadable as unreadable:
                largest = attachments.LARGEST // 1000
                problem = self.w(unreadable.why, name=unreadable.name, largest=largest)
            return attachments.packed(files), self._files(files, problem)

    async def _view(self, request: gr.Request, here: str, chosen: str) -> list[Any]:
        """Side, thread, growing, composer and the three ids, for one conversation or a new one."""
        token, user = await self.person(request)
        everyone = await self.gateway.assistants(token)
        found = await self._found(token, here) if here and here != LEARNT else None
        side = await self._side(request, token, found.id if found else here)
        answer = self.answers.of(found.id, user.id) if found else None
        writing = answer is not None
        if found is not None and (writing or (found.turns and found.turns[-1].status == "running")):
            self.answers.show(found.id, user.id, request.session_hash)
        composer = gr.Textbox(interactive=bool(everyone), submit_btn=not writing, stop_btn=writing)
        if found is not None:
            assistant = named(everyone, found.assistant)
            thread = conversations.thread(
                self.w, found, assistant, growing=answer.follows if answer else None
            )
            return [side, thread, "", composer, found.id, found.assistant, conversations.WINDOW]
        one = named(everyone, chosen) or (everyone[0] if everyone else None)
        if here == LEARNT:
            titles = {assistant.name: assistant.title for assistant in everyone}
            page = render("learnt", self.w, found=await self.gateway.learnt(token), titles=titles)
            return [side, page, "", composer, "", one.name if one else "", conversations.WINDOW]
        welcome = render("welcome", self.w, assistants=everyone, chosen=one)
        if here:
            welcome = render("problem", self.w, text=self.w("conversation_gone")) + welcome
        return [side, welcome, "", composer, "", one.name if one else "", conversations.WINDOW]

    async def _found(self, token: str, here: str) -> ConversationTurns | None:
        try:
            return await self.gateway.conversation(token, here)
        except Refused as refused:
            if refused.status != 404:
                raise
        return None

    async def _person(self, request: gr.Request) -> tuple[str, Any]:
        with self.spoken():
            return await self.person(request)

    def _banner(self, up: bool) -> str:
        return "" if up else render("banner", self.w)

    def _files(self, files: list[attachments.Attachment], problem: str = "") -> str:
        kinds, largest = ",".join(attachments.KINDS), attachments.LARGEST
        return render("files", self.w, files=files, problem=problem, kinds=kinds, largest=largest)


def _attached(files: list[attachments.Attachment], act: Act) -> list[attachments.Attachment]:
    """Raises `Unreadable`."""
    if act.act == "detach":
        return [one for one in files if one.name != act.value]
    if act.act == "too_large":
        raise attachments.Unreadable("attach_large", act.value)
    names, contents = act.fields.get("name", []), act.fields.get("content", [])
    for name, content in zip(names, contents, strict=False):
        files = attachments.add(files, name, content)
    return files
