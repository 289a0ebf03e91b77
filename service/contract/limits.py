"""What a key may spend: requests and tokens in a minute, tokens in a day.

Owns the three limits and how a key's own stand to the house's. Knows nothing of how they are counted.
"""

from pydantic import ConfigDict, Field

from service.contract.base import Strict

MOST = 10**12
"""Beyond any traffic, and well inside what a database column holds."""


class Limits(Strict):
    """Of one key. None leaves it to the house's default; 0 lifts the limit, the house's too."""

    model_config = ConfigDict(frozen=True)

    requests_per_minute: int | None = Field(default=None, ge=0, le=MOST)
    tokens_per_minute: int | None = Field(default=None, ge=0, le=MOST)
    tokens_per_day: int | None = Field(default=None, ge=0, le=MOST)
    """Prompt and answer together; the day is UTC's."""

    def over(self, house: "Limits") -> "Limits":
        """What holds: a limit of one's own before the house's; none where nothing limits."""
        own = self.model_dump()
        chosen = {
            name: default if own[name] is None else own[name] for name, default in house.model_dump().items()
        }
        return Limits(**{name: value or None for name, value in chosen.items()})

    @property
    def none(self) -> bool:
        """Whether nothing is limited."""
        return not (self.requests_per_minute or self.tokens_per_minute or self.tokens_per_day)


UNLIMITED = Limits(requests_per_minute=0, tokens_per_minute=0, tokens_per_day=0)
