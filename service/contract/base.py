"""The two parents of every contract model: one strict for what we write, one lenient for OpenAI's wire."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Our own shapes: an unknown field is a mistake, and is named."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, protected_namespaces=())


class Wire(BaseModel):
    """OpenAI's shapes: fields we do not know pass through untouched, as the SDK expects."""

    model_config = ConfigDict(extra="allow", from_attributes=True, protected_namespaces=())
