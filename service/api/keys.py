"""`/api/keys`: API keys for applications. A key is shown once, when it is made."""

from typing import Any

from fastapi import APIRouter

from service.api.deps import CallerDep, HouseDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract.files import Deleted
from service.contract.users import Key, KeyCreate, NewKey
from service.domain import keys

router = APIRouter(prefix="/api/keys", tags=["keys"])


@router.get("")
async def list_keys(session: ReadDep, caller: CallerDep) -> dict[str, Any]:
    """One's own; everybody's for an administrator."""
    found = await keys.list_keys(session, user_id=None if caller.may("administrator") else caller.user_id)
    return as_list([Key.model_validate(key) for key in found])


@router.post("", status_code=201)
async def create_key(wanted: KeyCreate, session: WriteDep, house: HouseDep, caller: CallerDep) -> NewKey:
    life = wanted.expires_in_days * keys.DAY if wanted.expires_in_days else None
    key, secret = await keys.create_key(
        session, house.hasher, user_id=caller.user_id, kind="api", name=wanted.name, life=life
    )
    return NewKey(key=Key.model_validate(key), secret=secret)


@router.delete("/{key_id}")
async def revoke_key(key_id: str, session: WriteDep, caller: CallerDep) -> Deleted:
    await keys.end_key(session, caller, key_id)
    return Deleted(id=key_id, object="key")
