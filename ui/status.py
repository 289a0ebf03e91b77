"""The state of the service in words: is the engine ready, what is under way, what could not be loaded."""

from ui.client import Gateway
from ui.pages import render
from ui.words import Words


async def shown(gateway: Gateway, token: str, w: Words) -> str:
    told = await gateway.status(token)
    return render("status", w, told=told, problems=told.get("problems") or {})
