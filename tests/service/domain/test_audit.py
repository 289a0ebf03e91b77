import pytest
from sqlalchemy import delete, update

from service.db import tables
from service.domain import audit
from tests.service.domain.conftest import World

Row = tables.AuditEntry


@pytest.fixture
async def written(world: World) -> World:
    """A world in which Ada did three things and the service one."""
    async with world.database.writing() as session:
        for number in range(3):
            await audit.note(session, world.hasher, world.admin, "key.made", f"key_{number}", name="étage")
        await audit.note(session, world.hasher, None, "records.erased", "completions", count=2)
    return world


async def checked(world: World):
    async with world.database.reading() as session:
        return await audit.check(session, world.hasher)


async def change(world: World, statement) -> None:
    async with world.database.writing() as session:
        await session.execute(statement)


async def test_the_journal_says_who_did_what_newest_first_in_pages(written: World):
    async with written.database.reading() as session:
        page, more = await audit.list_entries(session, action=None, user_id=None, before=None, limit=3)
        rest, end = await audit.list_entries(session, action=None, user_id=None, before=page[-1].id, limit=3)
    assert [entry.by for entry in page + rest] == ["Tailorbird", "Ada", "Ada", "Ada"]
    assert [entry.subject for entry in page + rest] == ["completions", "key_2", "key_1", "key_0"]
    assert (more, end) == (True, False)


async def test_it_is_searched_by_act_and_by_person(written: World):
    async with written.database.reading() as session:
        erased, _ = await audit.list_entries(
            session, action="records.erased", user_id=None, before=None, limit=9
        )
        by_ada, _ = await audit.list_entries(
            session, action=None, user_id=written.admin.user_id, before=None, limit=9
        )
    assert [entry.detail for entry in erased] == [{"count": 2}]
    assert len(by_ada) == 3


async def test_an_untouched_journal_is_intact(written: World):
    found = await checked(written)
    assert (found.intact, found.entries, found.broken_at) == (True, 4, None)


@pytest.mark.parametrize(
    "forged",
    [
        {"subject": "key_9"}, {"action": "key.revoked"}, {"user_id": None}, {"key_id": "other"}, {"at": 1.0},
        {"detail": {"name": "other"}}, {"seal": "0" * 64},
    ],
)  # fmt: skip
async def test_any_change_of_an_entry_is_found(written: World, forged):
    await change(written, update(Row).where(Row.id == 2).values(**forged))
    found = await checked(written)
    assert not found.intact
    assert found.broken_at == 2


@pytest.mark.parametrize("gone", [1, 2])
async def test_an_entry_taken_out_is_found_at_the_next_one(written: World, gone):
    await change(written, delete(Row).where(Row.id == gone))
    assert (await checked(written)).broken_at == gone + 1


async def test_who_knows_the_database_but_not_the_pepper_cannot_forge_a_seal(written: World):
    stranger = type(written.hasher)(b"another pepper")
    async with written.database.writing() as session:
        await audit.note(session, stranger, written.admin, "user.changed", "user_1", role="administrator")
    assert (await checked(written)).broken_at == 5
