"""Assistants: made, changed, listed. Knows no HTTP and never commits."""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.assistants import Assistant, AssistantChange, AssistantCreate
from service.db import tables
from service.domain import files
from service.domain.identity import new_id, now
from service.errors import BadInput, NotFound


async def create_assistant(
    session: AsyncSession, wanted: AssistantCreate, *, reserved: str
) -> tables.Assistant:
    """`reserved` is the base model's name, which no assistant may take."""
    if wanted.name == reserved:
        raise BadInput(
            f"'{reserved}' is the base model's name. Choose another.", param="name", code="name_taken"
        )
    await _check_cases(session, wanted.cases_file)
    assistant = tables.Assistant(
        id=new_id("asst_"),
        **wanted.model_dump(),
        live_release_id=None,
        staged_release_id=None,
        staged_share=0,
        created_at=now(),
    )
    session.add(assistant)
    try:
        await session.flush()
    except IntegrityError:
        raise BadInput(
            f"There is an assistant '{wanted.name}' already. Choose another name.",
            param="name",
            code="name_taken",
        ) from None
    return assistant


async def get_assistant(session: AsyncSession, name: str) -> tables.Assistant:
    assistant = await session.scalar(select(tables.Assistant).where(tables.Assistant.name == name))
    if assistant is None:
        raise NotFound(f"No assistant '{name}'. GET /api/assistants lists them.")
    return assistant


async def list_assistants(session: AsyncSession) -> list[tables.Assistant]:
    return list(await session.scalars(select(tables.Assistant).order_by(tables.Assistant.created_at)))


async def held_out(session: AsyncSession, name: str | None) -> dict[str, str]:
    """By name, the digest of the file of questions that an assistant is measured on; of all assistants without one."""
    every = [await get_assistant(session, name)] if name is not None else await list_assistants(session)
    return {
        one.name: (await files.get_kept(session, one.cases_file)).sha256 for one in every if one.cases_file
    }


async def change_assistant(session: AsyncSession, name: str, change: AssistantChange) -> tables.Assistant:
    assistant = await get_assistant(session, name)
    values = change.model_dump(exclude_unset=True)
    if "cases_file" in values:
        await _check_cases(session, values["cases_file"])
    for field, value in values.items():
        if value is None and field != "cases_file":
            raise BadInput(f"'{field}' cannot be empty; leave it out to keep it.", param=field)
        setattr(assistant, field, value)
    return assistant


async def shown(session: AsyncSession, assistant: tables.Assistant) -> Assistant:
    """The assistant as the contract shows it, with the numbers of its releases."""
    numbers = ("live_release", "staged_release")
    fields = {name: getattr(assistant, name) for name in Assistant.model_fields if name not in numbers}
    live = await _number(session, assistant.live_release_id)
    staged = await _number(session, assistant.staged_release_id)
    return Assistant(**fields, live_release=live, staged_release=staged)


async def _number(session: AsyncSession, release_id: str | None) -> int | None:
    release = await session.get(tables.Release, release_id) if release_id else None
    return release.number if release else None


async def _check_cases(session: AsyncSession, file_id: str | None) -> None:
    if file_id is not None and (await files.get_file(session, file_id)).kind != "cases":
        raise BadInput(
            f"File '{file_id}' holds no held-out questions. Upload it with purpose 'evals'.",
            param="cases_file",
        )
