"""Documents to read and their drafts: kept, decided one by one, and given on as a file's rows. Never commits.

    waiting ─► confirmed ─► waiting (taken back)
       └─────► rejected ──► waiting

Owns these moves, and the one way out: `rows_for_file`, which reads what a person confirmed and nothing else.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.datasets import DocumentOrigin
from service.contract.documents import Document, DocumentKind, DocumentRead, Draft, DraftChange, DraftStatus
from service.db import tables
from service.domain.identity import new_id, now, pseudonym
from service.domain.keys import Caller
from service.domain.paging import strange
from service.errors import BadInput, Conflict, NotFound

DAY = 86_400

Row = tables.Draft
Confirmed = tuple[tables.Document, tables.Draft]


async def create_document(
    session: AsyncSession, caller: Caller, *, filename: str, sha256: str, size: int, read: DocumentRead
) -> tables.Document:
    """A document that was read, each of its passages a draft that waits."""
    made = tables.Document(
        id=new_id("doc_"), user_id=caller.user_id, filename=Path(filename).name[:200] or "document", sha256=sha256,
        bytes=size, kind=read.kind, pages=read.pages, empty_pages=read.empty_pages, created_at=now(),
    )  # fmt: skip
    session.add(made)
    await session.flush()
    drafts = [
        {
            "id": new_id("draft_"), "document_id": made.id, "number": number, "status": "waiting",
            "question": one.question, "answer": one.text, "headings": one.headings, "page": one.page, "line": one.line,
            "language": one.language, "proposed_by": "headings" if one.question else None,
        }
        for number, one in enumerate(read.passages, 1)
    ]  # fmt: skip
    await session.execute(insert(Row), drafts)
    return made


async def get_document(session: AsyncSession, document_id: str) -> tables.Document:
    found = await session.get(tables.Document, document_id)
    if found is None:
        raise NotFound(f"No document '{document_id}'.", param="document_id")
    return found


async def list_documents(
    session: AsyncSession, *, after: str | None, limit: int
) -> tuple[list[tables.Document], bool]:
    """Newest first, and whether more follow."""
    row = tables.Document
    query = select(row).order_by(row.created_at.desc(), row.id.desc())
    if after is not None:
        seen = await session.get(row, after)
        if seen is None:
            raise strange(after)
        older = (row.created_at < seen.created_at) | (
            (row.created_at == seen.created_at) & (row.id < seen.id)
        )
        query = query.where(older)
    found = list(await session.scalars(query.limit(limit + 1)))
    return found[:limit], len(found) > limit


async def delete_document(session: AsyncSession, caller: Caller, document_id: str) -> tables.Document:
    """With its drafts, confirmed ones too. Files that were made of them stay, and so does what leads back from them."""
    found = await get_document(session, document_id)
    caller.must_own(found.user_id)
    await session.delete(found)
    return found


async def get_draft(
    session: AsyncSession, document_id: str, draft_id: str, *, change: bool = False
) -> tables.Draft:
    """One draft; locked against others where it is to be changed."""
    found = await session.get(Row, draft_id, with_for_update=change or None)
    if found is None or found.document_id != document_id:
        raise NotFound(f"The document '{document_id}' has no draft '{draft_id}'.", param="draft_id")
    return found


async def list_drafts(
    session: AsyncSession, document_id: str, *, status: DraftStatus | None, after: str | None, limit: int
) -> tuple[list[tables.Draft], bool]:
    """In the document's order, and whether more follow."""
    await get_document(session, document_id)
    query = select(Row).where(Row.document_id == document_id).order_by(Row.number)
    if status is not None:
        query = query.where(Row.status == status)
    if after is not None:
        query = query.where(Row.number > (await get_draft(session, document_id, after)).number)
    found = list(await session.scalars(query.limit(limit + 1)))
    return found[:limit], len(found) > limit


def decide(caller: Caller, draft: tables.Draft, change: DraftChange) -> None:
    """Confirm, reject, save or take back, with the words that the person saw. Raises `Conflict`, `BadInput`."""
    if change.status != "waiting" and draft.status != "waiting":
        raise Conflict(
            f"The draft is '{draft.status}' already. Look again; to decide otherwise, take that back first.",
            code="draft_decided",
        )
    question, answer = change.question.strip(), change.answer.strip()
    if change.status == "confirmed":
        for name, said in (("question", question), ("answer", answer)):
            if not said:
                raise BadInput(
                    f"The {name} is empty. Write one, or reject the draft.",
                    param=name,
                    code=f"draft_without_{name}",
                )
    if question != draft.question:
        draft.proposed_by = None
    draft.question, draft.answer, draft.status = question, answer, change.status
    decided = change.status != "waiting"
    draft.decided_by, draft.decided_at = (caller.user_id, time.time()) if decided else (None, None)


