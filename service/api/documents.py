"""`/api/documents`: documents to read, their draft examples, and the file of what a person confirmed. For reviewers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, File, Query, Request, Response, UploadFile

from service.api.deps import HouseDep, NoteDep, ReadDep, ReviewerDep, WriteDep, ask_ourselves
from service.api.files import chunks_of
from service.api.lists import as_list
from service.api.looks import looked_into
from service.contract.audit import Action
from service.contract.documents import (
    Document,
    DocumentRead,
    Draft,
    DraftChange,
    DraftFile,
    DraftStatus,
    QuestionCreate,
)
from service.contract.files import Deleted
from service.contract.imports import Import, ImportPlan, IntakeSpec
from service.domain import audit, documents, imports
from service.errors import Conflict
from service.storage.local import Store

router = APIRouter(prefix="/api/documents", tags=["documents"])
PATIENCE = 180.0
"""Seconds that reading a document may take."""
SAID: dict[DraftStatus, Action] = {"confirmed": "draft.confirmed", "rejected": "draft.rejected"}
ASKING = {
    "fr": "Écris une seule question, courte, telle qu’une personne la poserait, à laquelle ce texte répond. Écris "
    "seulement la question.",
    "en": "Write one short question, as a person would ask it, that this text answers. Write the question only.",
    "other": "Write one short question, as a person would ask it, that this text answers, in the language of the text. "
    "Write the question only.",
}  # fmt: skip
QUESTION_TOKENS = 80
LONGEST_QUESTION = 500
PASSED_ON = ("retry-after", "x-should-retry")
"""Of a refusal of the model that is asked."""


@router.post("", status_code=201)
async def bring_document(
    house: HouseDep, caller: ReviewerDep, file: Annotated[UploadFile, File()]
) -> Document:
    """Markdown, plain text, PDF or Word (.docx): read in a process of its own, cut into passages, each a draft that
    waits for a person. Nothing learns from a draft."""
    name, limit = file.filename or "document", house.settings.max_upload_mb << 20
    sha256, size = await asyncio.to_thread(house.store.put_file, chunks_of(file), limit)
    spec = IntakeSpec(
        task="document", path=str(house.store.file(sha256)), filename=name, sha256=sha256, plan=ImportPlan()
    )
    said = await looked_into(house, spec, doing="Reading", param="file", seconds=PATIENCE)
    read = await asyncio.to_thread(DocumentRead.model_validate, said)
    async with house.database.writing() as session:
        made = await documents.create_document(
            session, caller, filename=name, sha256=sha256, size=size, read=read
        )
        await audit.note(session, house.hasher, caller, "document.brought", made.id, document=made.filename)
        return (await documents.shown(session, [made]))[0]


@router.get("")
async def list_documents(
    session: ReadDep,
    caller: ReviewerDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    """Newest first, everybody's."""
    found, more = await documents.list_documents(session, after=after, limit=limit)
    return as_list(await documents.shown(session, found), has_more=more)


@router.post("/file", status_code=202)
async def make_file(
    wanted: DraftFile, session: WriteDep, house: HouseDep, caller: ReviewerDep, note: NoteDep
) -> Import:
    """Give the confirmed drafts to an import, which keeps held-out questions out, measures, and makes the file that can
    be trained on. Follow it at `/api/imports/{id}`."""
    found = await documents.confirmed(session, wanted.documents)
    names = list(dict.fromkeys(document.filename for document, _ in found))
    stem = Path(names[0]).stem if len(names) == 1 else f"{Path(names[0]).stem} and {len(names) - 1} more"
    sha256, size = await asyncio.to_thread(_written, house.store, found)
    made = await imports.create_import(
        session, caller, filename=f"{stem}.jsonl", sha256=sha256, size=size, preview=None
    )
    plan = ImportPlan(
        format="openai-chat", assistant=wanted.assistant, instructions=wanted.instructions,
        source=", ".join(names)[:500], licence=wanted.licence,
    )  # fmt: skip
    await imports.start(session, caller, made, plan)
    documents.note_use(session, made.id, found)
    await note("drafts.filed", made.id, drafts=len(found), documents=names[:20])
    return imports.shown(made, caller)


