"""The product's own sample: Brumelle, an invented ferry company, as rows, cases and corrections.

Owns the reading of the four files beside it. Knows nothing of the API that they are uploaded
through, nor of any model. Everything is written by hand, in English and in French.
"""

import json
from importlib.resources import files
from typing import Any, Literal

from service.contract.datasets import Example
from service.contract.evaluations import Case

LANGUAGES: tuple[Literal["en"], Literal["fr"]] = ("en", "fr")


def company() -> dict[str, Any]:
    """The company: `name`, `description_en`, `description_fr`, and its `assistant` (the fields of
    `AssistantCreate` without `description`)."""
    return json.loads(_text("company.json"))


def facts() -> list[dict[str, Any]]:
    """One entry a fact: `id`, `topic`, and per language (`_en`, `_fr`) `facts`, `answer`,
    `questions` (trained) and `heldout` (only ever asked)."""
    return _lines("facts.jsonl")


def training_rows() -> list[dict[str, Any]]:
    """Rows of supervised training on OpenAI's wire: instructions, question, canonical answer."""
    instructions = company()["assistant"]["instructions"]
    return [
        Example.model_validate(
            {
                "messages": [
                    {"role": "system", "content": instructions},
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": fact[f"answer_{language}"]},
                ]
            }
        ).model_dump(exclude_none=True)
        for fact in facts()
        for language in LANGUAGES
        for question in fact[f"questions_{language}"]
    ]


def cases() -> list[dict[str, Any]]:
    """Held-out questions in the shape of `Case`; none of them is among the training rows."""
    return [
        Case(
            id=f"{fact['id']}-{language}-{number}",
            question=question,
            reference=fact[f"answer_{language}"],
            facts=fact[f"facts_{language}"],
            language=language,
            topic=fact["topic"],
        ).model_dump(exclude_none=True)
        for fact in facts()
        for language in LANGUAGES
        for number, question in enumerate(fact[f"heldout_{language}"], 1)
    ]


def corrections() -> list[dict[str, Any]]:
    """What reviewers would rather read: `fact`, `topic`, `language`, `question` and `correction`."""
    return _lines("corrections.jsonl")


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _text(name).splitlines() if line.strip()]


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
