"""`tailorbird merge`: a tuned model and its base model as one checkpoint, to take along.

Finds the folders behind a name and becomes the trainer's `training.merge`. Knows no weights.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import NoReturn

from service.db.session import Database
from service.domain import chat
from service.errors import BadInput, NotFound
from service.settings import Settings
from service.storage.local import Store

ROOT = Path(__file__).parent.parent


def merge(settings: Settings, model: str, out: str) -> NoReturn:
    """Never returns: the process goes on as the trainer's, so that Ctrl-C and its exit code are its own."""
    folders = [asyncio.run(adapter_of(settings, model)), Path(settings.base_folder), Path(out)]
    command = [sys.executable, "-m", "training.merge", *(str(path.absolute()) for path in folders)]
    os.chdir(ROOT)
    os.execv(sys.executable, command)


async def adapter_of(settings: Settings, model: str) -> Path:
    """The adapter's folder behind what a request would call `model`. Raises `NotFound`, `BadInput`."""
    if settings.database_url is None and not (settings.home / "tailorbird.db").exists():
        raise NotFound(f"There is no service in {settings.home} yet. TAILORBIRD_HOME names another folder.")
    database = Database(settings.database)
    try:
        async with database.reading() as session:
            route = await chat.resolve(session, model, base_name=settings.model_name)
    finally:
        await database.close()
    if route.adapter == chat.BASE:
        raise BadInput(
            f"'{model}' answers with the base model: there is nothing to merge. Name a release, such as 'fanal@1', or "
            "a tuned model ('ft:...')."
        )
    return Store(settings.home).adapter(route.adapter)
