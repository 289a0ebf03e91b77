import re
from pathlib import Path
from typing import get_args

import pytest

from service.contract.jobs import EventCode, JobError, JobEvent
from tests.ui.test_evaluations import evaluation
from ui.evaluations import drawn
from ui.events import said
from ui.failures import failure
from ui.words import LANGUAGES, words

ROOT = Path(__file__).parent.parent.parent
REFUSED = re.compile(r"""Refused\(\s*"([a-z_]+)"|code="([a-z_]+)\"""")
EN, FR = words("en"), words("fr")


def test_every_refusal_of_the_trainer_and_of_an_evaluation_has_a_sentence():
    rooms = [path for room in ("training", "evals") for path in (ROOT / room).glob("*.py")]
    rooms = [path for path in rooms if path.name != "merge.py"] + [ROOT / "service" / "worker.py"]
    found = [REFUSED.findall(path.read_text()) for path in rooms]
    codes = {code or other for pairs in found for code, other in pairs} - {"cancelled", *get_args(EventCode)}
    assert {"nan_row", "gateway_unreachable", "job_crashed", "training_failed"} <= codes
    assert {f"failed_{code}" for code in codes} - LANGUAGES["en"].keys() == set()


@pytest.mark.parametrize(
    ("param", "where"),
    [("holiday rules.jsonl line 12", "Où\u00a0: holiday rules.jsonl, ligne 12."),
     ("line 3", "Où\u00a0: ligne 3."), (None, ""), ("start_adapter", "")],
)  # fmt: skip
def test_a_failure_is_said_in_the_readers_language_with_its_row(param: str | None, where: str):
    error = JobError(code="row_too_long", message="too long", param=param)
    assert failure(FR, error) == (f"{FR('failed_row_too_long')} {where}".strip(), True)
    event = JobEvent(
        id="e", created_at=1, level="error", message="too long", type="message",
        data={"code": "failed", "error": "row_too_long", "param": param},
    )  # fmt: skip
    assert said(FR, event) == failure(FR, error)


@pytest.mark.parametrize("code", ["unheard_of", "", "line", "more"])
def test_a_failure_without_a_sentence_is_said_as_it_was_sent(code: str):
    assert failure(FR, JobError(code=code, message="as <sent>")) == ("as <sent>", False)


def test_a_failed_evaluation_says_why_and_keeps_the_message_as_it_was_sent():
    error = JobError(code="gateway_unreachable", message="Not <one> question.")
    failed = evaluation(None, status="failed", error=error.message, coded_error=error)
    page = drawn(FR, [failed], {}, {})
    assert "Aucune question n’a reçu de réponse" in page
    assert '<p lang="en">Not &lt;one&gt; question.</p>' in page
    older = drawn(FR, [evaluation(None, status="failed", error="Not <one> question.")], {}, {})
    assert '<p lang="en">Not &lt;one&gt; question.</p>' in older
