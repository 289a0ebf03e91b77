import sqlite3

import pytest
from sqlalchemy import update

from service.contract.users import UserChange
from service.db import tables
from service.domain import keys, users
from service.errors import Conflict, NotSignedIn
from tests.service.domain.conftest import World


async def new_key(world: World, kind: keys.KeyKind = "api", life: int | None = None) -> str:
    async with world.database.writing() as session:
        _, secret = await keys.create_key(
            session, world.hasher, user_id=world.user.user_id, kind=kind, name="k", life=life
        )
    return secret


async def find(world: World, secret: str) -> keys.Caller:
    async with world.database.reading() as session:
        return await keys.find_caller(session, world.hasher, secret)


async def test_only_a_keyed_hash_is_stored(world: World, tmp_path):
    secret = await new_key(world)
    with sqlite3.connect(tmp_path / "tailorbird.db") as database:
        dump = "\n".join(database.iterdump())
    assert secret not in dump
    assert keys.Hasher(b"another pepper").digest(secret) not in dump
    assert world.hasher.digest(secret) in dump
    assert (tmp_path / "pepper").stat().st_mode & 0o777 == 0o600


async def test_a_key_finds_its_owner_until_it_expires(world: World):
    secret = await new_key(world)
    assert (await find(world, secret)).name == "Uma"
    async with world.database.writing() as session:
        await session.execute(update(tables.Key).values(expires_at=1))
    with pytest.raises(NotSignedIn):
        await find(world, secret)


async def test_a_sign_in_link_works_once_and_is_no_key(world: World):
    async with world.database.writing() as session:
        link = await keys.create_link(session, world.hasher, user_id=world.user.user_id)
    with pytest.raises(NotSignedIn):
        await find(world, link)
    async with world.database.writing() as session:
        user, _, token = await keys.sign_in(session, world.hasher, link=link, key=None)
    assert user.name == "Uma"
    assert (await find(world, token)).kind == "session"
    async with world.database.writing() as session:
        with pytest.raises(NotSignedIn):
            await keys.sign_in(session, world.hasher, link=link, key=None)


async def test_a_closed_account_is_out_at_once_and_the_last_administrator_stays(world: World):
    secret = await new_key(world)
    async with world.database.writing() as session:
        await users.change_user(session, world.user.user_id, UserChange(active=False))
    with pytest.raises(NotSignedIn):
        await find(world, secret)
    async with world.database.writing() as session:
        with pytest.raises(Conflict):
            await users.change_user(session, world.admin.user_id, UserChange(role="user"))


async def opened_with(world: World, secret: str) -> tuple[tables.Key, str]:
    async with world.database.writing() as session:
        _, opened, token = await keys.sign_in(session, world.hasher, link=None, key=secret)
    return opened, token


async def test_a_session_that_was_opened_with_a_key_does_not_outlast_it(world: World):
    short, _ = await opened_with(world, await new_key(world, life=keys.DAY))
    long, _ = await opened_with(world, await new_key(world, life=365 * keys.DAY))
    endless, _ = await opened_with(world, await new_key(world))
    assert [(one.expires_at or 0) - one.created_at for one in (short, long, endless)] == [
        pytest.approx(life, abs=2) for life in (keys.DAY, 30 * keys.DAY, 30 * keys.DAY)
    ]


async def test_a_revoked_key_takes_the_sessions_with_it_that_were_opened_with_it_and_no_others(world: World):
    secret, other = await new_key(world), await new_key(world)
    _, token = await opened_with(world, secret)
    _, of_other = await opened_with(world, other)
    async with world.database.writing() as session:
        link = await keys.create_link(session, world.hasher, user_id=world.user.user_id)
        _, _, of_link = await keys.sign_in(session, world.hasher, link=link, key=None)
    key = await find(world, secret)
    async with world.database.writing() as session:
        await keys.end_key(session, world.user, key.key_id)
    for gone in (secret, token):
        with pytest.raises(NotSignedIn):
            await find(world, gone)
    for stays in (other, of_other, of_link):
        await find(world, stays)


async def test_a_session_that_ends_leaves_the_key_that_opened_it(world: World):
    secret = await new_key(world)
    opened, _ = await opened_with(world, secret)
    async with world.database.writing() as session:
        await keys.end_key(session, world.user, opened.id)
    await find(world, secret)
