"""People, their roles, and the keys they sign with."""

from typing import Literal

from pydantic import Field

from service.contract.base import Strict, example
from service.contract.limits import Limits

Role = Literal["user", "reviewer", "administrator"]
RANK: dict[str, int] = {"user": 0, "reviewer": 1, "administrator": 2}
"""A role may do all that the roles below it may do."""

KeyKind = Literal["api", "session", "link"]


class User(Strict):
    id: str
    name: str
    role: Role
    created_at: int
    active: bool = True
    compares: bool = True
    """Told at `/api/me`: whether they may ask two models at once."""


class UserCreate(Strict):
    model_config = example(name="Anna", role="reviewer")

    name: str = Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")
    role: Role = "user"


class UserChange(Strict):
    model_config = example(role="user")

    role: Role | None = None
    active: bool | None = None


class Key(Strict):
    """A key as it is listed: never the key itself, which is shown once."""

    id: str
    kind: KeyKind
    name: str
    hint: str
    """First characters of the key, to recognise it by."""
    user_id: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    """Exact to ten minutes. None: never."""
    role: Role | None = None
    """What it may do at most; none: all that its holder may."""
    limits: Limits = Limits()
    """Its own; what is not set here is as the house has it."""
    tokens_today: int | None = None
    """What its budget spent since midnight (UTC), prompts and answers; answers under way as reserved.

    None where nothing was limited, and so nothing counted."""


class KeyCreate(Strict):
    model_config = example(name="ticket desk", expires_in_days=90)

    name: str = Field(min_length=1, max_length=80)
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)
    role: Role | None = None
    """The role of what uses it, at most one's own: an application needs no more than `user`."""
    limits: Limits | None = None
    """Administrators only. Without it the key of anybody else spends from the budget it was made with."""


class KeyChange(Strict):
    model_config = example(limits={"tokens_per_day": 100_000})

    limits: Limits
    """Only the limits that are named are changed; null puts one back to the house's default."""


class NewKey(Strict):
    """The one time a key is seen in clear."""

    key: Key
    secret: str


class SignIn(Strict):
    """Exactly one of the two: a one-time link's token, or an API key."""

    model_config = example(link="1f0c")

    link: str | None = Field(default=None, max_length=200)
    key: str | None = Field(default=None, max_length=200)


class Session(Strict):
    token: str
    user: User
    expires_at: int
