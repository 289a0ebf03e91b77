"""What there is to learn from: files of training rows, brought and listed.

Keeps nothing.
"""

import asyncio
from pathlib import Path

from service.contract.files import File
from ui.client import Gateway

KINDS = ("dpo", "sft", "kto")
"""Rows that a training learns from."""


async def files(gateway: Gateway, token: str) -> list[File]:
    """Files that can be trained on, newest first."""
    return [file for file in await gateway.files(token, "fine-tune") if file.kind in KINDS]


async def upload(gateway: Gateway, token: str, path: Path) -> File:
    """Hand a file that Gradio has received on to the gateway, which checks every line; ours is removed."""
    try:
        content = await asyncio.to_thread(path.read_bytes)
        return await gateway.upload(token, path.name, content, "fine-tune")
    finally:
        path.unlink(missing_ok=True)
