"""A person's own conversations: the list on the left, and the turns of the one that is open.

Owns how turns become the messages of the next question. Keeps nothing; the gateway has the record.
"""

import asyncio

from service.contract.assistants import Assistant
from service.contract.conversations import ConversationTurns, Turn
from ui.client import Gateway
from ui.feedback import BLAME, PRAISE
from ui.pages import render
from ui.words import Words

WINDOW = 30
"""Turns shown at first; the earlier ones come when asked for."""
TITLE = 60
"""Characters of a title made from a question."""


def title_of(question: str) -> str:
    """A conversation's first title: the beginning of its first question."""
    line = " ".join(question.split())
    return line if len(line) <= TITLE else line[: TITLE - 1].rstrip() + "…"


async def settled(
    gateway: Gateway, token: str, conversation_id: str, seconds: float = 3.0
) -> ConversationTurns:
    """The conversation once its last answer is recorded as ended, or as it is after `seconds`."""
    for _ in range(int(seconds / 0.15)):
        found = await gateway.conversation(token, conversation_id)
        if not found.turns or found.turns[-1].status != "running":
            return found
        await asyncio.sleep(0.15)
    return await gateway.conversation(token, conversation_id)


def messages(turns: list[Turn], question: str) -> list[dict[str, str]]:
    """The history and the new question, as a chat request wants them. Turns without an answer are left out."""
    told: list[dict[str, str]] = []
    for turn in turns:
        if turn.answer.strip():
            told += [
                {"role": "user", "content": turn.question},
                {"role": "assistant", "content": turn.answer},
            ]
    return [*told, {"role": "user", "content": question}]


async def side(gateway: Gateway, token: str, w: Words, here: str) -> str:
    """The list of conversations, newest first, as HTML."""
    return render("side", w, conversations=await gateway.conversations(token), here=here)


def thread(
    w: Words, found: ConversationTurns, assistant: Assistant | None, *,
    window: int = WINDOW, said: tuple[str, str] | None = None, growing: str | None = None,
) -> str:  # fmt: skip
    """The turns as HTML. `said` is `(completion id, key of the confirming sentence)`; `growing` is the question
    that is shown apart, below."""
    turns = _shown(found.turns, growing)
    return render(
        "thread", w, conversation=found, title=assistant.title if assistant else found.assistant,
        turns=turns[-window:], earlier=max(0, len(turns) - window), said=said, praise=PRAISE, blame=BLAME,
    )  # fmt: skip


def _shown(turns: list[Turn], growing: str | None) -> list[Turn]:
    """Without the turn that is shown apart, and without failures whose question was asked again."""
    following = [*(turn.question for turn in turns[1:]), growing]
    return [
        turn
        for turn, question in zip(turns, following, strict=False)
        if not (turn.status == "failed" and not turn.answer and turn.question == question)
        and not (turn.status == "running" and growing is not None)
    ]
