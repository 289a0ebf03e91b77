"""Access keys for applications: whose, what they may do and spend. A key is shown once, when it is made."""

from service.contract.limits import Limits
from service.contract.users import RANK, KeyChange, KeyCreate, NewKey
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.pages import render
from ui.words import Words

LIMITS = tuple(Limits.model_fields)


async def listing(gateway: Gateway, token: str, w: Words, *, made: NewKey | None = None) -> str:
    """Every key as HTML, with whose it is; `made` just now is shown in clear. Raises `Refused`."""
    names = {user.id: user.name for user in await gateway.users(token)}
    held = await gateway.keys(token)
    return render("keys", w, keys=held, names=names, made=made, roles=list(RANK), limits=LIMITS)


async def do(gateway: Gateway, token: str, act: Act) -> NewKey | None:
    """Do what was pressed; the key made, if one was. Raises `Refused`."""
    if act.act == "create":
        if not act.text("name"):
            raise Refused(400, "name_needed", "Give a name.")
        role = next((role for role in RANK if role == act.text("role")), "user")
        limits = _limits(act)
        wanted = {
            "name": act.text("name")[:80],
            "role": role,
            "limits": None if limits == Limits() else limits,
        }
        return await gateway.create_key(token, KeyCreate.model_validate(wanted))
    if act.act == "limits":
        await gateway.change_key(token, act.id, KeyChange(limits=_limits(act)))
    elif act.act == "revoke":
        await gateway.revoke_key(token, act.id)
    return None


def _limits(act: Act) -> Limits:
    """What was typed; an empty field leaves it to the house. Raises `Refused` for what is no whole number."""
    typed = {name: act.text(name).replace(" ", "").replace("\u202f", "") for name in LIMITS}
    try:
        return Limits.model_validate({name: int(text) for name, text in typed.items() if text})
    except ValueError:
        raise Refused(400, "limit_not_a_number", "Write limits as whole numbers, 0 or more.") from None
