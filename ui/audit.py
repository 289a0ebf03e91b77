"""The journal of what people with power did: read, searched, checked."""

from typing import Any, get_args

from service.contract.audit import Action, AuditCheck, AuditEntry
from ui.acts import Act
from ui.client import Gateway
from ui.pages import render
from ui.words import Words

LONGEST = 160
"""Characters of a value that are shown."""
ACTIONS: tuple[str, ...] = get_args(Action)


async def listing(gateway: Gateway, token: str, w: Words, act: Act | None = None) -> str:
    """The newest entries as HTML, or those that were asked for. Raises `Refused`."""
    act = act or Act()
    kind = act.text("action") if act.text("action") in ACTIONS else ""
    query = {"action": kind} if kind else {}
    if act.act == "older":
        query["before"] = act.id
    found, more = await gateway.audit(token, **query)
    checked: AuditCheck | None = await gateway.check_audit(token) if act.act == "check" else None
    entries = [(entry, _details(w, entry)) for entry in found]
    return render(
        "audit", w, entries=entries, more=more, kind=kind, actions=ACTIONS, checked=checked,
        newest=act.act != "older",
    )  # fmt: skip


def _details(w: Words, entry: AuditEntry) -> list[str]:
    """What is told of an act beside whom or what it was done to."""
    told = {
        name: value for name, value in entry.detail.items() if name != "name" and value not in (None, {}, [])
    }
    return [
        f"{w(f'detail_{name}') if w.has(f'detail_{name}') else name}{w('colon')} {_value(w, name, value)}"
        for name, value in told.items()
    ]


def _value(w: Words, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return w("yes" if value else "no")
    if name == "role":
        return w(f"role_{value}")
    if name == "limits":
        return ", ".join(
            f"{w(f'limit_{limit}')} {w('limit_default') if number is None else number}"
            for limit, number in value.items()
        )
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
