"""A person's own conversations: the list on the left, and the turns of the one that is open.

Owns how turns become the messages of the next question. Keeps nothing; the gateway has the record.
"""

import asyncio

from service.contract.assistants import Assistant
from service.contract.conversations import ConversationTurns, Turn
from ui.acts import Act
from ui.attachments import unmarked
from ui.branches import before, drawn, path_of
from ui.client import Gateway
from ui.feedback import BLAME, PRAISE
from ui.pages import render
from ui.words import Words

WINDOW = 30
"""Turns shown at first; the earlier ones come when asked for."""
LISTED = 100
"""Conversations listed at first, and so many more each time older ones are asked for."""
FOUND = 200
"""Conversations that a search shows at most."""
SETTLED = ("show", "share", "unshare", "training")
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


async def settle(gateway: Gateway, token: str, here: str, act: Act) -> tuple[str, str]:
    """What is settled for a whole conversation; where the confirming sentence stands, and its key."""
    if act.act == "show":
        await gateway.change_conversation(token, here, shown=act.id)
        return "", ""
    if act.act == "training":
        await gateway.change_conversation(token, here, training=act.value == "1")
        return here, "said_may_train" if act.value == "1" else "said_kept"
    await gateway.share_conversation(token, here, share=act.act == "share")
    return here, "said_shared" if act.act == "share" else "said_unshared"


async def side(
    gateway: Gateway, token: str, w: Words, here: str, search: str = "", *, asked: bool = False, count: int = LISTED,
) -> str:  # fmt: skip
    """The list of conversations as HTML, pinned ones first, then the newest; those alone that hold `search`.

    `asked`: the one that is open is the newest from now on. It takes its place when its question is sent and not when
    the answer has ended: a list must not move under the hand of who is renaming something in it.
    """
    found, more = await gateway.conversations(token, search, count=FOUND if search else count)
    if asked:
        found.sort(key=lambda one: (not one.pinned, one.id != here))
    told = [one.model_copy(update={"match": unmarked(one.match)}) if one.match else one for one in found]
    older = count - LISTED if count > LISTED and not search else None
    return render("side", w, conversations=told, here=here, search=search, more=more, older=older)


def thread(
    w: Words, found: ConversationTurns, assistant: Assistant | None, *,
    window: int = WINDOW, said: tuple[str, str] | None = None, growing: str | None = None, tell: str = "",
) -> str:  # fmt: skip
    """The turns that are shown, as HTML. `said` is `(completion id, key of the confirming sentence)`; `growing` is
    what the answer that is shown apart, below, follows; `tell` is said to who cannot see."""
    turns = _shown(path_of(found) if growing is None else before(found, growing), growing is not None)
    return render(
        "thread", w, conversation=found, title=assistant.title if assistant else found.assistant,
        turns=[drawn(w, found, turn) for turn in turns[-window:]], earlier=max(0, len(turns) - window), said=said,
        praise=PRAISE, blame=BLAME, tell=tell, base="/fr" if w.language == "fr" else "",
    )  # fmt: skip


def _shown(turns: list[Turn], growing: bool) -> list[Turn]:
    """Without failures whose question was asked again."""
    following = [*(turn.question for turn in turns[1:]), None]
    return [
        turn
        for turn, question in zip(turns, following, strict=False)
        if not (turn.status == "failed" and not turn.answer and turn.question == question)
        and not (turn.status == "running" and growing)
    ]
