"""What administrators decide for the whole house: how long things are kept, with what would go, and who may compare."""

from service.contract.house_rules import Going, HouseRules
from ui.acts import Act
from ui.client import Gateway
from ui.pages import render
from ui.words import Words

DAYS = (30, 90, 180, 365, 730)
"""Lengths of time that are offered, beside the one that holds."""
LONGEST = 36_500


async def listing(gateway: Gateway, token: str, w: Words, act: Act | None = None) -> str:
    """Do what was pressed, if anything was, and show the rules as HTML. Raises `Refused`."""
    act, going, saved = act or Act(), None, act is not None and act.act != "look"
    days = int(act.text("days")) if act.text("days").isdecimal() else None
    days = days if days is not None and 1 <= days <= LONGEST else None
    if act.act == "keep":
        await gateway.change_house_rules(token, retention_days=days)
    elif act.act == "compare":
        await gateway.change_house_rules(token, users_compare=act.value == "1")
    elif act.act == "look" and days is not None:
        going = await gateway.going(token, days)
    return drawn(
        w, await gateway.house_rules(token), going, looked=act.act == "look", saved=act.act if saved else "",
        once=act.once,
    )  # fmt: skip


def drawn(
    w: Words,
    rules: HouseRules,
    going: Going | None = None,
    *,
    looked: bool = False,
    saved: str = "",
    once: str = "",
) -> str:
    """The rules as HTML. `going` is what would be erased with another length of time, where that was looked at."""
    choices = sorted(
        {*DAYS, *(days for days in (rules.retention_days, going.days if going else None) if days)}
    )
    chosen = (going.days if going else None) if looked else rules.retention_days
    return render(
        "house_rules", w, rules=rules, going=going, looked=looked, saved=saved, once=once, choices=choices,
        chosen=chosen,
    )  # fmt: skip
