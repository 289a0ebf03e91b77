"""How SQLite answers what the screens ask: from an index, never by walking through a table that grows with use."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from service.db.session import Database
from service.domain import idempotency
from tests.bench.feedback import QUESTIONS
from tests.gateway import Gateway

GROWING = (
    "completions", "conversations", "dataset_rows", "feedback", "file_rows", "idempotency_keys", "material", "reviews",
    "subjects", "waiting_answers",
)  # fmt: skip
WALK = re.compile(rf"SCAN ({'|'.join(GROWING)})(_\d+)?\b(?! USING INDEX ix_feedback_unsorted)")
"""What waits to be sorted is little, and has an index of its own."""


@contextmanager
def asked() -> Iterator[dict[str, Any]]:
    """What this process asks of databases meanwhile, with its parameters."""
    found: dict[str, Any] = {}

    def note(_: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        found[statement] = parameters

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def steps(gateway: Gateway, statement: str, parameters: Any) -> list[str]:
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def walks(gateway: Gateway, statement: str, parameters: Any) -> list[str]:
    """The tables that a question walks through; from an index and only as far as a limit is no walk."""
    limited = "LIMIT" in statement
    found = steps(gateway, statement, parameters)
    return [one for one in found if WALK.match(one) and not (limited and "INDEX" in one)]


def said(gateway: Gateway, **headers: str) -> None:
    """An answer that somebody corrected a moment ago."""
    speaker = gateway.client_of("Speaker")
    body = {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]}
    completion = speaker.post("/v1/chat/completions", json=body).json()["id"]
    better = {"completion_id": completion, "type": "correction", "correction": "good day"}
    speaker.post("/api/feedback", json=better, headers=headers).raise_for_status()


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_of_the_screens_walks_through_a_table_that_grows(own_gateway: Gateway, question: str):
    method, url = QUESTIONS[question]
    reviewer = own_gateway.client_of("Rita", "reviewer")
    said(own_gateway)
    with asked() as questions:
        reviewer.request(method, url.replace("desk", "fanal")).raise_for_status()
    found = {
        statement: walked
        for statement, parameters in questions.items()
        if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE"))
        and not isinstance(parameters, list)
        and (walked := walks(own_gateway, statement, parameters))
    }
    assert len(questions) > 1, "the questions were not seen"
    assert found == {}


def test_what_waits_to_be_sorted_is_found_by_an_index_of_nothing_else(own_gateway: Gateway):
    said(own_gateway)
    with asked() as questions:
        own_gateway.admin.get("/api/assistants/fanal/readiness").raise_for_status()
    waits = {one: given for one, given in questions.items() if "sorted = 0" in one}
    assert len(waits) >= 2  # and what the gateway's own look asks, where one falls into it
    for statement, parameters in waits.items():
        assert any("ix_feedback_unsorted" in step for step in steps(own_gateway, statement, parameters))


async def test_no_answer_to_an_idempotency_key_is_looked_for_by_walking_through_all_of_them(
    own_gateway: Gateway,
):
    database = Database(own_gateway.settings.database)
    with asked() as questions:
        said(own_gateway, **{"idempotency-key": "once"})
        async with database.writing() as session:
            await idempotency.forget_old(session)
    await database.close()
    about = {one: given for one, given in questions.items() if "idempotency_keys" in one}
    assert {one.split()[0] for one in about} == {"SELECT", "INSERT", "DELETE"}
    found = {one: walks(own_gateway, one, given) for one, given in about.items() if "INSERT" not in one}
    assert not any(found.values()), found
