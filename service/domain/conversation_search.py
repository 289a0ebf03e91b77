"""A person's conversations searched: in their titles, questions and answers, whatever the case and the accents.

The database sorts out what cannot match, by a pattern in which everything that may carry an accent stands for
anything; what is left is compared here, letter by letter. Never commits.
"""

import re
import unicodedata

from sqlalchemy import String, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.chat import Message
from service.contract.conversations import Conversation
from service.db import tables
from service.domain.conversations import list_conversations
from service.domain.keys import Caller

AROUND = 40
"""Characters shown on either side of what was found."""
_SURE = re.compile(r"[^bfmpqvx0-9]+")
"""Whatever may look otherwise in the database: letters with accents, capitals beyond ASCII, spaces, JSON's escapes."""


async def search(session: AsyncSession, caller: Caller, words: str, *, limit: int) -> list[Conversation]:
    """Those in which `words` stand as written, pinned ones first, then the newest; each with where they stand."""
    wanted = folded(words.strip())
    texts = await _texts(session, caller, words.strip())
    found: list[Conversation] = []
    for row in await list_conversations(session, caller):
        match = next((m for text in (row.title, *texts.get(row.id, ())) if (m := around(text, wanted))), None)
        if match is not None:
            found.append(Conversation.model_validate(row).model_copy(update={"match": match}))
        if len(found) == limit:
            break
    return found


def folded(text: str) -> str:
    """Without case and accents, one character for each: `Élève` and `eleve` are the same."""
    plain = "".join(_plain(character) for character in text)
    return re.sub(r"\s", " ", plain)


def around(text: str, wanted: str) -> str | None:
    """The words around the first place where `wanted`, folded, stands in `text`; none where it does not."""
    at = folded(text).find(wanted)
    if at < 0:
        return None
    start, end = max(0, at - AROUND), at + len(wanted) + AROUND
    piece = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{piece}{'…' if end < len(text) else ''}"


async def _texts(session: AsyncSession, caller: Caller, words: str) -> dict[str, list[str]]:
    """Questions and answers that may hold `words`, newest first, by conversation."""
    pattern = f"%{_SURE.sub('%', words.lower())}%"
    query = (
        select(tables.Completion.conversation_id, tables.Completion.messages, tables.Completion.output)
        .where(
            tables.Completion.user_id == caller.user_id,
            tables.Completion.conversation_id.is_not(None),
            tables.Completion.kind == "chat",
            tables.Completion.deleted_at.is_(None),
            or_(
                tables.Completion.output.ilike(pattern),
                cast(tables.Completion.messages, String).ilike(pattern),
            ),
        )
        .order_by(tables.Completion.created_at.desc())
    )
    texts: dict[str, list[str]] = {}
    for conversation, messages, output in await session.execute(query):
        texts.setdefault(conversation or "", []).extend((Message.model_validate(messages[-1]).text(), output))
    return texts


def _plain(character: str) -> str:
    bare = unicodedata.normalize("NFD", character)[:1].casefold()
    return bare if len(bare) == 1 else character
