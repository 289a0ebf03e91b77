"""What a refusal says, on OpenAI's wire: the one shape of every answer that is not what was asked for."""

from service.contract.base import Strict


class Reason(Strict):
    """`message` says the fact, then the next step; `code` is for programs; `param` names the field at fault."""

    message: str
    type: str
    param: str | None
    code: str | None
    line: int | None = None
    """Of a file that is refused for one of its lines; left out elsewhere."""


class Refusal(Strict):
    error: Reason
