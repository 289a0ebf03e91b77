"""A conversation to take away: Markdown to read, JSON with everything that was kept of it."""

import datetime

from service.contract.conversations import ConversationTurns


def as_json(found: ConversationTurns) -> str:
    """Every branch, and what its owner said of each answer."""
    return found.model_dump_json(indent=2)


def as_markdown(found: ConversationTurns, title: str, person: str) -> str:
    """The branch that is shown. Names stand for who speaks, so it reads the same in every language."""
    turns = {turn.completion_id: turn for turn in found.turns}
    parts = [f"# {found.title or title}"]
    for turn in (turns[completion_id] for completion_id in found.path):
        at = datetime.datetime.fromtimestamp(turn.created_at, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        who = f"{found.assistant}@{turn.release}" if turn.release else turn.adapter[:12]
        parts += [f"**{person}** · {at}", turn.question, f"**{title}** · {who}", turn.answer]
        if turn.feedback.correction:
            parts += [f"**{title}** · ✎ {person}", turn.feedback.correction]
    return "\n\n".join(part for part in parts if part) + "\n"
