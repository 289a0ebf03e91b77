"""What the gateway tidies as time passes: what ran out or ended, files that nothing leads back to, old answers.

A row goes first and its bytes later, so what is cut short is done at the next round. Also removes what a
refused upload, a killed process or a job that will not go on left on disk.
"""

import asyncio

from sqlalchemy.exc import SQLAlchemyError

from service.api.deps import House
from service.domain import audit, batches, files, jobs, retention, uploads, webhooks
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
    interrupted = await asyncio.to_thread(house.store.interrupted)
    async with house.database.writing() as session:
        await uploads.expire(session)
        await webhooks.forget_old(session)
        removed = await files.forget_needless(session)
        parts -= await uploads.pending(session)
        answers -= (await batches.unfinished(session)).keys()
        old -= await files.digests(session)
        interrupted &= await jobs.ended(session, interrupted)
    await _erase_old(house)
    await asyncio.to_thread(_remove, house, parts, answers, old, interrupted)
    if removed or old:
        log.info("tidied", extra={"fields": {"files": removed, "digests": len(old)}})


async def _erase_old(house: House) -> None:
    """What is older than the setting allows, a little at a time."""
    days, erased = house.settings.retention_days, 0
    while days is not None:
        async with house.database.writing(records=True) as session:
            count = await retention.erase_old(session, days)
            erased += count
            if count == retention.AT_ONCE:
                continue
            conversations = await retention.forget_conversations(session, days)
            if erased or conversations:
                counts = {"answers": erased, "conversations": conversations, "older_than_days": days}
                await audit.note(session, house.hasher, None, "records.erased", "completions", **counts)
            return


def _remove(house: House, parts: set[str], answers: set[str], digests: set[str], done: set[str]) -> None:
    for upload_id in parts:
        house.store.drop_upload(upload_id)
    for batch_id in answers:
        house.store.drop_batch(batch_id)
    for sha256 in digests:
        house.store.remove_old(sha256)
    for job_id in done:
        house.store.drop_checkpoints(job_id)
