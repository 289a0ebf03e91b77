"""The loop of everything that the gateway does aside: look, rest, look again.

Owns that nothing ends it but being cancelled: nobody would start it again. Knows nothing of what is looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Never

from service.logs import log


async def keep_looking(look: Callable[[], Awaitable[None]], every: float, said: str) -> Never:
    """Call `look`, rest for `every` seconds, and so on, until cancelled. What it raises is logged as `said`."""
    while True:
        try:
            await look()
        except Exception as error:  # noqa: BLE001 - the edge of a job
            log.error(said, exc_info=error)
        await asyncio.sleep(every)
