"""`/api/adapters`: what was proved of them, to take along, and to bring from elsewhere."""

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from service.api.datasets import LimitQuery
from service.api.deps import AdministratorDep, CallerDep, House, HouseDep, ReadDep, ReviewerDep
from service.contract.adapters import AdapterBrought, AdapterCreate
from service.contract.lineage import Lineage
from service.contract.releases import Adapter
from service.domain import adapters, audit, job_requests, jobs, lineage, model_cards, releases
from service.domain.keys import Caller
from service.storage.archive import pieces

router = APIRouter(tags=["adapters"])
ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}
MARKDOWN: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}
}


@router.post("/api/adapters", status_code=202)
async def bring_adapter(wanted: AdapterCreate, house: HouseDep, caller: AdministratorDep) -> AdapterBrought:
    """Bring an adapter that PEFT saved elsewhere: a ZIP that was uploaded to `/v1/files` as `adapter`. It is checked
    now, and published by the job once the running engine is seen to serve it. Sent again, it makes nothing twice."""
    async with house.database.reading() as session:
        file = await job_requests.training_file(session, caller, wanted.file, "import", "file")
    settings = house.settings
    async with house.previews:
        # In a thread, piece by piece: who is being answered meanwhile waits for none of it.
        digest, left_out = await asyncio.to_thread(
            house.store.put_brought, file.sha256, adapters.servable(settings), limit=settings.max_upload_mb << 20,
            same_base=wanted.same_base_model,
        )  # fmt: skip
    async with house.database.writing() as session:
        brought = await adapters.bring(
            session, caller, wanted, digest, left_out, base_name=settings.model_name
        )
        told = {"file": wanted.file, "assistant": wanted.assistant}
        await audit.note(session, house.hasher, caller, "adapter.imported", digest, **told)
        return AdapterBrought(
            adapter=digest, already_here=brought.adapter is not None, left_out=left_out,
            model=brought.adapter.model if brought.adapter else None,
            release=brought.release.id if brought.release else None,
            job=jobs.shown(brought.job) if brought.job else None,
        )  # fmt: skip


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
        card = await _card(session, house, caller, adapter)
    file = await asyncio.to_thread(house.store.adapter_zip, digest, card)
    size = file.seek(0, 2)
    file.seek(0)
    async with house.database.writing() as session:
        await audit.note(session, house.hasher, caller, "adapter.exported", digest, name=adapter.model)
    headers = {
        "content-disposition": f'attachment; filename="{digest[:12]}.zip"', "content-length": str(size)
    }  # fmt: skip
    return StreamingResponse(pieces(file), media_type="application/zip", headers=headers)


@router.get("/api/adapters/{digest}/card", response_class=Response, responses=MARKDOWN)
async def adapter_card(digest: str, house: HouseDep, caller: CallerDep) -> Response:
    """The model card alone, in Markdown, for who tuned the model and for reviewers."""
    async with house.database.reading() as session:
        adapter = await releases.adapter_to_take(session, caller, digest)
        card = await _card(session, house, caller, adapter)
    return Response(card, media_type="text/markdown; charset=utf-8")


@router.get("/api/adapters/{digest}/lineage")
async def adapter_lineage(
    digest: str, session: ReadDep, _: ReviewerDep, after: str | None = None, limit: LimitQuery = 100
) -> Lineage:
    """What it learned from, back to people's feedback, and what it inherited from the adapters before it."""
    return await lineage.of_adapter(session, digest, after=after, limit=limit)


async def _card(session: AsyncSession, house: House, caller: Caller, adapter: Adapter) -> str:
    ours = house.settings.embedded and adapter.manifest.base_model == house.settings.model_name
    return await model_cards.of_adapter(session, caller, adapter, embedded=ours)
