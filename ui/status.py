"""The state of the service in words: what is served, what is under way, and what is wrong."""

from ui.client import Gateway
from ui.pages import render
from ui.words import Words


async def shown(gateway: Gateway, token: str, w: Words) -> str:
    """As HTML. Raises `Refused`."""
    return render("status", w, told=await gateway.status(token))
