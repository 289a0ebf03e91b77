"""Bringing an adapter, as it is drawn and asked for, without a browser."""

from typing import Any

import pytest

from service.contract.jobs import Job, JobEvent
from tests.ui.test_rounds import assistant
from ui.acts import Act
from ui.adapters import Brought, Sent, draw, wanted, why
from ui.client import Refused
from ui.words import words

BAD = "<script>alert(1)</script>"
FILE = Brought(file="file-1", name=f"{BAD}.zip", assistant="fanal")
SENT = Brought(file="file-1", name="a.zip", assistant="fanal", job="ftjob-1", adapter="ab")


def job(status: str, **more: Any) -> Job:
    fields = {
        "id": "ftjob-1", "created_at": 1, "model": "base", "status": status, "training_file": "file-1", "seed": 0,
        "method": {"type": "import", "import": {}},
    }  # fmt: skip
    return Job.model_validate(fields | more)


def shown(
    language: str,
    brought: Brought,
    one: Job | None = None,
    events: tuple[JobEvent, ...] = (),
    release: int | None = None,
) -> str:
    return draw(words(language), brought, [assistant()], one, events, release)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_zip_that_was_uploaded_waits_for_its_assistant(language: str):
    page = shown(language, FILE)
    assert 'data-brought="file"' in page
    assert '<option value="fanal" selected>' in page
    assert "<script" not in page
    assert 'data-do="bring"' in page


@pytest.mark.parametrize("language", ["en", "fr"])
def test_while_it_is_proved_the_newest_message_is_read_in_ones_language(language: str):
    w, told = words(language), {"code": "brought"}
    event = JobEvent(id="e", created_at=1, level="info", message="As sent.", type="message", data=told)
    page = shown(language, SENT, job("running"), (event,))
    assert w("event_brought") in page
    assert w("bring_running") in page
    assert "data-do" not in page


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("one", [job("succeeded"), None], ids=("proved", "here-already"))
def test_one_that_is_in_is_a_candidate_whose_training_is_unknown(language: str, one: Job | None):
    w, page = words(language), shown(language, SENT, one, release=3)
    assert w("bring_candidate", number=3, title=assistant().title) in page
    assert w("bring_unknown") in page
    assert 'data-do="close"' in page


@pytest.mark.parametrize("language", ["en", "fr"])
def test_one_that_the_server_does_not_serve_says_so(language: str):
    error = {"code": "not_served", "message": "As sent.", "param": None}
    page = shown(language, SENT, job("failed", error=error))
    assert words(language)("failed_not_served") in page
    assert "As sent." in page


@pytest.mark.parametrize("language", ["en", "fr"])
def test_what_was_sent_earlier_is_listed_and_opens_as_it_was_left(language: str):
    w, sent = words(language), Sent(job("succeeded"), f"{BAD}.zip")
    page = draw(w, Brought(), [assistant()], None, (), None, [sent])
    assert w("import_earlier") in page
    assert 'data-do="open" data-id="ftjob-1"' in page
    assert "data-brought" not in page
    assert "<script" not in page
    again = sent.again("fanal", "press-1")
    assert (again.file, again.job, again.assistant) == ("file-1", "ftjob-1", "fanal")
    assert w("bring_candidate", number=3, title=assistant().title) in shown(
        language, again, sent.job, release=3
    )


def test_a_refusal_is_said_in_plain_words_with_the_services_own_below():
    refused = Refused(400, "adapter_not_served", f"The adapter is a DoRA. {BAD}")
    for language in ("en", "fr"):
        w = words(language)
        page = shown(language, Brought(file="f", name="a.zip", problem=why(w, refused)))
        assert w("bring_refused_adapter_not_served") in page
        assert "is a DoRA. &lt;script&gt;" in page
        assert 'data-do="bring"' in page  # it may be mended in the form
    assert why(words("fr"), Refused(503, "database_unavailable", "x")) == (
        words("fr")("error_database_unavailable"), "",
    )  # fmt: skip


def test_the_form_asks_for_what_it_says_and_for_no_more_than_may_be():
    form = {
        "assistant": ["fanal"],
        "questions": [" Where is the pier? \n\nWhat does it cost?\n"],
        "same": ["on"],
    }
    found = wanted("file-1", Act(fields=form))
    assert (found.assistant, found.same_base_model) == ("fanal", True)
    assert found.prompts == ["Where is the pier?", "What does it cost?"]
    assert wanted("file-1", Act(fields={"assistant": ["fanal"]})).same_base_model is False
    for fields, code in (({}, "no_assistant"), (form | {"questions": ["q\n" * 13]}, "too_many_questions")):
        with pytest.raises(Refused) as refused:
            wanted("file-1", Act(fields=fields))
        assert refused.value.code == code
