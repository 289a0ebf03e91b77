"""The two parents of every contract model: one strict for what we write, one lenient for OpenAI's wire."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Our own shapes: an unknown field is a mistake, and is named."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, protected_namespaces=())


class Wire(BaseModel):
    """OpenAI's shapes: fields we do not know pass through untouched, as the SDK expects."""

    model_config = ConfigDict(extra="allow", from_attributes=True, protected_namespaces=())


def example(**body: Any) -> ConfigDict:
    """For a body of the API: one that is taken as it is, shown in its description. Ids stand for the reader's own."""
    return ConfigDict(json_schema_extra={"examples": [body]})
