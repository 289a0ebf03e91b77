"""`/api/releases` and `/api/adapters`: candidates, what was proved of them, and going live."""

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from service.api.datasets import LimitQuery
from service.api.deps import CallerDep, HouseDep, NoteDep, ReadDep, ReviewerDep, WriteDep
from service.api.lists import as_list
from service.contract.lineage import Lineage
from service.contract.releases import Adapter, Promotion, Release, Staging
from service.domain import audit, lineage, model_cards, releases, staging
from service.storage.archive import pieces

router = APIRouter(tags=["releases"])
ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("/api/releases")
async def list_releases(session: ReadDep, _: ReviewerDep, assistant: str | None = None) -> dict[str, Any]:
    found = await releases.list_releases(session, assistant)
    return as_list([await releases.shown(session, release) for release in found])


@router.get("/api/releases/{release_id}")
async def retrieve_release(release_id: str, session: ReadDep, _: ReviewerDep) -> Release:
    return await releases.shown(session, await releases.get_release(session, release_id))


@router.post("/api/releases/{release_id}/promote")
async def promote(
    release_id: str, wanted: Promotion, session: WriteDep, caller: ReviewerDep, note: NoteDep
) -> Release:
    """Make a release live. One that is held, or was never evaluated, needs `override_reason`."""
    release = await releases.promote(session, caller, release_id, wanted)
    name = f"{release.assistant}@{release.number}"
    await note("release.promoted", name, release=release.id, override_reason=wanted.override_reason)
    return await releases.shown(session, release)


@router.post("/api/releases/{release_id}/stage")
async def stage(
    release_id: str, wanted: Staging, session: WriteDep, caller: ReviewerDep, note: NoteDep
) -> Release:
    """Let a release answer some of the people, always the same ones; `share` 0 ends the trial."""
    release = await staging.stage(session, caller, release_id, wanted)
    name = f"{release.assistant}@{release.number}"
    await note("release.staged", name, share=wanted.share, override_reason=wanted.override_reason)
    return await releases.shown(session, release)


@router.get("/api/adapters/{digest}")
async def retrieve_adapter(digest: str, session: ReadDep, _: ReviewerDep) -> Adapter:
    """An adapter's manifest and the proof that the engine serves it."""
    return await releases.get_adapter(session, digest)


@router.get("/api/adapters/{digest}/files", response_class=StreamingResponse, responses=ZIP)
async def adapter_files(digest: str, house: HouseDep, caller: CallerDep) -> StreamingResponse:
    """An adapter to take along, for who tuned it and for reviewers: a ZIP of its files exactly as they are kept and
    a model card. That it was taken stands in the journal."""
    async with house.database.reading() as session:
        adapter = await releases.adapter_to_take(session, caller, digest)
        ours = house.settings.embedded and adapter.manifest.base_model == house.settings.model_name
        card = await model_cards.of_adapter(session, caller, adapter, embedded=ours)
    file = await asyncio.to_thread(house.store.adapter_zip, digest, card)
    size = file.seek(0, 2)
    file.seek(0)
    async with house.database.writing() as session:
        await audit.note(session, house.hasher, caller, "adapter.exported", digest, name=adapter.model)
    headers = {
        "content-disposition": f'attachment; filename="{digest[:12]}.zip"', "content-length": str(size)
    }  # fmt: skip
    return StreamingResponse(pieces(file), media_type="application/zip", headers=headers)


@router.get("/api/adapters/{digest}/lineage")
async def adapter_lineage(
    digest: str, session: ReadDep, _: ReviewerDep, after: str | None = None, limit: LimitQuery = 100
) -> Lineage:
    """What it learned from, back to people's feedback, and what it inherited from the adapters before it."""
    return await lineage.of_adapter(session, digest, after=after, limit=limit)


@router.get("/api/releases/{release_id}/lineage")
async def release_lineage(
    release_id: str, session: ReadDep, _: ReviewerDep, after: str | None = None, limit: LimitQuery = 100
) -> Lineage:
    """The same of the adapter that a release offers."""
    return await lineage.of_release(session, release_id, after=after, limit=limit)
