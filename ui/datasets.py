"""What there is to learn from: how far the feedback goes, frozen datasets, and files.

Owns how readiness is said. Keeps nothing.
"""

import asyncio
from html import escape
from pathlib import Path

from service.contract.files import File
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.pages import render
from ui.words import Words, figure

METHODS = ("dpo", "sft", "kto")


async def readiness(gateway: Gateway, token: str, w: Words, assistant: str) -> str:
    """How ready the feedback is, in words and a bar, and the button that starts a round."""
    ready = await gateway.readiness(token, assistant)
    frozen = await gateway.datasets(token, assistant)
    share = min(1.0, ready.pairs / ready.needed) if ready.needed else 1.0
    return render("readiness", w, ready=ready, share=share, frozen=frozen[:6])


async def start_round(gateway: Gateway, token: str, assistant: str, act: Act) -> str:
    """Start the round that was pressed; the job's id. One that is held needs a reason. Raises `Refused`."""
    method, reason = (act.value if act.value in METHODS else "dpo"), act.text("reason")
    if "reason" in act.fields and len(reason) < 10:
        raise Refused(400, "reason_needed", "Say why, in at least ten characters.")
    return (await gateway.start_round(token, assistant, method, reason or None)).id


async def files(gateway: Gateway, token: str, w: Words) -> list[tuple[str, str]]:
    """Choices of training files: what people read, and the id."""
    found = await gateway.files(token, "fine-tune")
    return [(f"{file.filename}  ·  {_size(w, file.bytes)}", file.id) for file in found]


async def upload(gateway: Gateway, token: str, path: Path) -> File:
    """Hand a file that Gradio has received on to the gateway, which checks every line; ours is removed."""
    try:
        content = await asyncio.to_thread(path.read_bytes)
        return await gateway.upload(token, path.name, content, "fine-tune")
    finally:
        path.unlink(missing_ok=True)


def method_of(choices: list[tuple[str, str]], file: str | None) -> str:
    """What a file holds as far as its name tells: our own files are named by what they hold."""
    name = next((shown for shown, value in choices if value == file), "")
    return next((kind for kind in ("dpo", "kto") if f"-{kind}-" in name), "supervised")


def escaped(text: str) -> str:
    return escape(text)


def _size(w: Words, size: int) -> str:
    if size < 1 << 20:
        return w("size_small", size=figure(w, size / 1024, 0))
    return w("size_large", size=figure(w, size / (1 << 20), 1))
