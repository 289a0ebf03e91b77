"""What administrators decided for the whole house, where it is not as the settings say. Never commits."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.house_rules import HouseRules, HouseRulesChange
from service.db import tables
from service.domain.identity import now
from service.domain.keys import Caller
from service.settings import Settings


async def in_force(session: AsyncSession, settings: Settings) -> HouseRules:
    """The rules as they hold now."""
    decided = {row.name: row.value for row in await session.scalars(select(tables.HouseRule))}
    return HouseRules(
        retention_days=decided.get("retention_days", settings.retention_days),
        users_compare=bool(decided.get("users_compare", True)),
    )


async def may_compare(session: AsyncSession, caller: Caller) -> bool:
    """Whether somebody may ask two models at once."""
    if caller.may("reviewer"):
        return True
    row = await session.get(tables.HouseRule, "users_compare")
    return row is None or bool(row.value)


async def decide(session: AsyncSession, caller: Caller, change: HouseRulesChange) -> dict[str, Any]:
    """Let what is said hold from now on. Returns what was said."""
    said = change.model_dump(exclude_unset=True)
    for name, value in said.items():
        await session.merge(
            tables.HouseRule(name=name, value=value, user_id=caller.user_id, decided_at=now())
        )
    return said
