"""People and their roles. Knows no HTTP and never commits."""

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.users import UserChange, UserCreate
from service.db import tables
from service.domain import keys
from service.domain.identity import new_id, now
from service.errors import BadInput, Conflict, NotFound


async def create_user(session: AsyncSession, wanted: UserCreate) -> tables.User:
    user = tables.User(
        id=new_id("user_"), name=wanted.name.strip(), role=wanted.role, active=True, created_at=now()
    )
    session.add(user)
    try:
        await session.flush()
    except IntegrityError:
        raise BadInput(
            f"There is a user named '{wanted.name}' already. Choose another name.",
            param="name",
            code="name_taken",
        ) from None
    return user


async def get_user(session: AsyncSession, user_id: str) -> tables.User:
    user = await session.get(tables.User, user_id)
    if user is None:
        raise NotFound(f"No user '{user_id}'.")
    return user


async def find_user(session: AsyncSession, name: str) -> tables.User:
    user = await session.scalar(select(tables.User).where(tables.User.name == name))
    if user is None:
        raise NotFound(f"No user named '{name}'.")
    return user


async def first_administrator(session: AsyncSession) -> tables.User | None:
    query = select(tables.User).where(tables.User.role == "administrator", tables.User.active)
    return await session.scalar(query.order_by(tables.User.created_at).limit(1))


async def list_users(session: AsyncSession) -> list[tables.User]:
    return list(await session.scalars(select(tables.User).order_by(tables.User.created_at)))


async def change_user(session: AsyncSession, user_id: str, change: UserChange) -> tables.User:
    """Change role or close the account; a closed account's keys end at once. The last administrator stays."""
    user = await get_user(session, user_id)
    leaves = user.role == "administrator" and (
        change.role not in (None, "administrator") or change.active is False
    )
    if leaves and user.active and await _administrators(session) == 1:
        raise Conflict(
            "This is the only administrator. Make somebody else administrator first.",
            code="last_administrator",
        )
    if change.role is not None:
        user.role = change.role
    if change.active is not None:
        user.active = change.active
        if not change.active:
            await keys.end_keys_of(session, user_id)
    return user


async def _administrators(session: AsyncSession) -> int:
    query = select(func.count()).select_from(tables.User)
    return await session.scalar(query.where(tables.User.role == "administrator", tables.User.active)) or 0
