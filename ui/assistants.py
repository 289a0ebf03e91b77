"""Assistants as administrators make and change them: a name, a welcome, instructions, starters."""

from typing import Any

from pydantic import ValidationError

from service.contract.assistants import AssistantChange, AssistantCreate
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.pages import render
from ui.words import Words


async def listing(gateway: Gateway, token: str, w: Words, *, saved: str = "") -> str:
    """Every assistant with a form to change it, as HTML. `saved` names the one saved just now."""
    files = await gateway.files(token, "evals")
    return render("assistants", w, assistants=await gateway.assistants(token), files=files, saved=saved)


async def do(gateway: Gateway, token: str, act: Act) -> str:
    """Do what was pressed; the name of the assistant that was saved. Raises `Refused`."""
    try:
        if act.act == "create":
            wanted = AssistantCreate(name=act.text("name"), **_fields(act))
            return (await gateway.create_assistant(token, wanted)).name
        if act.act == "change":
            return (await gateway.change_assistant(token, act.id, AssistantChange(**_fields(act)))).name
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Refused(400, f"assistant_{first['loc'][0]}", f"{first['loc'][0]}: {first['msg']}.") from None
    return ""


def _fields(act: Act) -> dict[str, Any]:
    starters = [line.strip() for line in act.text("starters").splitlines() if line.strip()]
    return {
        "title": act.text("title"), "description": act.text("description"),
        "instructions": act.text("instructions"), "starters": starters,
        "temperature": act.text("temperature") or 0.2, "max_tokens": act.text("max_tokens") or 512,
        "cases_file": act.text("cases_file") or None,
    }  # fmt: skip
