"""API keys, sessions and one-time links: made, found, ended. Only a keyed hash is ever stored.

Keys carry 256 random bits, so a fast hash is enough (a slow one guards guessable passwords).
Owns the pepper file. Knows no HTTP and never commits.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy import Select, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from service.contract import folder
from service.contract.limits import UNLIMITED, Limits
from service.contract.users import RANK, Key, KeyKind, Role
from service.db import tables
from service.domain.identity import new_id, now
from service.errors import NotAllowed, NotFound, NotSignedIn

DAY = 86_400
HOUSE = "house"
"""The budget of the house's own work, such as an evaluation: nothing limits it."""
LIFE: dict[str, int | None] = {"api": None, "session": 30 * DAY, "link": DAY}


def _by(column: InstrumentedAttribute[str]) -> Select[tables.Key, tables.User, tables.Budget]:
    budget_id = func.coalesce(tables.Key.budget_id, tables.Key.id)
    return (
        select(tables.Key, tables.User, tables.Budget)
        .join(tables.User, tables.User.id == tables.Key.user_id)
        .outerjoin(tables.Budget, tables.Budget.id == budget_id)
        .where(column == bindparam("value"))
    )


# Every request asks this: building the query takes longer than running it, so it is built once.
_BY_DIGEST, _BY_ID = _by(tables.Key.digest), _by(tables.Key.id)
USED = update(tables.Key).where(tables.Key.id == bindparam("key")).values(last_used_at=bindparam("at"))
"""That the key with the id `key` was used `at` that second."""


@dataclass(frozen=True)
class Caller:
    """Who asks: the key used and the person behind it."""

    user_id: str
    name: str
    role: str
    key_id: str
    kind: str
    budget_id: str = ""
    limits: Limits = Limits()
    """The key's own; the house's defaults stand behind them."""

    def must_be(self, role: str) -> None:
        """Raise `NotAllowed` unless the caller's role is `role` or above it."""
        if RANK[self.role] < RANK[role]:
            raise NotAllowed(f"This needs the role '{role}'; yours is '{self.role}'. Ask an administrator.")

    def may(self, role: str) -> bool:
        return RANK[self.role] >= RANK[role]

    def may_see(self, owner_id: str) -> bool:
        """What is one's own is seen, and by a reviewer what is anybody's."""
        return owner_id == self.user_id or self.may("reviewer")

    def must_own(self, owner_id: str) -> None:
        """Raise `NotAllowed` unless it is one's own, or the caller an administrator. Reviewers see it, no more."""
        if owner_id != self.user_id and not self.may("administrator"):
            raise NotAllowed("It is another person's. Only they, or an administrator, can do this.")


class Hasher:
    """HMAC-SHA-256 with a pepper that lies in a file of mode 0600, outside the database."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    @classmethod
    def of_home(cls, home: Path) -> "Hasher":
        path = home / "pepper"
        if not path.exists():
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(secrets.token_hex(32))
            except FileExistsError:
                pass
        return cls(path.read_bytes())

    def digest(self, secret: str) -> str:
        return hmac.new(self._pepper, secret.encode(), hashlib.sha256).hexdigest()

    def signing_key(self, webhook_id: str) -> bytes:
        """What a webhook's deliveries are signed with: derived, so that the database alone does not reveal it."""
        return hmac.new(self._pepper, f"webhook:{webhook_id}".encode(), hashlib.sha256).digest()

    def salt(self, user_id: str) -> str:
        """What keeps one person's prefix-cache entries apart from another's in the engine."""
        return self.digest(f"cache:{user_id}")[:32]


async def create_key(
    session: AsyncSession,
    hasher: Hasher,
    *,
    user_id: str,
    kind: KeyKind,
    name: str,
    life: int | None = None,
    budget_id: str | None = None,
    role: Role | None = None,
    until: int | None = None,
    opened_with: str | None = None,
) -> tuple[tables.Key, str]:
    """A new key and its secret, which is not kept. `life` in seconds overrides the kind's own.

    It spends from `budget_id`, by default a budget of its own, may do what its holder may, or less: `role`, and lasts
    no longer than `until`.
    """
    secret = f"tb-{secrets.token_urlsafe(32)}"
    seconds = life if life is not None else LIFE[kind]
    ends = [end for end in (None if seconds is None else now() + seconds, until) if end is not None]
    key = tables.Key(
        id=new_id("key_"), kind=kind, name=name, hint=secret[:7], digest=hasher.digest(secret), user_id=user_id,
        budget_id=budget_id, role=role, opened_with=opened_with, created_at=now(),
        expires_at=min(ends, default=None),
    )  # fmt: skip
    session.add(key)
    await session.flush()
    return key, secret


async def find_caller(session: AsyncSession, hasher: Hasher, secret: str | None) -> Caller:
    """Who holds `secret`. Raises `NotSignedIn`. A one-time link is no key for requests."""
    if not secret:
        raise NotSignedIn("No API key was sent. Send the header 'Authorization: Bearer <key>'.")
    return _as_caller(*await _find(session, _BY_DIGEST, hasher.digest(secret), ("api", "session")))


