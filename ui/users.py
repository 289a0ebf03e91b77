"""People and their one-time sign-in links. A link is shown once, in the answer to the press that made it."""

from ui.acts import Act
from ui.client import Gateway, Refused
from ui.pages import render
from ui.words import Words


async def listing(
    gateway: Gateway, token: str, w: Words, *, me: str, link: tuple[str, str] | None = None
) -> str:
    """Everybody, as HTML. `link` is `(user id, address)` of a link made just now."""
    return render("users", w, users=await gateway.users(token), me=me, link=link)


async def do(gateway: Gateway, token: str, act: Act) -> tuple[str, str] | None:
    """Do what was pressed; the link made, if one was. Raises `Refused`."""
    if act.act == "create":
        name = " ".join(act.text("name").split())
        if not name:
            raise Refused(400, "name_needed", "Give a name.")
        user = await gateway.create_user(token, name, act.text("role"))
        return user.id, await gateway.create_link(token, user.id)
    if act.act == "link":
        return act.id, await gateway.create_link(token, act.id)
    if act.act == "role":
        await gateway.change_user(token, act.id, role=act.text("role"))
    elif act.act == "active":
        await gateway.change_user(token, act.id, active=act.value == "1")
    return None
