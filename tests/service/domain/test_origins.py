"""A dataset that was taken away, changed and brought back is still known by what its rows say they were made of."""

import asyncio
import json
from typing import Any

from sqlalchemy import select

from service.contract.lineage import Lineage
from service.contract.signal import Signal
from service.db import tables
from service.domain import datasets, lineage, origins
from service.domain.identity import pseudonym
from service.domain.learnt import learnt
from tests.service.domain.conftest import World
from tests.service.domain.test_lineage import trained, used_by


async def frozen_rows(world: World, file_id: str) -> list[dict[str, Any]]:
    async with world.database.reading() as session:
        file = await session.get_one(tables.File, file_id)
    lines = await asyncio.to_thread(world.store.file(file.sha256).read_bytes)
    return [json.loads(line) for line in lines.splitlines()]


async def brought(world: World, rows: list[dict[str, Any]]) -> str:
    """A file of these rows, kept as an upload keeps it; its id."""
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    file_id = await world.add_file(content, "dpo")
    async with world.database.writing() as session:
        file = await session.get_one(tables.File, file_id)
        await origins.keep(session, file_id, await origins.told_by(world.store.file(file.sha256), "dpo"))
    return file_id


async def signal_of(world: World, file_id: str) -> Signal | None:
    async with world.database.reading() as session:
        return await datasets.signal_of(session, await session.get_one(tables.File, file_id))


async def made_of(world: World, digest: str) -> Lineage:
    async with world.database.reading() as session:
        return await lineage.of_adapter(session, digest, after=None, limit=100)


async def recorded(world: World, file_id: str) -> list[str]:
    row = tables.FileRow
    async with world.database.reading() as session:
        return sorted(await session.scalars(select(row.feedback_id).where(row.file_id == file_id)))


def given_in(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["tailorbird"]["feedback_id"] for row in rows)


async def test_feedback_leads_to_what_learned_from_a_changed_file_that_holds_it_and_to_nothing_else(
    world: World,
):
    given = await world.correct(range(12), world.user)
    dataset = await world.freeze("dpo")
    rows = await frozen_rows(world, dataset.training_file)
    kept, dropped = rows[1:], rows[0]["tailorbird"]["feedback_id"]
    kept[0]["preferred_output"][0]["content"] = "better still"
    digest = await trained(world, 1, await brought(world, kept))
    later = await trained(world, 2, await world.add_file(b"{}\n", "dpo"), start=digest)
    for id_ in given:
        found = await used_by(world, id_, world.user)
        assert [use.id for use in found.datasets] == [dataset.id]
        learned = [(use.digest, use.learned, use.inherited) for use in found.adapters]
        expected = [(digest, True, False), (later, True, True)] if id_ in given_in(kept) else []
        assert learned == expected
        assert [use.number for use in found.releases] == [1, 2][: len(expected)]
    assert dropped not in given_in(kept)
    async with world.database.reading() as session:
        onward = await lineage.of_dataset(session, dataset.id, after=None, limit=100)
    assert [use.id for use in onward.jobs] == ["ftjob-1", "ftjob-2"]


async def test_an_adapter_leads_back_to_the_feedback_and_people_of_a_changed_file(world: World):
    await world.correct(range(8), world.user)
    await world.correct(range(8, 12), world.admin)
    dataset = await world.freeze("dpo")
    kept = (await frozen_rows(world, dataset.training_file))[1:]
    file = await brought(world, kept)
    back = await made_of(world, await trained(world, 1, file))
    assert ([use.file for use in back.jobs], back.datasets) == ([file], [])
    assert back.feedback == given_in(kept)
    people = {use.person: use.rows for use in back.people}
    expected = {who: [row["tailorbird"]["person"] for row in kept].count(who) for who in people}
    assert people == expected
    assert set(people) == {pseudonym(one.user_id) for one in (world.user, world.admin)}


async def test_a_person_is_told_that_a_release_learned_from_a_changed_file(world: World):
    await world.correct(range(6), world.user)
    dataset = await world.freeze("dpo")
    kept = (await frozen_rows(world, dataset.training_file))[1:]
    await trained(world, 1, await brought(world, kept))
    async with world.database.reading() as session:
        found = await learnt(session, world.user, limit=20)
    assert sorted(one.feedback_id for one in found.learnt) == given_in(kept)
    assert {one.release for one in found.learnt} == {1}


async def test_what_was_found_on_the_feedback_holds_for_a_file_as_long_as_half_of_its_rows_are_of_it(
    world: World,
):
    await world.correct(range(24), world.user, output=lambda _: "no")
    dataset = await world.freeze("dpo")
    rows = await frozen_rows(world, dataset.training_file)
    elsewhere = [{name: value for name, value in row.items() if name != "tailorbird"} for row in rows]
    assert Signal.model_validate(dataset.signal).verdict == "bad"
    for kept, others, known in (
        (rows[1:], [], True), (rows[1:], elsewhere[1:], True), (rows[1:], elsewhere, False), ([], elsewhere, False),
    ):  # fmt: skip
        found = await signal_of(world, await brought(world, [*kept, *others]))
        assert (found is not None and found.verdict == "bad") == known


async def test_only_feedback_on_record_counts_and_the_bytes_of_a_dataset_are_known_without(world: World):
    await world.correct(range(6), world.user)
    dataset = await world.freeze("dpo")
    rows = await frozen_rows(world, dataset.training_file)
    assert await recorded(world, await brought(world, [*rows[1:], rows[1]])) == given_in(rows[1:])
    invented = [row | {"tailorbird": row["tailorbird"] | {"feedback_id": "fb_nobody"}} for row in rows]
    assert await recorded(world, await brought(world, invented)) == []
    async with world.database.reading() as session:
        frozen = await session.get_one(tables.File, dataset.training_file)
    same = await world.add_file(await asyncio.to_thread(world.store.file(frozen.sha256).read_bytes), "dpo")
    async with world.database.writing() as session:
        await origins.keep(session, same, await origins.told_by(world.store.file(frozen.sha256), "dpo"))
    assert await recorded(world, same) == []
    assert await signal_of(world, same) is not None
