"""What there is to learn from: files of training rows, brought, listed and parted.

Keeps nothing.
"""

import asyncio
from pathlib import Path

from service.contract.files import File
from ui.client import Gateway, Refused

KINDS = ("dpo", "sft", "kto")
"""Rows that a training learns from."""
WORTHWHILE = 20
"""Rows from which on some are held out: a fifth of fewer would measure nothing."""
WHOLE = ("frozen_file", "nothing_held_out")
"""Refusals to part a file of which there is nothing to hold out."""


async def files(gateway: Gateway, token: str) -> list[File]:
    """Files of training rows, newest first; those that are held out (`parted`) among them."""
    return [file for file in await gateway.files(token, "fine-tune") if file.kind in KINDS]


async def parts(
    gateway: Gateway, token: str, file: File, known: list[File], *, aside: bool
) -> tuple[File, File | None]:
    """What a job on a file learns from and what is held out for it: the part that belongs to the file, else one that is
    parted from it now. None is held out where that is not wanted (`aside`) or would measure nothing."""
    if not aside:
        return file, None
    if (held_out := held_out_of(file, known)) is not None:
        return file, held_out
    if (file.rows or 0) < WORTHWHILE:
        return file, None
    try:
        made = await gateway.split(token, file.id)
    except Refused as refused:
        if refused.code in WHOLE:
            return file, None
        raise
    return made.training_file, made.held_out_file


def held_out_of(file: File, known: list[File]) -> File | None:
    """The file of these that holds what is held out for a training file."""
    return next((one for one in known if one.parted is not None and one.parted.of == file.id), None)


async def upload(gateway: Gateway, token: str, path: Path) -> File:
    """Hand a file that Gradio has received on to the gateway, which checks every line; ours is removed."""
    try:
        content = await asyncio.to_thread(path.read_bytes)
        return await gateway.upload(token, path.name, content, "fine-tune")
    finally:
        path.unlink(missing_ok=True)
