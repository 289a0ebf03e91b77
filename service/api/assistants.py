"""`/api/assistants`: what people talk to, and what its feedback can support."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.api.deps import AdministratorDep, CallerDep, HouseDep, NoteDep, ReadDep, ReviewerDep, WriteDep
from service.api.lists import as_list
from service.contract.assistants import Assistant, AssistantChange, AssistantCreate, Readiness
from service.contract.releases import Rollback, Trial
from service.domain import assistants, releases, staging
from service.domain import readiness as rules
from service.domain import timeline as moments

router = APIRouter(prefix="/api/assistants", tags=["assistants"])


@router.get("")
async def list_assistants(session: ReadDep, _: CallerDep) -> dict[str, Any]:
    return as_list([await assistants.shown(session, a) for a in await assistants.list_assistants(session)])


@router.post("", status_code=201)
async def create_assistant(
    wanted: AssistantCreate, session: WriteDep, house: HouseDep, _: AdministratorDep, note: NoteDep
) -> Assistant:
    created = await assistants.create_assistant(session, wanted, reserved=house.settings.model_name)
    await note(
        "assistant.created",
        created.name,
        **wanted.model_dump(mode="json", exclude={"name"}, exclude_unset=True),
    )
    return await assistants.shown(session, created)


@router.get("/{name}")
async def retrieve_assistant(name: str, session: ReadDep, _: CallerDep) -> Assistant:
    return await assistants.shown(session, await assistants.get_assistant(session, name))


@router.patch("/{name}")
async def change_assistant(
    name: str, change: AssistantChange, session: WriteDep, _: AdministratorDep, note: NoteDep
) -> Assistant:
    await note("assistant.changed", name, **change.model_dump(mode="json", exclude_unset=True))
    return await assistants.shown(session, await assistants.change_assistant(session, name, change))


@router.get("/{name}/readiness")
async def readiness(name: str, session: ReadDep, house: HouseDep, _: ReviewerDep) -> Readiness:
    """How much usable feedback there is, what is left out and why, and what it is worth."""
    await house.sort_feedback(name)
    settings = house.settings
    return await rules.readiness(
        session, house.store, name, needed=settings.needed_pairs, share=settings.person_share
    )


@router.get("/{name}/timeline")
async def timeline(
    name: str,
    session: ReadDep,
    _: ReviewerDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 30,
) -> dict[str, Any]:
    """What happened to it, newest first: feedback day by day, trainings, releases, evaluations, promotions and
    rollbacks, trials, and changes of the assistant itself; by whom, when, and with what reason. `after` is the id of
    the last moment seen."""
    found, more = await moments.timeline(session, name, after=after, limit=limit)
    return as_list(found, has_more=more)


@router.get("/{name}/trial")
async def trial(name: str, session: ReadDep, _: ReviewerDep) -> Trial:
    """The release on trial with some of the people, and how both were received since; 404 while there is none."""
    return await staging.trial(session, name)


@router.post("/{name}/rollback")
async def roll_back(
    name: str, wanted: Rollback, session: WriteDep, caller: ReviewerDep, note: NoteDep
) -> Assistant:
    """Go back to what was live before. Answers under way end on the release they began with."""
    assistant = await releases.roll_back(session, caller, name, wanted.reason, wanted.release)
    await note("release.rolled_back", name, release=assistant.live_release_id, reason=wanted.reason)
    return await assistants.shown(session, assistant)