@router.get("/{document_id}")
async def retrieve_document(document_id: str, session: ReadDep, caller: ReviewerDep) -> Document:
    """How many of its drafts are decided, and how."""
    return (await documents.shown(session, [await documents.get_document(session, document_id)]))[0]


@router.delete("/{document_id}")
async def delete_document(document_id: str, session: WriteDep, caller: ReviewerDep, note: NoteDep) -> Deleted:
    """With all its drafts. One's own; an administrator may delete anybody's. Files that were made of it stay."""
    gone = await documents.delete_document(session, caller, document_id)
    await note("document.deleted", document_id, of=gone.user_id, document=gone.filename)
    return Deleted(id=document_id, object="document")


@router.get("/{document_id}/drafts")
async def list_drafts(
    document_id: str,
    session: ReadDep,
    caller: ReviewerDep,
    status: DraftStatus | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> dict[str, Any]:
    """In the document's order."""
    found, more = await documents.list_drafts(session, document_id, status=status, after=after, limit=limit)
    return as_list(await documents.shown_drafts(session, found), has_more=more)


@router.patch("/{document_id}/drafts/{draft_id}")
async def decide_draft(
    document_id: str,
    draft_id: str,
    change: DraftChange,
    session: WriteDep,
    caller: ReviewerDep,
    note: NoteDep,
) -> Draft:
    """Confirm it, reject it, save its words, or take a decision back (`waiting`). Who decided, and when, is kept."""
    draft = await documents.get_draft(session, document_id, draft_id, change=True)
    before = draft.status
    documents.decide(caller, draft, change)
    if change.status != before:
        await note(SAID.get(change.status, "draft.reopened"), draft_id, document=document_id)
    return (await documents.shown_drafts(session, [draft]))[0]


@router.post("/{document_id}/drafts/{draft_id}/question", response_model=Draft)
async def propose_question(
    document_id: str,
    draft_id: str,
    wanted: QuestionCreate,
    request: Request,
    house: HouseDep,
    caller: ReviewerDep,
) -> Draft | Response:
    """Have a model write the question of a draft that waits, in the passage's language. What is asked is not recorded;
    it counts against the key's limits like any request."""
    async with house.database.reading() as session:
        draft = await documents.get_draft(session, document_id, draft_id)
        documents.must_wait(draft)
    asking = ASKING.get(draft.language, ASKING["other"])
    body = {
        "model": wanted.model, "messages": [{"role": "user", "content": f"{asking}\n\n{draft.answer}"}],
        "store": False, "max_tokens": QUESTION_TOKENS, "temperature": 0.2,
    }  # fmt: skip
    answer = await ask_ourselves(request.app, caller.key_id, "/v1/chat/completions", orjson.dumps(body))
    if not answer.is_success:
        told = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
        return Response(answer.content, answer.status_code, told, "application/json")
    question = _question(answer.json()["choices"][0]["message"]["content"] or "")
    async with house.database.writing() as session:
        draft = await documents.get_draft(session, document_id, draft_id, change=True)
        documents.propose(draft, question, wanted.model)
        return (await documents.shown_drafts(session, [draft]))[0]


def _question(said: str) -> str:
    """The first line that a model wrote, without what models put around it."""
    first = next((line for line in map(str.strip, said.splitlines()) if line), "")
    question = first.removeprefix("Question:").strip(' *"“”«»\u00a0')[:LONGEST_QUESTION]
    if not question:
        raise Conflict(
            "The model wrote no question. Ask another one, or write it yourself.", code="no_question"
        )
    return question


def _written(store: Store, found: Sequence[documents.Confirmed]) -> tuple[str, int]:
    """The rows as a file that is kept. Blocking."""
    with store.incoming() as file:
        for row in documents.rows_for_file(found):
            file.write_line(orjson.dumps(row) + b"\n")
        return file.keep(), file.size
