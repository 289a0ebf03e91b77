"""Documents to read, cut into draft examples, and what people make of the drafts.

A draft is a question and an answer that nothing learns from. A person confirms it, and a file is made of what was
confirmed: two acts, and no other way leads from a document into training.
"""

from typing import Literal

from pydantic import Field

from service.contract.base import Strict, example

DocumentKind = Literal["markdown", "text", "pdf", "docx"]
DraftStatus = Literal["waiting", "confirmed", "rejected"]
LONGEST = 100_000
"""Characters of a question or an answer, at most."""


class Passage(Strict):
    """A piece of a document that can stand as an answer."""

    text: str
    headings: list[str]
    """Those that it stands under, the outermost first."""
    page: int | None
    """Of a PDF: where it begins."""
    line: int | None
    """Of a text: where it begins."""
    language: str
    """`en`, `fr`, `other` or `unclear`."""
    question: str
    """Proposed from the headings; empty where they propose none."""


class DocumentRead(Strict):
    """What the process that reads documents found in one."""

    kind: DocumentKind
    pages: int | None
    """Of a PDF."""
    empty_pages: int
    """Of those, without text: pictures, as a scanner makes them."""
    passages: list[Passage]
    seconds: float
    peak_mb: int


class Document(Strict):
    id: str
    filename: str
    sha256: str
    """Of the file as it came. Its bytes are not kept, its passages are."""
    bytes: int
    kind: DocumentKind
    pages: int | None
    empty_pages: int
    drafts: int
    confirmed: int
    rejected: int
    created_at: int
    created_by: str


class Draft(Strict):
    """A question and an answer from a document. Nothing learns from it before a person confirms it."""

    id: str
    number: int
    """Where it stands among the document's, from 1 on."""
    status: DraftStatus
    question: str
    answer: str
    headings: list[str]
    page: int | None
    line: int | None
    language: str
    proposed_by: str | None
    """Who wrote the question: `headings`, a model's name, or a person (none)."""
    decided_by: str | None
    """Who confirmed or rejected it, by name."""
    decided_at: float | None


class DraftChange(Strict):
    """What is decided of a draft, with both sides as the person saw them. `waiting` only saves them, or takes a
    decision back."""

    model_config = example(
        status="confirmed",
        question="Until when can I cancel?",
        answer="Until the evening before.",
    )

    status: DraftStatus
    question: str = Field(max_length=LONGEST)
    answer: str = Field(max_length=LONGEST)


class QuestionCreate(Strict):
    model_config = example(model="fanal")

    model: str = Field(
        description="an assistant, a tuned model or the base model, which writes a question for the passage"
    )


class DraftFile(Strict):
    """What becomes of the confirmed drafts: one file for training, by way of an import."""

    model_config = example(documents=["doc_3f9a"], licence="CC BY 4.0")

    documents: list[str] | None = Field(
        default=None, min_length=1, max_length=1000, description="by id; default: every document"
    )
    assistant: str | None = Field(
        default=None,
        description="whose held-out questions no row may come near; default: those of every assistant",
    )
    instructions: str | None = Field(default=None, max_length=20_000, description="put before every row")
    licence: str | None = Field(default=None, max_length=200)
