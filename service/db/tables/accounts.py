"""People, their keys and what those may spend."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.table import Table


class User(Table):
    __tablename__ = "users"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[int]


class Key(Table):
    """An API key, a browser session or a one-time sign-in link; only a keyed hash is kept."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    hint: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    budget_id: Mapped[str | None]
    """Whose budget it spends: the key's it was made with; none: its own, under its own id."""
    created_at: Mapped[int]
    role: Mapped[str | None]
    """What it may do at most; none: all that its holder may."""
    opened_with: Mapped[str | None] = mapped_column(index=True)
    """Of a session: the API key that opened it, with which it ends; none: a link did."""
    expires_at: Mapped[int | None]
    last_used_at: Mapped[int | None]


class HouseRule(Table):
    """What an administrator decided for the whole house, where it is not as the settings say."""

    __tablename__ = "house_rules"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int | None]
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    decided_at: Mapped[int]


class Budget(Table):
    """The limits an administrator gave a key. Outlives the key, as others may spend from it."""

    __tablename__ = "budgets"
    id: Mapped[str] = mapped_column(primary_key=True)
    limits: Mapped[dict[str, Any]]


class Spending(Table):
    """What a budget spent on one day (days since 1970, UTC), open reservations included."""

    __tablename__ = "spendings"
    budget_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True)
    requests: Mapped[int]
    tokens: Mapped[int] = mapped_column(BigInteger)


class Reservation(Table):
    """What one request holds of its budget; once settled, what it used. Kept for the length of a minute."""

    __tablename__ = "reservations"
    id: Mapped[str] = mapped_column(primary_key=True)
    budget_id: Mapped[str]
    day: Mapped[int]
    at: Mapped[float]
    tokens: Mapped[int]
    open: Mapped[bool]
    __table_args__ = (Index(None, "budget_id", "at"),)


class IdempotencyKey(Table):
    """A request answered once: the same key with the same body gets the same answer again."""

    __tablename__ = "idempotency_keys"
    user_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_sha256: Mapped[str]
    response: Mapped[dict[str, Any]]
    created_at: Mapped[int] = mapped_column(index=True)


class AuditEntry(Table):
    """One act of power. Append-only, each bound to the one before it."""

    __tablename__ = "audit_entries"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[float]
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"), index=True)
    key_id: Mapped[str]
    action: Mapped[str] = mapped_column(index=True)
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(unique=True)
    """The seal of the entry before: two of them cannot follow the same one."""
    seal: Mapped[str]
