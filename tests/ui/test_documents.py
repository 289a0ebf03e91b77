from typing import Any

import pytest

from service.contract.documents import Document, Draft, DraftChange, DraftFile
from service.contract.users import User
from tests.ui.test_imports import EVIL, LANGUAGES, assistant
from ui.acts import Act
from ui.documents import Desk, change_of, draw, file_of, moved
from ui.words import words

pytestmark = pytest.mark.heavy  # the section brings Gradio along

RITA = User(id="u", name="Rita", role="reviewer", created_at=1)


def document(**more: Any) -> Document:
    fields: dict[str, Any] = {
        "id": "doc_1", "filename": EVIL, "sha256": "ab", "bytes": 1, "kind": "pdf", "pages": 12, "empty_pages": 2,
        "drafts": 32, "confirmed": 14, "rejected": 3, "created_at": 1, "created_by": "Rita",
    }  # fmt: skip
    return Document(**fields | more)


def draft(**more: Any) -> Draft:
    fields: dict[str, Any] = {
        "id": "draft_1", "number": 1, "status": "waiting", "question": EVIL, "answer": EVIL, "headings": [EVIL],
        "page": 3, "line": None, "language": "en", "proposed_by": None, "decided_by": None, "decided_at": None,
    }  # fmt: skip
    return Draft(**fields | more)


def drawn(language: str, *drafts: Draft, user: User = RITA, desk: Desk | None = None, **more: Any) -> str:
    one = document(**more)
    other = document(id="doc_2", kind="text", pages=None)
    return draw(
        words(language), user, desk or Desk("doc_1"), one, [one, other], list(drafts), more=True,
        assistants=[assistant("Be kind.")], focus=(0, "press"),
    )  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_drafts_are_drawn_in_every_state_and_nothing_in_them_is_markup(language: str):
    decided = {"decided_by": EVIL, "decided_at": 1.0}
    w = words(language)
    for status, more in (("waiting", {}), ("confirmed", decided), ("rejected", decided)):
        page = drawn(language, draft(status=status, **more), desk=Desk("doc_1", status))
        assert "&lt;script&gt;" in page
        assert "<script" not in page
    for kind in ("markdown", "text", "docx"):
        assert drawn(language, kind=kind, pages=None, empty_pages=0)
    assert w("document_progress", n=14, of=32) in drawn(language)
    assert w("document_empty_pages", n=2, of=12) in drawn(language)
    assert w("draft_no_question").replace("'", "&#39;") in drawn(language, draft(question=""))


def test_the_file_is_offered_once_something_is_confirmed_and_names_how_many():
    assert "Make a file of the 14 confirmed ones" in drawn("en", draft())
    assert 'data-do="file"' not in drawn("en", draft(), confirmed=0)


def test_only_the_owner_and_administrators_are_offered_the_end_of_a_document():
    assert 'data-do="delete"' in drawn("en")
    rolf = RITA.model_copy(update={"name": "Rolf"})
    assert 'data-do="delete"' not in drawn("en", user=rolf)
    assert 'data-do="delete"' in drawn("en", user=rolf.model_copy(update={"role": "administrator"}))


def test_what_is_pressed_becomes_a_decision_with_the_words_on_the_screen():
    fields = {"question": [" Q? "], "answer": ["A.\n"]}
    for act, status in (
        ("confirm", "confirmed"),
        ("reject", "rejected"),
        ("save", "waiting"),
        ("propose", "waiting"),
    ):
        change = change_of(Act(act=act, fields=fields))
        assert change == DraftChange(status=status, question="Q?", answer="A.")
    desk = Desk("doc_1", "confirmed", "draft_9")
    assert moved(desk, Act(act="show", value="rejected")) == Desk("doc_1", "rejected")
    assert moved(desk, Act(act="show", value="published")) == desk
    assert moved(desk, Act(act="later", id="draft_12")) == Desk("doc_1", "confirmed", "draft_12")
    assert moved(desk, Act(act="delete", id="doc_1")) == Desk()


def test_the_form_of_the_file_takes_one_document_or_all():
    known = {"fanal": assistant("Be kind.")}
    fields = {"assistant": ["fanal"], "licence": [" ours "], "instructions": ["on"]}
    one = file_of(Act(fields=fields), Desk("doc_1"), known)
    assert one == DraftFile(documents=["doc_1"], assistant="fanal", instructions="Be kind.", licence="ours")
    every = file_of(Act(fields={"all": ["on"], "assistant": ["nobody"]}), Desk("doc_1"), known)
    assert every == DraftFile()
