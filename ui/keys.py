"""Access keys for applications. A key is shown once, in the answer to the press that made it."""

from service.contract.users import NewKey
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.pages import render
from ui.words import Words


async def listing(gateway: Gateway, token: str, w: Words, *, made: NewKey | None = None) -> str:
    """Every key as HTML, with whose it is; `made` just now is shown in clear."""
    names = {user.id: user.name for user in await gateway.users(token)}
    return render("keys", w, keys=await gateway.keys(token), names=names, made=made)


async def do(gateway: Gateway, token: str, act: Act) -> NewKey | None:
    """Do what was pressed; the key made, if one was. Raises `Refused`."""
    if act.act == "create":
        if not act.text("name"):
            raise Refused(400, "name_needed", "Give a name.")
        return await gateway.create_key(token, act.text("name")[:80])
    if act.act == "revoke":
        await gateway.revoke_key(token, act.id)
    return None
