"""What the gateway does as time passes: it tidies what ran out or ended and files that nothing leads back to, erases
deleted and old answers, takes in new feedback and counts what was said on each day that is over.

A row goes first and its bytes later, so what is cut short is done at the next round. Also removes what a
refused upload, a killed process or a job that will not go on left on disk.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from service.api.deps import House
from service.domain import (
    audit,
    batches,
    files,
    house_rules,
    idempotency,
    imports,
    jobs,
    material,
    passes,
    retention,
    timeline,
    uploads,
    webhooks,
)
from service.logs import log
from service.looking import keep_looking

EVERY = 600.0
"""Seconds between two rounds."""
SOON = 2.0
"""Seconds between two looks for feedback that was not sorted yet."""


async def keep_tidy(house: House) -> None:
    """Tidy now and then, until cancelled."""
    await keep_looking(partial(tidy, house), EVERY, "tidying failed")


async def keep_sorted(house: House) -> None:
    """Take in what people say soon after they said it, until cancelled: a screen that asks need not wait for it."""
    await asyncio.sleep(SOON)
    await keep_looking(partial(_sort, house), SOON, "new feedback cannot be looked at")


async def _sort(house: House) -> None:
    async with house.database.reading() as session:
        behind = await material.waiting(session)
    for assistant in behind:
        try:
            await house.sort_feedback(assistant)
        except Exception as error:  # noqa: BLE001 - another assistant's feedback is sorted all the same
            log.error("sorting feedback failed", exc_info=error)


@dataclass
class Left:
    """What lies on disk and may be needed no more, by name."""

    parts: set[str]
    """Of uploads."""
    answers: set[str]
    """Of batches."""
    imports: set[str]
    digests: set[str]
    """Of files."""
    checkpoints: set[str]
    """Of jobs."""
    adapters: set[str]
    """Digests."""


async def tidy(house: House) -> None:
    """One round. What is on disk is listed before the rows are: what comes meanwhile is in neither list."""
    left = await asyncio.to_thread(_listed, house)
    async with house.database.writing() as session:
        await uploads.expire(session)
        await webhooks.forget_old(session)
        await idempotency.forget_old(session)
        removed = await files.forget_needless(session)
        left.parts -= await uploads.pending(session)
        left.answers -= (await batches.unfinished(session)).keys()
        left.imports -= await imports.known(session)
        left.digests -= await files.digests(session) | await imports.sources(session)
        left.checkpoints &= await jobs.ended(session, left.checkpoints)
        left.adapters -= await passes.needed(session)
    await _erase_deleted(house)
    await _erase_old(house)
    await _count_days(house)
    await asyncio.to_thread(_remove, house, left)
    if removed or left.digests:
        log.info("tidied", extra={"fields": {"files": removed, "digests": len(left.digests)}})


async def _erase_deleted(house: House) -> None:
    """What people deleted, a little at a time."""
    async with house.database.reading() as session:
        if not await retention.deleted_left(session):
            return
    count = retention.AT_ONCE
    while count == retention.AT_ONCE:
        async with house.database.writing(records=True) as session:
            count = await retention.erase_deleted(session)


async def _erase_old(house: House) -> None:
    """What is older than the house's rules allow, a little at a time."""
    async with house.database.reading() as session:
        days, erased = (await house_rules.in_force(session, house.settings)).retention_days, 0
    while days is not None:
        async with house.database.writing(records=True) as session:
            count = await retention.erase_old(session, days)
            erased += count
            if count == retention.AT_ONCE:
                continue
            counts = {
                "answers": erased,
                "conversations": await retention.forget_conversations(session, days),
                "duels": await retention.forget_duels(session, days),
                "previews": await retention.forget_previews(session, days),
                "documents": await retention.forget_documents(session, days),
            }
            if any(counts.values()):
                counts["older_than_days"] = days
                await audit.note(session, house.hasher, None, "records.erased", "completions", **counts)
            return


async def _count_days(house: House) -> None:
    """What was said on each day that is over, for the timeline. Counting is no transaction that others wait for."""
    async with house.database.reading() as session:
        days = await timeline.finished_days(session, time.time())
    if days:
        async with house.database.writing() as session:
            await timeline.keep_days(session, days)


def _listed(house: House) -> Left:
    parts, answers = house.store.unfinished()
    return Left(
        parts=parts, answers=answers, imports=house.store.old_imports(), digests=set(house.store.old_files()),
        checkpoints=house.store.interrupted(), adapters=house.store.old_adapters(),
    )  # fmt: skip


def _remove(house: House, left: Left) -> None:
    for upload_id in left.parts:
        house.store.drop_upload(upload_id)
    for batch_id in left.answers:
        house.store.drop_batch(batch_id)
    for import_id in left.imports:
        house.store.drop_import(import_id)
    for sha256 in left.digests:
        house.store.remove_old(sha256)
    for job_id in left.checkpoints:
        house.store.drop_checkpoints(job_id)
    for digest in left.adapters:
        if not any(digest in engine.models or engine.in_use(digest) for engine in house.engines):
            house.store.remove_old_adapter(digest)
