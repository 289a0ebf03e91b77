"""Many requests in one file, answered within a day, on OpenAI's wire.

Owns which endpoints a batch can be for, the line that goes in and the line that comes out. Knows no
database and nothing of how lines are answered.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from service.contract.base import Wire, example
from service.contract.chat import ChatRequest
from service.contract.files import ExpiresAfter
from service.contract.prompts import PromptRequest
from service.contract.responses import ResponseCreate
from service.contract.sampling import check_metadata

ENDPOINTS: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/responses": ResponseCreate,
    "/v1/completions": PromptRequest,
}
"""What a batch can be for, and the shape of the body of each of its lines."""
MAX_LINES = 50_000
MAX_BYTES = 200 << 20

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
UNFINISHED = ("validating", "in_progress", "finalizing", "cancelling")


class BatchCreate(Wire):
    """`POST /v1/batches`."""

    model_config = example(
        input_file_id="file-1f0c", endpoint="/v1/chat/completions", completion_window="24h"
    )

    input_file_id: str
    endpoint: str
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None

    @field_validator("metadata")
    @classmethod
    def _metadata_is_small(cls, metadata: dict[str, str] | None) -> dict[str, str] | None:
        return check_metadata(metadata)


class Line(Wire):
    """One request of a batch."""

    custom_id: str = Field(min_length=1, max_length=512)
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


class Answer(Wire):
    """What an endpoint said to one line."""

    status_code: int
    request_id: str
    body: dict[str, Any]


class LineError(Wire):
    """Why a line was never asked."""

    code: Literal["batch_expired", "batch_cancelled", "batch_failed"]
    message: str


class AnsweredLine(Wire):
    """One line of the output file (answered with 200) or of the error file (all others)."""

    id: str
    custom_id: str
    response: Answer | None
    error: LineError | None = None


class BatchError(Wire):
    """What is wrong with a batch's input, by line."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Errors(Wire):
    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(Wire):
    total: int = 0
    completed: int = 0
    failed: int = 0


class InputDetails(Wire):
    cached_tokens: int = 0


class OutputDetails(Wire):
    reasoning_tokens: int = 0


class Usage(Wire):
    input_tokens: int = 0
    input_tokens_details: InputDetails = Field(default_factory=InputDetails)
    output_tokens: int = 0
    output_tokens_details: OutputDetails = Field(default_factory=OutputDetails)
    total_tokens: int = 0


class Batch(Wire):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = None
    """The one model that all lines ask, if it is one."""
    errors: Errors | None = None
    input_file_id: str
    completion_window: str = "24h"
    status: BatchStatus
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    usage: Usage | None = None
    metadata: dict[str, str] | None = None
