"""The state of the service as an operator asks for it: what is served, what is under way, what is wrong."""

from typing import Literal

from service.contract.base import Strict

EngineState = Literal["ready", "starting", "hung", "gone"]
WrongCode = Literal[
    "engine_starting", "engine_hung", "engine_gone", "answers_failed", "not_loaded", "not_loaded_live", "not_served",
    "not_served_live", "files_gone", "files_gone_live",
    "job_failed", "job_silent", "jobs_wait", "webhook_gone", "webhook_failing", "disk_low",
]  # fmt: skip


class EngineStatus(Strict):
    url: str
    state: EngineState
    """`starting`: it answers but has not loaded everything; `hung`: it lives and does not answer in time."""
    release: str
    adapters: list[str]
    """Digests."""
    answering: int
    waiting: int = 0
    """Requests that wait for their first step, in the gateway's line and in the engine's queue."""


class AssistantStatus(Strict):
    name: str
    release: int | None
    """Number of the live release; none: the base model answers."""
    adapter: str | None


class JobStatus(Strict):
    id: str
    kind: str
    status: str
    assistant: str | None
    at: int
    """When it was asked for, or ended."""
    message: str
    code: str | None = None
    """Of the error that a failed job ended with."""
    silent: bool = False
    """Claimed by a worker that has not been heard of since."""


class Wrong(Strict):
    """One thing that is wrong, by a code with its values: for who says it in another language."""

    code: WrongCode
    values: dict[str, str | int] = {}


class Status(Strict):
    ready: bool
    base_model: str
    chats_under_way: int
    problems: dict[str, str]
    """{adapter: why an engine refused it}."""
    causes: dict[str, str] = {}
    """{adapter: the code of the same}."""
    engines: list[EngineStatus]
    assistants: list[AssistantStatus]
    wanted: list[str]
    """Adapters that every engine should serve."""
    jobs: dict[str, int]
    jobs_under_way: list[JobStatus]
    jobs_failed: list[JobStatus]
    """Of the last day."""
    feedback: dict[str, int]
    webhooks_disabled: dict[str, str]
    """{webhook: `gone` or `failing`}, of those that the service itself disabled."""
    failed_in_a_row: int
    """Answers that failed since the last good one."""
    disk_free: int
    wrong: list[str] = []
    """All that is wrong, in whole sentences; nothing when all is well."""
    coded: list[Wrong] = []
    """The same by their codes."""