async def caller_of_key(session: AsyncSession, key_id: str) -> Caller:
    """Who holds the key with this id, for what goes on in its name. Raises `NotSignedIn` once it has ended."""
    return _as_caller(*await _find(session, _BY_ID, key_id, ("api", "session")))


async def sign_in(
    session: AsyncSession, hasher: Hasher, *, link: str | None, key: str | None
) -> tuple[tables.User, tables.Key, str]:
    """Open a browser session by a one-time link, which is used up, or by an API key."""
    digest = hasher.digest(link or key or "")
    used, user, _ = await _find(session, _BY_DIGEST, digest, ("link",) if link else ("api",))
    if link:
        gone = await session.execute(
            delete(tables.Key).where(tables.Key.id == used.id).returning(tables.Key.id)
        )
        if gone.scalar_one_or_none() is None:
            raise _wrong_key()
    budget_id = until = opened_with = None
    if key:
        used.last_used_at = now()
        # A session opened with a key is that key in another form: it gets no budget beside it, and ends with it.
        budget_id, until, opened_with = used.budget_id or used.id, used.expires_at, used.id
    opened, secret = await create_key(
        session, hasher, user_id=user.id, kind="session", name="browser", budget_id=budget_id,
        role=cast(Role | None, used.role), until=until, opened_with=opened_with,
    )  # fmt: skip
    return user, opened, secret


async def create_link(session: AsyncSession, hasher: Hasher, *, user_id: str) -> str:
    """A one-time sign-in link's token, good for a day; earlier unused ones of this person end."""
    await session.execute(delete(tables.Key).where(tables.Key.user_id == user_id, tables.Key.kind == "link"))
    _, secret = await create_key(session, hasher, user_id=user_id, kind="link", name="sign-in link")
    return secret


async def end_of(session: AsyncSession, caller: Caller) -> int | None:
    """When the API key expires that is in use, or that opened the session in use: what is made with it does not
    outlast it. Raises `NotSignedIn` when it has ended."""
    used = await session.get(tables.Key, caller.key_id)
    if used is not None and used.opened_with is not None:
        used = await session.get(tables.Key, used.opened_with)
    if used is None:
        raise _wrong_key()
    return used.expires_at if used.kind == "api" else None


async def list_keys(session: AsyncSession, *, user_id: str | None) -> list[tables.Key]:
    query = select(tables.Key).where(tables.Key.kind == "api").order_by(tables.Key.created_at)
    if user_id is not None:
        query = query.where(tables.Key.user_id == user_id)
    return list(await session.scalars(query))


async def get_key(session: AsyncSession, key_id: str) -> tables.Key:
    """An API key, for an administrator."""
    key = await session.get(tables.Key, key_id)
    if key is None or key.kind != "api":
        raise NotFound(f"No key '{key_id}'.")
    return key


def shown(key: tables.Key, limits: Limits, tokens_today: int | None = None) -> Key:
    """The key as the contract shows it."""
    columns = Key.model_fields.keys() - {"limits", "tokens_today"}
    fields = {name: getattr(key, name) for name in columns}
    return Key(**fields, limits=limits, tokens_today=tokens_today)


async def end_key(session: AsyncSession, caller: Caller, key_id: str) -> None:
    """Revoke a key, and the sessions that were opened with it: one's own that may do no more than the present one, or
    anybody's for an administrator."""
    key = await session.get(tables.Key, key_id)
    if key is None or not (key.user_id == caller.user_id or caller.may("administrator")):
        raise NotFound(f"No key '{key_id}'.")
    holder = await session.get_one(tables.User, key.user_id)
    caller.must_be(min(key.role or holder.role, holder.role, key=RANK.__getitem__))
    await session.delete(key)
    # After the key, so that a session that is just being opened with it is seen, or not opened.
    await session.flush()
    await session.execute(delete(tables.Key).where(tables.Key.opened_with == key_id))


async def end_keys_of(session: AsyncSession, user_id: str) -> None:
    await session.execute(delete(tables.Key).where(tables.Key.user_id == user_id))


async def _find(
    session: AsyncSession,
    query: Select[tables.Key, tables.User, tables.Budget],
    value: str,
    kinds: tuple[str, ...],
) -> tuple[tables.Key, tables.User, tables.Budget | None]:
    row = (await session.execute(query, {"value": value})).one_or_none()
    if row is None or row[0].kind not in kinds or not row[1].active:
        raise _wrong_key()
    if row[0].expires_at is not None and row[0].expires_at < now():
        raise _wrong_key()
    return row[0], row[1], row[2]


def _as_caller(key: tables.Key, user: tables.User, budget: tables.Budget | None) -> Caller:
    limits = Limits.model_validate(budget.limits) if budget else Limits()
    if key.budget_id == HOUSE:
        limits = UNLIMITED
    role = min(user.role, key.role or user.role, key=RANK.__getitem__)
    return Caller(user.id, user.name, role, key.id, key.kind, key.budget_id or key.id, limits)


def _wrong_key() -> NotSignedIn:
    return NotSignedIn(
        "This key is not known here, was revoked or has expired. Ask an administrator for a new one."
    )


def write_private(path: Path, text: str) -> None:
    """A file only its owner can read."""
    folder.write_atomic(path, "")
    path.chmod(0o600)
    path.write_text(text)
