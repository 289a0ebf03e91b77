"""Where a budget stands at one moment: what is left of it, when there is room again, and what a refusal says.

Pure arithmetic and words; knows no database and no HTTP.
"""

import math
from dataclasses import dataclass, replace

from service.contract.limits import Limits
from service.errors import LimitReached, QuotaSpent, TooMany

MINUTE, DAY = 60.0, 86_400


@dataclass(frozen=True)
class Standing:
    """`requests` and `tokens` are those of the last minute, `today` the day's tokens; `last` is when it was asked."""

    limits: Limits
    at: float
    requests: int
    tokens: int
    last: float
    today: int

    def exceeded_by(self, tokens: int) -> str | None:
        """The limit that one more request of so many tokens would exceed, the longest lasting first."""
        would_be = {
            "tokens_per_day": self.today + tokens,
            "requests_per_minute": self.requests + 1,
            "tokens_per_minute": self.tokens + tokens,
        }
        limits = self.limits.model_dump()
        return next((name for name, sum_ in would_be.items() if limits[name] and sum_ > limits[name]), None)

    def after(self, tokens: int) -> "Standing":
        """With one more request of so many tokens, asked now."""
        return replace(
            self,
            requests=self.requests + 1,
            tokens=self.tokens + tokens,
            today=self.today + tokens,
            last=self.at,
        )

    def headers(self) -> dict[str, str]:
        """OpenAI's `x-ratelimit-*`, for what is limited. Tokens: the minute's, or the day's where only it is."""
        limits, minute = self.limits, _duration(self.last + MINUTE - self.at)
        lines = {}
        if limits.requests_per_minute:
            lines["requests"] = (limits.requests_per_minute, self.requests, minute)
        if limits.tokens_per_minute:
            lines["tokens"] = (limits.tokens_per_minute, self.tokens, minute)
        elif limits.tokens_per_day:
            lines["tokens"] = (limits.tokens_per_day, self.today, _duration(midnight_in(self.at)))
        named: dict[str, str] = {}
        for what, (limit, used, reset) in lines.items():
            left = str(max(limit - used, 0))
            named |= {
                f"x-ratelimit-limit-{what}": str(limit),
                f"x-ratelimit-remaining-{what}": left,
                f"x-ratelimit-reset-{what}": reset,
            }
        return named


def midnight_in(at: float) -> float:
    """Seconds until UTC's next day."""
    return DAY - at % DAY


def room_in(rows: list[tuple[float, int]], over: int, at: float) -> float:
    """Seconds until `over` units leave the window. `rows` are `(asked at, units)`, the oldest first."""
    for asked_at, units in rows:
        over -= units
        if over <= 0:
            return max(asked_at + MINUTE - at, 0.001)
    return MINUTE


def refusal(limit: str, most: int, tokens: int, wait: float) -> TooMany:
    """What the caller is told: which limit, and when to come again."""
    if limit != "requests_per_minute" and tokens > most:
        return _too_large(limit, most, tokens)
    if limit == "tokens_per_day":
        error = QuotaSpent(
            f"The day's budget of {most} tokens is spent, or too little is left for this request, which may take "
            f"{tokens}. It is full again at midnight UTC; an administrator can raise it."
        )
    else:
        what = limit.partition("_")[0]
        asked = f" and this request may take {tokens}" if what == "tokens" else ""
        error = LimitReached(
            f"This key may spend {most} {what} in a minute{asked}. Try again in {_duration(wait)}."
        )
        error.kind = what
    error.limit, error.retry_after = limit, wait
    return error


def _too_large(limit: str, most: int, tokens: int) -> TooMany:
    """No waiting helps a request that is larger than the whole limit."""
    error = LimitReached(
        f"This request may take {tokens} tokens, more than the {most} that this key may spend in a "
        f"{limit.rpartition('_')[2]}. Send less text, or ask for a shorter answer with 'max_tokens'."
    )
    error.kind, error.limit, error.retry_after, error.final = "tokens", limit, None, True
    return error


def _duration(seconds: float) -> str:
    """As OpenAI writes it: `20ms`, `1s`, `6m0s`, `7h30m0s`; never shorter than it is."""
    if seconds < 1:
        return f"{math.ceil(max(seconds, 0) * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
