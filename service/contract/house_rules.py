"""What administrators decide for the whole house: how long what people said is kept, and who may compare answers."""

from pydantic import Field

from service.contract.base import Strict, example


class HouseRules(Strict):
    """As they hold now: what an administrator decided, else as the settings say."""

    retention_days: int | None
    """After so many days that to which no feedback leads back is erased; none: never."""
    users_compare: bool
    """Whether people with the role `user` may ask two models at once and choose."""


class HouseRulesChange(Strict):
    """What is left out stays as it is."""

    model_config = example(retention_days=90)

    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    users_compare: bool = True


class Going(Strict):
    """What would be erased now if it were kept for so many days."""

    days: int
    answers: int
    conversations: int
    """Of which nothing would be left."""
    duels: int
    """In which nobody chose."""
    previews: int
    """Rows that imports showed of their files."""
    documents: int
    """With their drafts."""
