"""Which parameters of a request are served, and for whom it is.

A parameter that would be ignored in silence is refused by name.
"""

from service.contract.sampling import ENGINES, HARMLESS, UNSERVED, Sampling
from service.errors import BadInput


def check(wanted: Sampling, *, tools: bool = True) -> None:
    """Raises `BadInput` with the first parameter that cannot be served; one that is null counts as left out.

    `tools` says whether the engine can read a model's calls of them.
    """
    if not tools and getattr(wanted, "tools", None):
        raise BadInput(
            "Tools are not served here. An administrator can name the model's way of calling them in "
            "TAILORBIRD_TOOL_PARSER.",
            param="tools",
            code="unsupported_parameter",
        )
    for name, value in sorted((wanted.model_extra or {}).items()):
        if value is None or name in HARMLESS or name in ENGINES:
            continue
        if name in UNSERVED:
            raise BadInput(
                f"'{name}' is not served. {UNSERVED[name]}", param=name, code="unsupported_parameter"
            )
        raise BadInput(
            f"'{name}' is not accepted here. Leave it out.", param=name, code="unsupported_parameter"
        )


def end_user(wanted: Sampling) -> str:
    """Whom an application asks for, as it names them itself; empty when it does not."""
    extra = wanted.model_extra or {}
    return str(extra.get("safety_identifier") or extra.get("user") or "")
