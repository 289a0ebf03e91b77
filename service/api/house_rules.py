"""`/api/house-rules`: what administrators decide for the whole house, and what a shorter memory would erase."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.deps import AdministratorDep, HouseDep, NoteDep, ReadDep, WriteDep
from service.contract.house_rules import Going, HouseRules, HouseRulesChange
from service.domain import house_rules, retention

router = APIRouter(prefix="/api/house-rules", tags=["house rules"])


@router.get("")
async def retrieve_house_rules(session: ReadDep, house: HouseDep, _: AdministratorDep) -> HouseRules:
    """As they hold now."""
    return await house_rules.in_force(session, house.settings)


@router.patch("")
async def change_house_rules(
    change: HouseRulesChange, session: WriteDep, house: HouseDep, caller: AdministratorDep, note: NoteDep
) -> HouseRules:
    """What is decided holds from the next round of tidying on, within a few minutes, whatever the settings say."""
    said = await house_rules.decide(session, caller, change)
    await note("house_rules.changed", "house", **said)
    return await house_rules.in_force(session, house.settings)


@router.get("/going")
async def retrieve_going(
    session: ReadDep, _: AdministratorDep, days: Annotated[int, Query(ge=1, le=36_500)]
) -> Going:
    """What would be erased now if it were kept for so many days."""
    return await retention.going(session, days)
