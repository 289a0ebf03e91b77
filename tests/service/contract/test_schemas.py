from typing import Any

import pytest

from service.contract.chat import ChatRequest
from service.contract.schemas import LONGEST, MAX_DEPTH, check_schemas, pattern_size


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def of_pattern(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


def named(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(count)}}


@pytest.mark.parametrize(
    "schema",
    [
        nested(10),
        named(300),
        of_pattern(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$"),
        of_pattern(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
        of_pattern(r"^[\w.+-]{1,64}@[\w-]+(\.[\w-]+)+$"),
        {"type": "object", "properties": {"pattern": {"type": "string"}, "properties": {"type": "array"}}},
        {"type": "string", "enum": [f"value {n}" for n in range(2000)]},
    ],
)
def test_what_applications_ask_for_passes(schema: dict[str, Any]):
    check_schemas([schema])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (nested(200), "within one another"),
        ({"anyOf": [nested(MAX_DEPTH)]}, "within one another"),
        (named(501), "500 properties"),
        (of_pattern("^(a|b){1,5000}$"), "every repetition written out"),
        (of_pattern("^(.{1,1000}x){1,100}$"), "every repetition written out"),
        (of_pattern("^((a{1,60}){1,60}){1,60}$"), "every repetition written out"),
        (of_pattern("^" + ".?" * 200 + "$"), "every repetition written out"),
        (of_pattern("^(.?){200}$"), "every repetition written out"),
        (of_pattern("^" + ".*" * 128 + "$"), "every repetition written out"),
        ({"type": "object", "patternProperties": {"(x{999}){999}": {}}}, "every repetition written out"),
        ({"$defs": {"a": {"allOf": [of_pattern("b{999999999}")]}}}, "every repetition written out"),
        ({"type": "string", "enum": ["x" * 100_000]}, "100000 characters"),
    ],
)
def test_what_takes_the_engine_long_to_read_is_refused(schema: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        check_schemas([schema])


def test_the_schemas_of_one_request_count_together():
    check_schemas([named(300)])
    with pytest.raises(ValueError, match="500 properties"):
        check_schemas([named(300), None, named(300)])
    tools = [{"type": "function", "function": {"name": f"f{n}", "parameters": named(300)}} for n in range(2)]
    with pytest.raises(ValueError, match="500 properties"):
        ChatRequest.model_validate(
            {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools}
        )


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", (0, 0)),
        ("abc", (3, 0)),
        ("a|b", (2, 0)),
        (r"[^]\]a-z]\)", (2, 0)),
        ("(?:ab){3}", (6, 0)),
        ("(ab?){3,}", (6, 4)),
        ("((a{2}){3}b){4}", (28, 0)),
        ("(((", (0, 0)),
        (")))a{", (5, 0)),
        ("{5}[", (1, 0)),
    ],
)
def test_a_pattern_is_measured_whatever_it_is(pattern: str, size: tuple[int, int]):
    assert pattern_size(pattern) == size


@pytest.mark.parametrize("part", ["(", "[", "(a{9}", "a{9}", "{1,", "[\\", ")*"])
def test_a_pattern_longer_than_any_that_fits_is_refused_unread(part: str):
    with pytest.raises(ValueError, match="every repetition written out"):
        check_schemas([of_pattern(part * (LONGEST // len(part) + 1))])
