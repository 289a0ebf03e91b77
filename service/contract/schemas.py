"""What the JSON schemas of one request may cost: the engine turns each into an automaton before the first token.

vLLM 0.32 reads a schema in the process that also answers its health check, so one that takes xgrammar a minute makes
the engine look hung to everybody; what it read is then compiled beside the steps of others. Measured with xgrammar on
one core: to read 200 objects in one another takes 3.5 s, 400 of them or `(a|b){1,5000}` more than 15; to compile 200
times `.?` more than 15. At the limits below reading took 0.1 s at most, and compiling 5 s. Knows nothing of what a
schema means.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

MAX_SCHEMA = 100_000
"""Characters of one schema, at most."""
MAX_DEPTH = 64
"""Objects and lists within one another; each property that is an object adds two."""
MAX_PROPERTIES = 500
"""Named properties in all schemas of a request."""
MAX_ATOMS, MAX_LOOPS = 300, 16
"""Characters that a pattern stands for when every `{m,n}` is written out; and `*`, `+` and `?` in it, alike."""
PATTERNS = 10
"""Patterns as large as that in all schemas of a request."""
LONGEST = 10 * MAX_ATOMS
"""Characters of a pattern that is measured: a longer one is too long, whatever it says."""

_BOUNDS = re.compile(r"\{(\d{1,9})(,?)(\d{0,9})\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)


def check_schemas(schemas: Iterable[dict[str, Any] | None]) -> None:
    """Raises `ValueError` with the limit that the schemas of one request go past, all together."""
    properties = atoms = loops = 0
    for schema in schemas:
        if schema is None:
            continue
        named, patterns = _walk(schema)
        if len(json.dumps(schema)) > MAX_SCHEMA:
            raise ValueError(f"a schema holds at most {MAX_SCHEMA} characters")
        properties += named
        for pattern in patterns:
            size = pattern_size(pattern)
            if size[0] > MAX_ATOMS or size[1] > MAX_LOOPS:
                raise ValueError(
                    f"a pattern stands for at most {MAX_ATOMS} characters, every repetition written out, with at "
                    f"most {MAX_LOOPS} of '*', '+' and '?'"
                )
            atoms, loops = atoms + size[0], loops + size[1]
    if properties > MAX_PROPERTIES:
        raise ValueError(f"the schemas of a request name at most {MAX_PROPERTIES} properties")
    if atoms > PATTERNS * MAX_ATOMS or loops > PATTERNS * MAX_LOOPS:
        raise ValueError(f"the patterns of a request are together at most {PATTERNS} times the largest")


def pattern_size(pattern: str) -> tuple[int, int]:
    """Characters and loops of a regular expression once its `{m,n}` are written out; of one that is no expression,
    something like it. Looks at each character once, of `LONGEST` at most."""
    if len(pattern) > LONGEST:
        return len(pattern), 0
    around: list[list[int]] = []
    whole, last = [0, 0], [0, 0]
    at, classes = 0, True
    while at < len(pattern):
        here, step = pattern[at], 1
        if here == "(":
            around.append(whole)
            whole, last = [0, 0], [0, 0]
            step = 3 if pattern.startswith("(?", at) else 1
        elif here == ")" and around:
            last, whole = whole, around.pop()
            whole = [whole[0] + last[0], whole[1] + last[1]]
        elif here in "*+?":
            whole, last = [whole[0], whole[1] + 1], [last[0], last[1] + 1]
        elif here == "{" and (bounds := _BOUNDS.match(pattern, at)):
            more = max(int(bounds[1]), int(bounds[3] or 0), 1) - 1
            step = bounds.end() - at
            open_end = int(bool(bounds[2]) and not bounds[3])
            added = [last[0] * more, last[1] * more + open_end]
            whole, last = [whole[0] + added[0], whole[1] + added[1]], [last[0] + added[0], last[1] + added[1]]
        elif here not in "|^$":
            group = _CLASS.match(pattern, at) if here == "[" and classes else None
            classes = classes and not (here == "[" and group is None)
            step = group.end() - at if group else 2 if here == "\\" else 1
            whole, last = [whole[0] + 1, whole[1]], [1, 0]
        at += step
    for outer in around:
        whole = [whole[0] + outer[0], whole[1] + outer[1]]
    return whole[0], whole[1]


def _walk(schema: dict[str, Any]) -> tuple[int, list[str]]:
    """Properties named, and patterns. Raises `ValueError` for a schema that is too deep."""
    properties, patterns = 0, []
    rest: list[tuple[Any, int]] = [(schema, 1)]
    while rest:
        value, depth = rest.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"a schema holds at most {MAX_DEPTH} objects and lists within one another")
        if isinstance(value, dict):
            if isinstance(value.get("properties"), dict):
                properties += len(value["properties"])
            if isinstance(value.get("pattern"), str):
                patterns.append(value["pattern"])
            if isinstance(value.get("patternProperties"), dict):
                patterns += value["patternProperties"]
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        rest += [(one, depth + 1) for one in inside if isinstance(one, dict | list)]
    return properties, patterns
