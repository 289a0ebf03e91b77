import pytest
from sqlalchemy import select

from service.contract.datasets import DocumentOrigin, Example
from service.contract.documents import DocumentRead, DraftChange, DraftStatus, Passage
from service.db import tables
from service.domain import documents, imports, lineage, retention
from service.domain.identity import pseudonym
from service.domain.keys import Caller
from service.errors import BadInput, Conflict, NotAllowed, NotFound
from tests.service.domain.conftest import World
from tests.service.domain.test_lineage import trained

TEXTS = ("Dogs go free.", "A bicycle costs six crowns.", "The last ferry leaves at nine.")


async def bring(world: World, name: str = "rules.md", who: Caller | None = None) -> str:
    passages = [
        Passage(text=text, headings=["Rules"], page=None, line=n, language="en", question=f"Rule {n}?")
        for n, text in enumerate(TEXTS, 1)
    ]
    read = DocumentRead(kind="markdown", pages=None, empty_pages=0, passages=passages, seconds=0, peak_mb=1)
    async with world.database.writing() as session:
        made = await documents.create_document(
            session, who or world.admin, filename=name, sha256=name.encode().hex(), size=9, read=read
        )
        return made.id


async def decide(
    world: World, document: str, number: int, status: DraftStatus, who: Caller | None = None,
    question: str = "What?", answer: str = "That.",
) -> None:  # fmt: skip
    async with world.database.writing() as session:
        found, _ = await documents.list_drafts(session, document, status=None, after=None, limit=9)
        change = DraftChange(status=status, question=question, answer=answer)
        documents.decide(who or world.admin, found[number - 1], change)


async def rows(world: World, *ids: str) -> list[dict]:
    async with world.database.reading() as session:
        return list(documents.rows_for_file(await documents.confirmed(session, list(ids) or None)))


async def test_only_what_a_person_confirmed_leaves_as_a_row_with_the_words_they_saw(world: World):
    rita = await world.reviewer("Rita")
    one, other = await bring(world), await bring(world, "other.md")
    with pytest.raises(BadInput, match="only confirmed ones are learnt from"):
        await rows(world)
    await decide(world, one, 1, "rejected")
    await decide(world, one, 2, "confirmed", rita, question=" May I take a bicycle? ", answer="Yes.\n")
    await decide(world, one, 3, "waiting", question="Saved, and no more?")
    (row,) = await rows(world)
    assert [message["content"] for message in row["messages"]] == ["May I take a bicycle?", "Yes."]
    origin = Example.model_validate(row).tailorbird
    assert isinstance(origin, DocumentOrigin)
    assert (origin.document, origin.place, origin.confirmed_by) == (
        "rules.md", "Rules", pseudonym(rita.user_id),
    )  # fmt: skip
    with pytest.raises(BadInput):
        await rows(world, other)
    with pytest.raises(NotFound):
        await rows(world, "doc_none")


async def test_a_decision_is_taken_back_before_another_is_taken(world: World):
    document = await bring(world)
    await decide(world, document, 1, "confirmed")
    for status in ("rejected", "confirmed"):
        with pytest.raises(Conflict, match="take that back first"):
            await decide(world, document, 1, status)
    await decide(world, document, 1, "waiting")
    async with world.database.reading() as session:
        found, _ = await documents.list_drafts(session, document, status="waiting", after=None, limit=9)
        (first, *_) = await documents.shown_drafts(session, found)
    assert (len(found), first.decided_by, first.decided_at) == (3, None, None)
    await decide(world, document, 1, "rejected")
    with pytest.raises(BadInput):
        await rows(world)


@pytest.mark.parametrize("empty", ["question", "answer"])
async def test_nothing_is_confirmed_with_an_empty_side(world: World, empty: str):
    document = await bring(world)
    with pytest.raises(BadInput, match=f"The {empty} is empty"):
        await decide(world, document, 1, "confirmed", **{empty: " \n"})
    await decide(world, document, 1, "rejected", **{empty: ""})


async def test_the_rows_of_a_document_stay_on_one_side_of_a_split(world: World):
    one, other = await bring(world), await bring(world, "other.md")
    for document, number in ((one, 1), (one, 2), (other, 1)):
        await decide(world, document, number, "confirmed", question=f"{number}?")
    found = await rows(world, one, other)
    whole = {(row["tailorbird"]["document"], row["tailorbird"]["conversation"]) for row in found}
    assert {document for document, _ in whole} == {"rules.md", "other.md"}
    assert len({kept for _, kept in whole}) == len(whole) == 2


async def test_a_document_is_deleted_with_its_drafts_by_its_owner_and_leads_back_all_the_same(world: World):
    rita, rolf = await world.reviewer("Rita"), await world.reviewer("Rolf")
    document = await bring(world, who=rita)
    await decide(world, document, 1, "confirmed", rita)
    await decide(world, document, 2, "confirmed", rolf, question="Which?")
    file = await world.add_file(b"{}\n", "sft")
    async with world.database.writing() as session:
        found = await documents.confirmed(session, [document])
        made = await imports.create_import(
            session, rita, filename="r.jsonl", sha256="ab", size=1, preview=None
        )
        documents.note_use(session, made.id, found)
        made.file_id = file
    digest = await trained(world, 1, file)
    async with world.database.writing() as session:
        with pytest.raises(NotAllowed):
            await documents.delete_document(session, rolf, document)
        await documents.delete_document(session, rita, document)
    async with world.database.reading() as session:
        assert list(await session.scalars(select(tables.Draft))) == []
        back = await lineage.of_adapter(session, digest, after=None, limit=9)
    assert {(use.document, use.file, use.confirmed_by, use.rows) for use in back.documents} == {
        ("rules.md", file, pseudonym(who.user_id), 1) for who in (rita, rolf)
    }


async def test_an_old_document_goes_with_its_drafts_where_a_setting_says_so(world: World):
    old, young = await bring(world), await bring(world, "young.md")
    async with world.database.writing() as session:
        (await documents.get_document(session, old)).created_at -= 31 * documents.DAY
    async with world.database.writing() as session:
        assert await retention.forget_documents(session, 30) == 1
    async with world.database.reading() as session:
        left = set(await session.scalars(select(tables.Draft.document_id)))
    assert left == {young}
