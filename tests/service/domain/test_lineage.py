import pytest

from service.contract.lineage import Lineage
from service.db import tables
from service.domain import lineage, releases
from service.domain.identity import pseudonym
from service.domain.keys import Caller
from service.errors import NotFound
from tests.service.domain.conftest import World


async def trained(world: World, number: int, file: str, start: str | None = None) -> str:
    """An adapter that a job made of a file, offered as a release; its digest."""
    digest = f"{number:064x}"
    async with world.database.writing() as session:
        job = tables.Job(
            id=f"ftjob-{number}", kind="dpo", status="succeeded", user_id=world.admin.user_id, request={}, settings={},
            model="desk", training_file=file, adapter=digest, start_adapter=start, attempts=1, cancel_requested=False,
            created_at=number,
        )  # fmt: skip
        session.add(job)
        await session.flush()
        session.add(
            tables.Adapter(
                digest=digest, model=f"ft:{number}", job_id=job.id, user_id=world.admin.user_id, manifest={}, proof={},
                report={}, bytes=1, created_at=number, deleted_at=None,
            )
        )  # fmt: skip
        await session.flush()
        await releases.offer(session, "desk", digest, job.id)
    return digest


async def used_by(world: World, feedback_id: str, caller: Caller) -> Lineage:
    async with world.database.reading() as session:
        return await lineage.of_feedback(session, caller, feedback_id)


async def test_feedback_leads_to_every_dataset_job_adapter_and_release_that_used_it(world: World):
    given = await world.correct(range(6), world.user)
    dataset = await world.freeze("dpo")
    one = await trained(world, 1, dataset.training_file)
    two = await trained(world, 2, await world.add_file(b"{}\n", "sft"), start=one)
    aside = await trained(world, 3, await world.add_file(b"{}\n{}\n", "sft"))
    found = {id_: await used_by(world, id_, world.user) for id_ in given}
    learned = [one for one in found.values() if one.people[0].rows]
    assert len(learned) == dataset.rows
    for one_found in learned:
        assert [use.id for use in one_found.datasets] == [dataset.id]
        assert [use.id for use in one_found.jobs] == ["ftjob-1", "ftjob-2"]
        assert [(use.digest, use.learned, use.inherited) for use in one_found.adapters] == [
            (one, True, False), (two, True, True),
        ]  # fmt: skip
        assert [use.number for use in one_found.releases] == [1, 2]
        assert aside not in {use.digest for use in one_found.adapters}
    held_out = [one for one in found.values() if not one.people[0].rows]
    assert [use.learned for one in held_out for use in one.adapters] == [False, False] * dataset.held_out


async def test_a_release_leads_back_to_the_people_and_feedback_it_was_made_of(world: World):
    given = await world.correct(range(5), world.user)
    first = await world.freeze("dpo")
    one = await trained(world, 1, first.training_file)
    given += await world.correct(range(5, 9), world.user)
    second = await world.freeze("dpo")
    two = await trained(world, 2, second.training_file, start=one)
    async with world.database.reading() as session:
        release = (await releases.list_releases(session, "desk"))[0]
        found = await lineage.of_release(session, release.id, after=None, limit=100)
        page = await lineage.of_adapter(session, two, after=None, limit=4)
        rest = await lineage.of_adapter(session, two, after=page.feedback[-1], limit=100)
    assert {use.id for use in found.datasets} == {first.id, second.id}
    assert [(use.digest, use.inherited) for use in found.adapters] == [(one, True), (two, False)]
    assert [use.person for use in found.people] == [pseudonym(world.user.user_id)]
    assert sorted(found.feedback) == sorted(given)
    assert (page.more, rest.more) == (True, False)
    assert page.feedback + rest.feedback == found.feedback


async def test_what_was_learned_from_an_uploaded_file_names_the_file(world: World):
    file = await world.add_file(b"{}\n", "sft")
    digest = await trained(world, 1, file)
    async with world.database.reading() as session:
        found = await lineage.of_adapter(session, digest, after=None, limit=100)
    assert ([use.file for use in found.jobs], found.datasets, found.people) == ([file], [], [])


async def test_a_checkpoint_and_what_was_trained_from_it_are_told_of_both_ways(world: World):
    given = await world.correct(range(6), world.user)
    dataset = await world.freeze("dpo")
    one, checkpoint = await trained(world, 1, dataset.training_file), "c" * 64
    async with world.database.writing() as session:
        session.add(
            tables.Adapter(
                digest=checkpoint, model="ft:1:ckpt-step-8", job_id="ftjob-1", user_id=world.admin.user_id,
                manifest={"step": 8, "cases": 3, "cases_sha256": "ca"}, proof={}, report={}, bytes=1, created_at=0,
                deleted_at=None,
            )
        )  # fmt: skip
    later = await trained(world, 2, await world.add_file(b"{}\n", "sft"), start=checkpoint)
    found = [await used_by(world, id_, world.user) for id_ in given]
    for one_found in found:
        assert [(use.digest, use.inherited) for use in one_found.adapters] == [
            (checkpoint, False), (one, False), (later, True),
        ]  # fmt: skip
    async with world.database.reading() as session:
        back = await lineage.of_adapter(session, checkpoint, after=None, limit=100)
        further = await lineage.of_adapter(session, later, after=None, limit=100)
    assert [use.id for use in back.datasets] == [use.id for use in further.datasets] == [dataset.id]
    assert [use.digest for use in back.adapters] == [checkpoint]
    assert [(use.digest, use.inherited) for use in further.adapters] == [(checkpoint, True), (later, False)]
    held_against = [(use.cases, use.cases_sha256) for use in further.adapters]
    assert held_against == [(3, "ca"), (0, None)], "a manifest of before says nothing of it"


async def test_anothers_feedback_is_not_found_unless_one_is_a_reviewer(world: World):
    (given,) = await world.correct(range(1), world.user)
    other = Caller("user_other", "Otto", "user", "key", "api")
    with pytest.raises(NotFound):
        await used_by(world, given, other)
    assert (await used_by(world, given, world.admin)).feedback == [given]
