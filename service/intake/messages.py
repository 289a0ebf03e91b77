"""Fields of a record as messages: text, lists of messages in OpenAI's or ShareGPT's words, and labels.

Owns what is refused of a single field, by the name it has in the file.
"""

from typing import Any

import orjson

from service.intake.problems import BadRecord, ErrorCell

Fields = dict[str, Any]
ROLES = {
    "system": "system", "developer": "developer", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "bing": "assistant", "bard": "assistant",
}  # fmt: skip
TOOLS = {"tool", "function", "function_call", "observation", "function_response"}
GOOD = {"true", "1", "1.0", "+1", "yes", "y", "oui", "up", "good", "bon", "vrai", "desirable", "👍"}
BAD = {"false", "0", "0.0", "-1", "no", "n", "non", "down", "bad", "mauvais", "faux", "undesirable", "👎"}


def text(value: Fields, name: str) -> str:
    """A field that must hold text. Raises `BadRecord`."""
    found = value.get(name)
    if found is None and name not in value:
        raise BadRecord("missing_field", f"The field '{name}' is missing.", field=name)
    if isinstance(found, int | float) and not isinstance(found, bool):
        found = str(found)
    if blank(found):
        raise BadRecord("empty_field", f"The field '{name}' is empty.", field=name)
    if isinstance(found, ErrorCell):
        raise BadRecord(
            "error_cell", f"The cell under '{name}' holds an error of Excel's, {found}.", field=name
        )
    if not isinstance(found, str):
        raise BadRecord("wrong_type", f"The field '{name}' is not text.", field=name)
    return found


def optional(value: Fields, name: str) -> str:
    """A field that holds text or nothing. Raises `BadRecord`."""
    return "" if blank(value.get(name)) else text(value, name).strip()


def blank(found: Any) -> bool:
    """Whether it is nothing, or only spaces."""
    return found is None or (isinstance(found, str) and not found.strip())


def said(value: Fields, name: str, role: str) -> list[dict[str, Any]]:
    """A field as messages: text of `role`, or messages as they are."""
    found = parsed(value.get(name))
    if isinstance(found, dict):
        found = [found]
    if isinstance(found, list):
        return _messages(found, name)
    return [{"role": role, "content": text(value, name).strip()}]


def listed(value: Fields, name: str) -> list[dict[str, Any]]:
    """A field that must be a list of messages, or the JSON text of one."""
    found = whole(value.get(name))
    if name not in value:
        raise BadRecord("missing_field", f"The field '{name}' is missing.", field=name)
    if not isinstance(found, list):
        raise BadRecord("wrong_type", f"The field '{name}' is not a list of messages.", field=name)
    return _messages(found, name)


def instructions(value: Fields, name: str | None) -> list[dict[str, Any]]:
    """The message of role `system` that a field holds, if any."""
    found = optional(value, name) if name else ""
    return [{"role": "system", "content": found}] if found else []


def parsed(found: Any) -> Any:
    """A cell that holds the JSON of a list of messages, parsed; everything else as it is, other JSON too: an answer
    may be JSON itself."""
    value = whole(found) if isinstance(found, str) else found
    spoken = isinstance(value, list) and all(isinstance(one, dict) and _speaks(one) for one in value)
    return value if spoken and value else found


def whole(found: Any) -> Any:
    """A cell that must hold JSON, parsed."""
    if isinstance(found, str) and found.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(found)
        except orjson.JSONDecodeError:
            return found
    return found


def label(value: Fields, name: str) -> bool:
    """Whether a row is desirable."""
    if name not in value:
        raise BadRecord("missing_field", f"The field '{name}' is missing.", field=name)
    found = _plain(value[name])
    if found in GOOD or found in BAD:
        return found in GOOD
    raise BadRecord("bad_label", f"'{found[:40]}' in '{name}' says neither good nor bad.", field=name)


def is_label(found: Any) -> bool:
    return _plain(found) in GOOD or _plain(found) in BAD


def as_json(found: Any) -> str:
    try:
        return orjson.dumps(found).decode()
    except TypeError:
        return str(found)


def _plain(found: Any) -> str:
    return str(found).strip().casefold()


def _speaks(one: dict[str, Any]) -> bool:
    return {"role", "content"} <= one.keys() or {"from", "value"} <= one.keys()


def _messages(found: list[Any], name: str) -> list[dict[str, Any]]:
    if not found:
        raise BadRecord("empty_field", f"The field '{name}' holds no message.", field=name)
    return [_message(one, f"{name}[{number}]") for number, one in enumerate(found)]


def _message(one: Any, where: str) -> dict[str, Any]:
    if not isinstance(one, dict):
        raise BadRecord("wrong_type", f"'{where}' is not a message.", field=where)
    role_at, text_at = ("from", "value") if "from" in one else ("role", "content")
    role = one.get(role_at)
    if not isinstance(role, str):
        raise BadRecord("bad_role", f"'{where}' has no role.", field=f"{where}.{role_at}")
    if role in TOOLS or one.get("tool_calls"):
        raise BadRecord("tool_message", f"'{where}' belongs to a call of a tool.", field=where)
    if role not in ROLES:
        raise BadRecord("bad_role", f"'{role[:40]}' is no role that is known.", field=f"{where}.{role_at}")
    content = one.get(text_at)
    kept = {"weight": one["weight"]} if one.get("weight") in (0, 1) else {}
    if isinstance(content, str) and content.strip():
        return {"role": ROLES[role], "content": content, **kept}
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        # OpenAI's parts; the contract says which are served.
        return {"role": ROLES[role], "content": content, **kept}
    if content is None or isinstance(content, str):
        raise BadRecord("empty_field", f"'{where}.{text_at}' is empty.", field=f"{where}.{text_at}")
    raise BadRecord("wrong_type", f"'{where}.{text_at}' is not text.", field=f"{where}.{text_at}")
