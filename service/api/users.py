"""`/api/session`, `/api/me`, `/api/users`: signing in and out, and who may do what."""

from typing import Any

from fastapi import APIRouter, Request

from service.api.deps import AdministratorDep, CallerDep, HouseDep, NoteDep, ReadDep, WriteDep, bearer
from service.api.lists import as_list
from service.contract.files import Deleted
from service.contract.users import Session, SignIn, User, UserChange, UserCreate
from service.domain import audit, house_rules, keys, users
from service.domain.keys import Caller
from service.errors import BadInput

router = APIRouter(tags=["users"])


@router.post("/api/session", status_code=201)
async def sign_in(wanted: SignIn, session: WriteDep, house: HouseDep) -> Session:
    """Open a browser session with a one-time link, which is used up, or with an API key."""
    if (wanted.link is None) == (wanted.key is None):
        raise BadInput("Send either 'link' or 'key'.")
    user, opened, secret = await keys.sign_in(session, house.hasher, link=wanted.link, key=wanted.key)
    who = Caller(user.id, user.name, user.role, opened.id, opened.kind)
    # The session ends with its key, and its row with it: the journal remembers which key it was.
    key = {"opened_with": opened.opened_with} if opened.opened_with else {}
    await audit.note(session, house.hasher, who, "session.opened", opened.id, **key)
    return Session(token=secret, user=User.model_validate(user), expires_at=opened.expires_at or 0)


@router.delete("/api/session")
async def sign_out(request: Request, session: WriteDep, house: HouseDep, caller: CallerDep) -> Deleted:
    """End the session of the token sent. An API key is left alone: revoke it at /api/keys."""
    if caller.kind != "session" or bearer(request) is None:
        raise BadInput("This is an API key, not a session. Revoke it with DELETE /api/keys/{id}.")
    await keys.end_key(session, caller, caller.key_id)
    return Deleted(id=caller.key_id, object="session")


@router.get("/api/me")
async def me(session: ReadDep, caller: CallerDep) -> User:
    """Who asks; the role is what the key or session in use may do."""
    found = User.model_validate(await users.get_user(session, caller.user_id))
    compares = await house_rules.may_compare(session, caller)
    return found.model_copy(update={"role": caller.role, "compares": compares})


@router.get("/api/users")
async def list_users(session: ReadDep, _: AdministratorDep) -> dict[str, Any]:
    return as_list([User.model_validate(user) for user in await users.list_users(session)])


@router.post("/api/users", status_code=201)
async def create_user(wanted: UserCreate, session: WriteDep, _: AdministratorDep, note: NoteDep) -> User:
    user = await users.create_user(session, wanted)
    await note("user.created", user.id, name=user.name, role=user.role)
    return User.model_validate(user)


@router.patch("/api/users/{user_id}")
async def change_user(
    user_id: str, change: UserChange, session: WriteDep, _: AdministratorDep, note: NoteDep
) -> User:
    user = await users.change_user(session, user_id, change)
    await note("user.changed", user.id, name=user.name, **change.model_dump(mode="json", exclude_unset=True))
    return User.model_validate(user)


@router.post("/api/users/{user_id}/link", status_code=201)
async def create_link(
    user_id: str, session: WriteDep, house: HouseDep, _: AdministratorDep, note: NoteDep
) -> dict[str, str]:
    """A one-time sign-in link for this person, good for a day."""
    user = await users.get_user(session, user_id)
    await note("link.made", user.id, name=user.name)
    secret = await keys.create_link(session, house.hasher, user_id=user_id)
    return {"link": secret, "url": f"{house.settings.ui_url}/login?link={secret}"}
