"""What the gateway tidies as time passes: what ran out or ended, and files that nothing leads back to.

A row goes first and its bytes later, so what is cut short is done at the next round. Also removes what a
refused upload or a killed process left on disk.
"""

import asyncio

from sqlalchemy.exc import SQLAlchemyError

from service.api.deps import House
from service.domain import batches, files, uploads, webhooks
from service.logs import log

EVERY = 600.0
"""Seconds between two rounds."""


async def keep_tidy(house: House) -> None:
    """Tidy now and then, until cancelled."""
    while True:
        try:
            await tidy(house)
        except (SQLAlchemyError, OSError) as error:
            log.error("tidying failed", exc_info=error)
        await asyncio.sleep(EVERY)


async def tidy(house: House) -> None:
    """One round. What is on disk is listed before the rows are: what comes meanwhile is in neither list."""
    parts, answers = await asyncio.to_thread(house.store.unfinished)
    old = set(await asyncio.to_thread(house.store.old_files))
    async with house.database.writing() as session:
        await uploads.expire(session)
        await webhooks.forget_old(session)
        removed = await files.forget_needless(session)
        parts -= await uploads.pending(session)
        answers -= (await batches.unfinished(session)).keys()
        old -= await files.digests(session)
    await asyncio.to_thread(_remove, house, parts, answers, old)
    if removed or old:
        log.info("tidied", extra={"fields": {"files": removed, "digests": len(old)}})


def _remove(house: House, parts: set[str], answers: set[str], digests: set[str]) -> None:
    for upload_id in parts:
        house.store.drop_upload(upload_id)
    for batch_id in answers:
        house.store.drop_batch(batch_id)
    for sha256 in digests:
        house.store.remove_old(sha256)
