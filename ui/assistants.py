"""Assistants as administrators make and change them: a name, a welcome, instructions, starters.

Owns what is sent of a form: of one that was there before only what somebody changed, so that a colleague's change
meanwhile stays.
"""

import json
from typing import Any

from pydantic import ValidationError

from service.contract.assistants import Assistant, AssistantChange, AssistantCreate
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.pages import render
from ui.words import Words


async def listing(gateway: Gateway, token: str, w: Words, *, saved: str = "") -> str:
    """Every assistant with a form to change it, as HTML. `saved` names the one saved just now."""
    files = await gateway.files(token, "evals")
    everyone = await gateway.assistants(token)
    drawn = {one.name: json.dumps(_form(one)) for one in everyone}
    return render("assistants", w, assistants=everyone, drawn=drawn, files=files, saved=saved)


async def do(gateway: Gateway, token: str, act: Act) -> str:
    """Do what was pressed; the name of the assistant that was saved. Raises `Refused`."""
    try:
        if act.act == "create":
            given = {name: value for name, value in _fields(act).items() if value}
            wanted = AssistantCreate(name=act.text("name"), **given)
            return (await gateway.create_assistant(token, wanted)).name
        if act.act == "change":
            if changed := _changed(act):
                await gateway.change_assistant(token, act.id, AssistantChange(**changed))
            return act.id
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Refused(400, f"assistant_{first['loc'][0]}", f"{first['loc'][0]}: {first['msg']}.") from None
    return ""


def _form(one: Assistant) -> dict[str, str]:
    """What the fields hold when they are drawn, as the form brings it back."""
    return {
        "title": one.title, "description": one.description, "instructions": one.instructions,
        "starters": "\n".join(one.starters), "temperature": str(one.temperature), "max_tokens": str(one.max_tokens),
        "cases_file": one.cases_file or "",
    }  # fmt: skip


def _changed(act: Act) -> dict[str, Any]:
    """The fields that hold something else than when they were drawn; all of them where that cannot be told."""
    given = _fields(act)
    try:
        was = {name: [str(text)] for name, text in json.loads(act.text("was")).items()}
    except (ValueError, AttributeError):
        return given
    drawn = _fields(Act(fields=was))
    return {name: value for name, value in given.items() if name not in was or value != drawn[name]}


def _fields(act: Act) -> dict[str, Any]:
    starters = [line.strip() for line in act.text("starters").splitlines() if line.strip()]
    return {
        "title": act.text("title"), "description": act.text("description"),
        "instructions": act.text("instructions").replace("\r\n", "\n"), "starters": starters,
        "temperature": act.text("temperature"), "max_tokens": act.text("max_tokens"),
        "cases_file": act.text("cases_file") or None,
    }  # fmt: skip
