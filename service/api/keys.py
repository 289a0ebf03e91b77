"""`/api/keys`: API keys for applications, and what each may spend. A key is shown once, when it is made."""

from typing import Any, cast

from fastapi import APIRouter

from service.api.deps import AdministratorDep, CallerDep, HouseDep, NoteDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract.files import Deleted
from service.contract.users import Key, KeyChange, KeyCreate, NewKey, Role
from service.domain import keys, limits

router = APIRouter(prefix="/api/keys", tags=["keys"])


@router.get("")
async def list_keys(session: ReadDep, caller: CallerDep) -> dict[str, Any]:
    """One's own; everybody's for an administrator."""
    found = await keys.list_keys(session, user_id=None if caller.may("administrator") else caller.user_id)
    held, spent = await limits.limits_of(session, found), await limits.tokens_today(session, found)
    return as_list([keys.shown(*each) for each in zip(found, held, spent, strict=True)])


@router.post("", status_code=201)
async def create_key(
    wanted: KeyCreate, session: WriteDep, house: HouseDep, caller: CallerDep, note: NoteDep
) -> NewKey:
    """It may do what the present one may, or less: `role`. Where that one expires, it expires no later.

    Only an administrator gives a key limits; anybody else's new key spends what the present one may.
    """
    if wanted.limits is not None:
        caller.must_be("administrator")
    caller.must_be(wanted.role or "user")
    life = wanted.expires_in_days * keys.DAY if wanted.expires_in_days else None
    key, secret = await keys.create_key(
        session, house.hasher, user_id=caller.user_id, kind="api", name=wanted.name, life=life,
        budget_id=None if caller.may("administrator") else caller.budget_id,
        # A key of less power cannot make one of more, so none is left open.
        role=wanted.role or cast(Role, caller.role), until=await keys.end_of(session, caller),
    )  # fmt: skip
    if wanted.limits is not None:
        await limits.set_limits(session, key, wanted.limits)
    (held,) = await limits.limits_of(session, [key])
    await note("key.made", key.id, name=key.name, role=key.role, limits=held.model_dump(exclude_none=True))
    return NewKey(key=keys.shown(key, held), secret=secret)


@router.patch("/{key_id}")
async def change_key(
    key_id: str, change: KeyChange, session: WriteDep, _: AdministratorDep, note: NoteDep
) -> Key:
    """Change what a key may spend, from its next request on."""
    key = await keys.get_key(session, key_id)
    await note(
        "key.changed", key.id, name=key.name, limits=change.limits.model_dump(mode="json", exclude_unset=True)
    )
    held = await limits.set_limits(session, key, change.limits)
    (spent,) = await limits.tokens_today(session, [key])
    return keys.shown(key, held, spent)


@router.delete("/{key_id}")
async def revoke_key(key_id: str, session: WriteDep, caller: CallerDep, note: NoteDep) -> Deleted:
    """Revoke a key; the browser sessions that were opened with it end too. Keys that were made with it stay."""
    await keys.end_key(session, caller, key_id)
    await note("key.revoked", key_id)
    return Deleted(id=key_id, object="key")
