"""Adapters that were trained elsewhere: how one is brought, what comes of it, and how the trainer is asked about it."""

from typing import Any, Literal

from pydantic import Field

from service.contract.base import Strict, example
from service.contract.jobs import Job, Suffix

UNKNOWN = "Brought from outside: what it was trained on is not known here."
"""What the manifest of such an adapter says, where it brought none of its own."""


class AdapterCreate(Strict):
    """`POST /api/adapters`."""

    model_config = example(file="file-1f0c", assistant="fanal")

    file: str
    """A ZIP that was uploaded with the purpose `adapter`."""
    assistant: str | None = None
    """It becomes a candidate release of this one."""
    suffix: Suffix | None = None
    prompts: list[str] = Field(default_factory=list, max_length=12)
    """Questions that it should answer otherwise than the base model does. Without: starters, and some of ours."""
    same_base_model: bool = False
    """Its `base_model_name_or_path` is another name of the model that is served here."""


class AdapterBrought(Strict):
    """An adapter that came in. It is served once it is seen to be: then it has a `model`."""

    adapter: str
    """Its digest."""
    already_here: bool
    model: str | None
    release: str | None
    job: Job | None
    """What proves it, to be followed like any job; none where it is served already."""
    left_out: list[str]
    """Files of the ZIP that are no part of an adapter."""


class AdapterSpec(Strict):
    """`job.json` of the look at an adapter that was trained elsewhere."""

    kind: Literal["import"] = "import"
    id: str
    base_model: str
    """Folder of the base checkpoint."""
    adapter: str
    """Folder of the adapter."""
    prompts: list[list[dict[str, Any]]]
    """Conversations to be answered."""
    max_length: int
    """Tokens of prompt and answer together."""
    threads: int | None = 1
    """Steps of one token are too short to share: two threads took eight times one's processor time."""
