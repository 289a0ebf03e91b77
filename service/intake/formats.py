"""Which format of training data a record is in, and what each format's record becomes: a row of ours.

A format is told by its fields. A table whose fields nobody has agreed on is read by a mapping from our words to its
columns, which is suggested by the columns' names. Knows no file.
"""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from service.contract.datasets import ROW, Kind
from service.contract.imports import BESIDE, Column, Format
from service.intake import messages, rows
from service.intake.messages import Fields
from service.intake.problems import BadRecord, of_contract

NAMES: dict[Column, tuple[str, ...]] = {
    "chosen": ("chosen", "preferred", "better", "accepted", "prefere", "préférée", "préféré", "choisie"),
    "rejected": ("rejected", "non_preferred", "worse", "refused", "rejetée", "rejeté", "rejetee"),
    "label": ("label", "kto_tag", "rating", "thumb", "thumbs", "desirable", "note", "avis"),
    "prompt": ("prompt", "question", "instruction", "query", "input", "request", "user", "demande", "consigne", "text",
               "texte", "message"),
    "completion": ("completion", "answer", "response", "output", "reply", "assistant", "correction", "réponse",
                   "reponse", "target", "category", "intent", "class", "catégorie", "categorie", "label"),
    "system": ("system", "system_prompt", "instructions", "context"),
    "source": ("source", "url", "origin", "origine", "provenance", "reference"),
    "conversation": ("conversation_id", "conversation", "thread_id", "thread", "session_id", "session", "dialogue_id",
                     "dialog_id", "ticket_id", "ticket"),
    "document": ("document_id", "document", "doc_id", "doc", "file_name", "filename", "file", "fichier", "page",
                 "article"),
    "person": ("person_id", "person", "user_id", "customer_id", "author", "personne", "auteur", "client"),
}  # fmt: skip
"""Names of columns as people give them, in English and French, the likeliest first."""
WANTED: dict[Kind, tuple[Column, ...]] = {
    "dpo": ("prompt", "chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
    "sft": ("prompt", "completion"),
}


def recognise(columns: Iterable[str]) -> Format | None:
    """The format that has these fields; none where only a mapping can tell."""
    found = set(columns)
    if "messages" in found:
        return "openai-chat"
    if {"input", "preferred_output"} <= found:
        return "openai-preference"
    if "conversations" in found:
        return "sharegpt"
    if "instruction" in found and found & {"output", "chosen"}:
        return "alpaca"
    if {"chosen", "rejected"} <= found:
        return "preference"
    if {"prompt", "completion"} <= found:
        return "kto" if "label" in found else "prompt-completion"
    return None


def suggest(columns: list[str], values: Iterable[Fields] = ()) -> dict[Column, str]:
    """Which column seems to hold what, by its name. Each is used once; one of labels must hold labels in `values`."""
    free = {column.strip().casefold().replace(" ", "_"): column for column in reversed(columns)}
    found: dict[Column, str] = {}

    def take(name: Column) -> None:
        for likely in NAMES[name]:
            if likely in free:
                found[name] = free.pop(likely)
                return

    for name in ("chosen", "rejected", "prompt", "completion", "label", "system", *BESIDE):
        if name == "completion" and "chosen" in found and "rejected" in found:
            continue
        if name == "label" and "completion" not in found:
            continue
        take(name)
    if "label" in found and not all(messages.is_label(value.get(found["label"])) for value in values):
        del found["label"]
    return found


def kind_of_mapping(mapping: Iterable[Column]) -> Kind | None:
    """What rows a mapping makes; none while it lacks a column."""
    given = set(mapping)
    return next((kind for kind, wanted in WANTED.items() if given.issuperset(wanted)), None)


def convert(
    value: Fields, form: Format, mapping: dict[Column, str], instructions: str | None
) -> tuple[Kind, dict[str, Any]]:
    """A record as a row of OpenAI's wire, checked as an upload is. Raises `BadRecord`."""
    kind, row = _columns(value, mapping) if form == "columns" else READERS[form](value)
    try:
        ROW[kind].model_validate(row)
    except ValidationError as error:
        raise of_contract(error) from None
    if instructions:
        _instruct(row, kind, instructions)
    return kind, row


def _columns(value: Fields, mapping: dict[Column, str]) -> tuple[Kind, dict[str, Any]]:
    kind = kind_of_mapping(mapping)
    if kind is None:
        raise BadRecord("missing_field", "It is not said which columns hold the prompt and the answer.")
    before = messages.instructions(value, mapping.get("system"))
    prompt = [*before, *messages.said(value, mapping["prompt"], "user")]
    if kind == "dpo":
        return kind, _pair(value, prompt, mapping["chosen"], mapping["rejected"])
    answer = messages.said(value, mapping["completion"], "assistant")
    if kind == "kto":
        return kind, _rated(value, prompt, answer, mapping["label"])
    return kind, {"messages": [*prompt, *answer]}


def _openai_chat(value: Fields) -> tuple[Kind, dict[str, Any]]:
    row = {
        key: item
        for key, item in value.items()
        if key in ("tools", "parallel_tool_calls", "tailorbird") and item
    }
    return "sft", {"messages": messages.listed(value, "messages"), **row}


def _openai_preference(value: Fields) -> tuple[Kind, dict[str, Any]]:
    names = ("input", "preferred_output", "non_preferred_output", "tailorbird")
    return "dpo", {name: messages.whole(value[name]) for name in names if value.get(name)}


def _prompt_completion(value: Fields) -> tuple[Kind, dict[str, Any]]:
    prompt = [*messages.instructions(value, "system"), *messages.said(value, "prompt", "user")]
    return "sft", {"messages": [*prompt, *messages.said(value, "completion", "assistant")]}


def _kto(value: Fields) -> tuple[Kind, dict[str, Any]]:
    prompt = [*messages.instructions(value, "system"), *messages.said(value, "prompt", "user")]
    row = _rated(value, prompt, messages.said(value, "completion", "assistant"), "label")
    return "kto", row | ({"tailorbird": value["tailorbird"]} if value.get("tailorbird") else {})


def _preference(value: Fields) -> tuple[Kind, dict[str, Any]]:
    """With a `prompt`, or without: then both answers are whole conversations that begin alike."""
    if value.get("prompt"):
        prompt = [*messages.instructions(value, "system"), *messages.said(value, "prompt", "user")]
        return "dpo", _pair(value, prompt, "chosen", "rejected")
    sides = [messages.listed(value, name) for name in ("chosen", "rejected")]
    prompts = [[(one["role"], one["content"]) for one in side[:-1]] for side in sides]
    if not prompts[0] or prompts[0] != prompts[1]:
        raise BadRecord(
            "missing_field", "There is no 'prompt', and the two answers do not begin alike.", field="prompt"
        )
    return "dpo", {
        "input": {"messages": sides[0][:-1]},
        "preferred_output": sides[0][-1:],
        "non_preferred_output": sides[1][-1:],
    }


def _sharegpt(value: Fields) -> tuple[Kind, dict[str, Any]]:
    talk = [*messages.instructions(value, "system"), *messages.listed(value, "conversations")]
    if value.get("chosen") and value.get("rejected"):
        return "dpo", _pair(value, talk, "chosen", "rejected")
    if value.get("kto_tag") not in (None, ""):
        return "kto", _rated(value, talk[:-1], talk[-1:], "kto_tag")
    if talk[-1]["role"] != "assistant":
        where = f"conversations[{len(messages.whole(value['conversations'])) - 1}]"
        raise BadRecord("last_message", "The conversation ends with the person's message.", field=where)
    return "sft", {"messages": talk}


def _alpaca(value: Fields) -> tuple[Kind, dict[str, Any]]:
    talk = messages.instructions(value, "system")
    history = messages.whole(value.get("history")) or []
    if not isinstance(history, list):
        raise BadRecord("wrong_type", "'history' is not a list of turns.", field="history")
    for number, turn in enumerate(history):
        if not isinstance(turn, list | tuple) or len(turn) != 2:
            raise BadRecord(
                "wrong_type", "A turn of 'history' is a question and an answer.", field=f"history[{number}]"
            )
        if any(messages.blank(part) for part in turn):
            raise BadRecord("empty_field", "A turn of 'history' lacks a text.", field=f"history[{number}]")
        talk += [{"role": "user", "content": str(turn[0])}, {"role": "assistant", "content": str(turn[1])}]
    asked = messages.text(value, "instruction")
    more = messages.optional(value, "input")
    talk.append({"role": "user", "content": f"{asked}\n\n{more}" if more else asked})
    if value.get("chosen") and value.get("rejected"):
        return "dpo", _pair(value, talk, "chosen", "rejected")
    answer = messages.said(value, "output", "assistant")
    if value.get("kto_tag") not in (None, ""):
        return "kto", _rated(value, talk, answer, "kto_tag")
    return "sft", {"messages": [*talk, *answer]}


READERS: dict[str, Callable[[Fields], tuple[Kind, dict[str, Any]]]] = {
    "openai-chat": _openai_chat,
    "openai-preference": _openai_preference,
    "prompt-completion": _prompt_completion,
    "preference": _preference,
    "kto": _kto,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
}


def _pair(value: Fields, prompt: list[dict[str, Any]], chosen: str, rejected: str) -> dict[str, Any]:
    sides = [messages.said(value, name, "assistant") for name in (chosen, rejected)]
    for side, name in zip(sides, (chosen, rejected), strict=True):
        if side[:-1] and side[:-1] == prompt:  # some sets repeat the prompt in each answer
            del side[:-1]
        if len(side) != 1:
            raise BadRecord(
                "wrong_type", f"'{name}' holds {len(side)} messages; it is one answer.", field=name
            )
    if rows.text(sides[0][0]).strip() == rows.text(sides[1][0]).strip():
        raise BadRecord("same_answers", f"'{chosen}' and '{rejected}' are the same.", field=rejected)
    return {"input": {"messages": prompt}, "preferred_output": sides[0], "non_preferred_output": sides[1]}


def _rated(
    value: Fields, prompt: list[dict[str, Any]], answer: list[dict[str, Any]], label: str
) -> dict[str, Any]:
    return {"prompt": prompt, "completion": answer, "label": messages.label(value, label)}


def _instruct(row: dict[str, Any], kind: Kind, instructions: str) -> None:
    talk = row["messages"] if kind == "sft" else row["input"]["messages"] if kind == "dpo" else row["prompt"]
    if talk and talk[0].get("role") not in ("system", "developer"):
        talk.insert(0, {"role": "system", "content": instructions})