def must_wait(draft: tables.Draft) -> None:
    """Raise `Conflict` for one that is decided: its words are what somebody decided on."""
    if draft.status != "waiting":
        raise Conflict(
            f"The draft is '{draft.status}'. Take that back before its question is written anew.",
            code="draft_decided",
        )


def propose(draft: tables.Draft, question: str, model: str) -> None:
    must_wait(draft)
    draft.question, draft.proposed_by = question, model


async def confirmed(session: AsyncSession, document_ids: Sequence[str] | None) -> list[Confirmed]:
    """The confirmed drafts of these documents, or of all, document by document. Raises `NotFound`, `BadInput`."""
    for document_id in document_ids or ():
        await get_document(session, document_id)
    query = (
        select(tables.Document, Row)
        .join(Row, Row.document_id == tables.Document.id)
        .where(Row.status == "confirmed", Row.decided_by.is_not(None))
        .order_by(tables.Document.created_at, tables.Document.id, Row.number)
    )
    if document_ids is not None:
        query = query.where(tables.Document.id.in_(document_ids))
    found = [(document, draft) for document, draft in await session.execute(query)]
    if not found:
        raise BadInput(
            "No draft is confirmed yet, and only confirmed ones are learnt from. Confirm some first.",
            code="none_confirmed",
        )
    return found


def rows_for_file(found: Sequence[Confirmed]) -> Iterator[dict[str, Any]]:
    """Rows on OpenAI's wire, each with its document and who confirmed it."""
    for document, draft in found:
        origin = DocumentOrigin(
            document=document.filename, sha256=document.sha256, place=_place(draft),
            confirmed_by=pseudonym(draft.decided_by or ""), confirmed_at=draft.decided_at or 0,
            conversation=f"document {document.sha256}",
        )  # fmt: skip
        yield {
            "messages": [
                {"role": "user", "content": draft.question},
                {"role": "assistant", "content": draft.answer},
            ],
            "tailorbird": origin.model_dump(),
        }


def note_use(session: AsyncSession, import_id: str, found: Sequence[Confirmed]) -> None:
    """Keep for lineage whose confirmations an import was given; it stays when the documents go."""
    uses: dict[tuple[str, str], tables.DocumentUse] = {}
    for document, draft in found:
        user_id, at = draft.decided_by or "", draft.decided_at or 0.0
        use = uses.setdefault(
            (document.sha256, user_id),
            tables.DocumentUse(
                import_id=import_id, sha256=document.sha256, user_id=user_id, filename=document.filename, rows=0,
                first_at=at, last_at=at,
            ),
        )  # fmt: skip
        use.rows += 1
        use.first_at, use.last_at = min(use.first_at, at), max(use.last_at, at)
    session.add_all(uses.values())


async def shown(session: AsyncSession, found: Sequence[tables.Document]) -> list[Document]:
    """With how many of their drafts are decided, and how."""
    ids = [one.id for one in found]
    counted = await session.execute(
        select(Row.document_id, Row.status, func.count())
        .where(Row.document_id.in_(ids))
        .group_by(Row.document_id, Row.status)
    )
    counts = {(document_id, status): count for document_id, status, count in counted}
    names = await _names(session, {one.user_id for one in found})
    return [
        Document(
            id=one.id, filename=one.filename, sha256=one.sha256, bytes=one.bytes, kind=cast(DocumentKind, one.kind),
            pages=one.pages, empty_pages=one.empty_pages,
            drafts=sum(count for (document_id, _), count in counts.items() if document_id == one.id),
            confirmed=counts.get((one.id, "confirmed"), 0), rejected=counts.get((one.id, "rejected"), 0),
            created_at=one.created_at, created_by=names[one.user_id],
        )
        for one in found
    ]  # fmt: skip


async def shown_drafts(session: AsyncSession, found: Sequence[tables.Draft]) -> list[Draft]:
    names = await _names(session, {one.decided_by for one in found if one.decided_by})
    fields = Draft.model_fields.keys() - {"decided_by"}
    return [
        Draft.model_validate(
            {name: getattr(one, name) for name in fields} | {"decided_by": names.get(one.decided_by or "")}
        )
        for one in found
    ]


async def _names(session: AsyncSession, ids: set[str]) -> dict[str, str]:
    query = select(tables.User.id, tables.User.name).where(tables.User.id.in_(ids))
    return {id_: name for id_, name in await session.execute(query)}


def _place(draft: tables.Draft) -> str:
    if draft.headings:
        return " › ".join(draft.headings)
    if draft.page is not None:
        return f"page {draft.page}"
    return f"line {draft.line}" if draft.line is not None else f"passage {draft.number}"
