"""Answers being written now. They go on when a tab is closed or another conversation is opened, and a reload
finds them again; only the stop button, or the end of this process, breaks one off.

Owns the task behind each answer. The record is the gateway's: what has ended is kept here only until a screen that
showed it growing has asked how it ended.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

from service.contract.conversations import START
from ui.client import Begun, Gateway, Refused

PACE = 0.12
"""Seconds between two updates of a screen, at least."""
DRAWN = 200
"""Updates of all screens in a second, at most: what one processor draws with half its time."""
KEPT = 30.0
"""Seconds for which an answer that has ended can be asked for."""


@dataclass
class Answer:
    """One answer under way. `text` grows until `done` is set."""

    user: str
    conversation: str
    question: str
    follows: str
    """The turn that the question comes after."""
    title: str
    """The assistant's."""
    begun: Begun | None = None
    text: str = ""
    refused: Refused | None = None
    shortened: bool = False
    """The conversation was too long for the model, so its earliest messages were not sent."""
    screens: set[str | None] = field(default_factory=set)
    """The pages, by their sessions, that show it as being written and have to draw it once more."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Answers:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._under_way: dict[str, Answer] = {}
        self._ended: dict[str, Answer] = {}

    def start(
        self, token: str, user: str, *, model: str, conversation: str, title: str, messages: list[dict[str, str]],
        follows: str = START, temperature: float | None = None,
    ) -> Answer:  # fmt: skip
        """Ask, in the background. One answer at a time for a conversation: when the same is asked after the same turn,
        the one under way is returned. Raises `Refused` for another question, which would be lost."""
        answer = Answer(user, conversation, messages[-1]["content"], follows, title)
        if (present := self._under_way.get(conversation)) is not None:
            if (present.question, present.follows) != (answer.question, answer.follows):
                raise Refused(409, "answer_under_way", "An answer is being written in this conversation.")
            return present
        self._under_way[conversation] = answer
        answer.task = asyncio.create_task(self._write(answer, token, model, messages, temperature))
        # Not in the task itself: one that is cancelled before its first step never reaches its `finally`.
        answer.task.add_done_callback(lambda _: self._end(answer))
        return answer

    def of(self, conversation: str, user: str) -> Answer | None:
        """The answer being written in this person's conversation, if any."""
        return _whose(self._under_way.get(conversation), user)

    def show(self, conversation: str, user: str, screen: str | None) -> None:
        """A page shows the conversation's last answer as being written, so it will have to draw it once more."""
        answer = _whose(self._under_way.get(conversation) or self._ended.get(conversation), user)
        if answer is not None:
            answer.screens.add(screen)

    def ended(self, conversation: str, user: str, screen: str | None) -> Answer | None:
        """The last answer of this person's conversation when it has ended, once for each page that showed it before."""
        answer = None if conversation in self._under_way else _whose(self._ended.get(conversation), user)
        if answer is None or screen not in answer.screens:
            return None
        answer.screens.discard(screen)
        return answer

    async def growth(self, answer: Answer) -> AsyncIterator[str]:
        """The text so far, each time it has grown; ends when the answer has. The more answers are being written, the
        longer the pauses: reading stays smooth, and the processor is left to the service."""
        shown = ""
        while not answer.done.is_set():
            if answer.text != shown:
                shown = answer.text
                yield shown
            try:
                await asyncio.wait_for(answer.done.wait(), max(PACE, len(self._under_way) / DRAWN))
            except TimeoutError:
                continue

    async def stop(self, conversation: str, user: str) -> None:
        """Break the answer off; the gateway keeps what was written as interrupted."""
        answer = self.of(conversation, user)
        if answer is not None and answer.task is not None:
            answer.task.cancel()
            await answer.done.wait()

    async def close(self) -> None:
        for answer in list(self._under_way.values()):
            await self.stop(answer.conversation, answer.user)

    async def _write(
        self,
        answer: Answer,
        token: str,
        model: str,
        messages: list[dict[str, str]],
        temperature: float | None,
    ) -> None:
        while True:
            try:
                await self._read(answer, token, model, messages, temperature)
                return
            except Refused as refused:
                if refused.code != "context_length_exceeded" or len(messages) < 3:
                    answer.refused = refused
                    return
                answer.shortened, messages = True, later_half(messages)

    def _end(self, answer: Answer) -> None:
        self._under_way.pop(answer.conversation, None)
        self._ended[answer.conversation] = answer
        asyncio.get_running_loop().call_later(KEPT, self._forget, answer)
        answer.done.set()

    def _forget(self, answer: Answer) -> None:
        if self._ended.get(answer.conversation) is answer:
            del self._ended[answer.conversation]

    async def _read(
        self,
        answer: Answer,
        token: str,
        model: str,
        messages: list[dict[str, str]],
        temperature: float | None,
    ) -> None:
        pieces = self._gateway.answer(
            token, model=model, messages=messages, conversation=answer.conversation, follows=answer.follows,
            temperature=temperature,
        )  # fmt: skip
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Begun):
                    answer.begun = piece
                else:
                    answer.text += piece


def later_half(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The question and the later half of the turns before it; a turn is two messages."""
    turns = (len(messages) - 1) // 2
    return messages[2 * (turns - turns // 2) :]


def _whose(answer: Answer | None, user: str) -> Answer | None:
    return answer if answer is not None and answer.user == user else None
