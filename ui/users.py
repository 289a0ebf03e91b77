"""People and their one-time sign-in links. A link is shown once, where it was asked for."""

from dataclasses import dataclass

from ui.acts import Act
from ui.client import Gateway, Refused
from ui.pages import render
from ui.words import Words


@dataclass(frozen=True)
class Link:
    """A link that was made just now."""

    user_id: str
    address: str
    invited: bool
    """It came with a new person, so it stands with the invitation and not at the end of a long list."""


async def listing(gateway: Gateway, token: str, w: Words, *, me: str, link: Link | None = None) -> str:
    """Everybody, as HTML."""
    return render("users", w, users=await gateway.users(token), me=me, link=link)


async def do(gateway: Gateway, token: str, act: Act) -> Link | None:
    """Do what was pressed; the link made, if one was. Raises `Refused`."""
    if act.act == "create":
        name = " ".join(act.text("name").split())
        if not name:
            raise Refused(400, "name_needed", "Give a name.")
        user = await gateway.create_user(token, name, act.text("role"))
        return Link(user.id, await gateway.create_link(token, user.id), invited=True)
    if act.act == "link":
        return Link(act.id, await gateway.create_link(token, act.id), invited=False)
    if act.act == "role":
        await gateway.change_user(token, act.id, role=act.text("role"))
    elif act.act == "active":
        await gateway.change_user(token, act.id, active=act.value == "1")
    return None
