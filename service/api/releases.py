"""`/api/releases`: candidates, and going live."""

from typing import Any

from fastapi import APIRouter

from service.api.datasets import LimitQuery
from service.api.deps import NoteDep, ReadDep, ReviewerDep, WriteDep
from service.api.lists import as_list
from service.contract.lineage import Lineage
from service.contract.releases import Promotion, Release, Staging
from service.domain import lineage, releases, staging

router = APIRouter(tags=["releases"])


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


@router.get("/api/releases/{release_id}/lineage")
async def release_lineage(
    release_id: str, session: ReadDep, _: ReviewerDep, after: str | None = None, limit: LimitQuery = 100
) -> Lineage:
    """What its adapter learned from, back to people's feedback: see `/api/adapters`."""
    return await lineage.of_release(session, release_id, after=after, limit=limit)
