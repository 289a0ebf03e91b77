"""Looks that a process of its own takes at what people bring: bounded in time, in a place that goes afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from service.api.deps import House
from service.contract.imports import IntakeSpec
from service.domain.identity import new_id
from service.errors import BadInput
from service.intake import process


@asynccontextmanager
async def looking(house: House, seconds: float, slow: BadInput) -> AsyncIterator[Path]:
    """A place for one look, not made yet. Raises `slow` when the look takes longer than `seconds`."""
    place = house.store.imported(new_id("look_"))
    try:
        async with asyncio.timeout(seconds):
            yield place
    except TimeoutError:
        raise slow from None
    finally:
        await asyncio.to_thread(house.store.drop_import, place.name)


async def looked_into(house: House, spec: IntakeSpec, *, doing: str, param: str, seconds: float) -> Any:
    """What the process that reads files says of one. Raises `BadInput` naming `param` when the file as a whole cannot
    be read, or when that takes longer than `seconds`."""
    slow = BadInput(f"{doing} the file takes too long. Split it.", param=param, code="too_slow")
    try:
        async with house.previews, looking(house, seconds, slow) as place:
            return await process.run(place, spec)
    except process.Refused as refused:
        error = refused.error
        raise BadInput(error.message, param=param, code=error.code, line=error.line) from None
