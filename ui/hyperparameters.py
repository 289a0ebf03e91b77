"""The settings of a training as fields of a form, bounded as the contract bounds them, empty where the service chooses.

Reads kinds and bounds out of the contract's own schema, so that a setting has its field as soon as it is one. Owns how
what was typed becomes a value. Asks nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.contract.jobs import DpoHyperparameters, Hyperparameters, KtoHyperparameters

OF_METHOD: dict[str, type[Hyperparameters]] = {
    "sft": Hyperparameters,
    "dpo": DpoHyperparameters,
    "kto": KtoHyperparameters,
}
NOT_OF = {"sft": ("beta",)}
"""Settings that stand in the contract of a method and mean nothing to it."""
YES, NO = "true", "false"


@dataclass(frozen=True)
class Field:
    """One setting; without `options` it is a number."""

    name: str
    whole: bool = False
    least: float | None = None
    most: float | None = None
    step: float | None = None
    """Of a whole number that has to be a multiple of it."""
    options: tuple[str, ...] = ()


def fields(kind: str) -> list[Field]:
    """The fields of a method's settings, in the contract's order; none of an unknown method."""
    if kind not in OF_METHOD:
        return []
    known = OF_METHOD[kind].model_json_schema()["properties"].items()
    return [_field(name, schema["anyOf"][-1]) for name, schema in known if name not in NOT_OF.get(kind, ())]


def given(kind: str, typed: Mapping[str, str]) -> dict[str, Any]:
    """What was typed of a method's settings, as the API takes it. What is no number is sent as it is, to be refused."""
    return {field.name: _value(field, typed[field.name]) for field in fields(kind) if typed.get(field.name)}


def _field(name: str, schema: dict[str, Any]) -> Field:
    if schema["type"] == "boolean":
        return Field(name, options=(YES, NO))
    if "enum" in schema:
        return Field(name, options=tuple(schema["enum"]))
    return Field(
        name, whole=schema["type"] == "integer", least=schema.get("minimum", schema.get("exclusiveMinimum")),
        most=schema.get("maximum", schema.get("exclusiveMaximum")), step=schema.get("multipleOf"),
    )  # fmt: skip


def _value(field: Field, text: str) -> Any:
    if field.options:
        return {YES: True, NO: False}.get(text, text)
    try:
        return int(text) if field.whole else float(text)
    except ValueError:
        return text
