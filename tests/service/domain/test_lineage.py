import asyncio
import hashlib
from pathlib import Path

import pytest
from sqlalchemy import select

from service import outcomes
from service.contract import folder
from service.contract.lineage import Lineage
from service.contract.splits import Part, Split, SplitCreate
from service.db import tables
from service.domain import evaluations, files, imports, lineage, releases, splits
from service.domain.identity import pseudonym
from service.domain.keys import Caller
from service.errors import NotFound
from service.settings import Settings
from tests.service.domain.conftest import World


async def trained(
    world: World, number: int, file: str, start: str | None = None, held_out: str | None = None
) -> str:
    """An adapter that a job made of a file, offered as a release; its digest."""
    digest = f"{number:064x}"
    async with world.database.writing() as session:
        job = tables.Job(
            id=f"ftjob-{number}", kind="dpo", status="succeeded", user_id=world.admin.user_id, request={}, settings={},
            model="desk", training_file=file, validation_file=held_out, adapter=digest, start_adapter=start, attempts=1,
            cancel_requested=False, created_at=number,
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


async def uploaded_again(world: World, file_id: str | None) -> str:
    """A file of the same bytes."""
    async with world.database.reading() as session:
        frozen = await files.get_file(session, file_id or "")
    return await world.add_file(await asyncio.to_thread(world.store.file(frozen.sha256).read_bytes), "dpo")


@pytest.mark.parametrize("side", ["training_file", "validation_file"])
async def test_a_frozen_file_that_was_uploaded_again_leads_to_its_dataset_and_tells_what_it_taught(
    world: World, side: str
):
    given = await world.correct(range(12), world.user)
    dataset = await world.freeze("dpo")
    assert dataset.held_out
    digest = await trained(world, 1, await uploaded_again(world, getattr(dataset, side)))
    for found in [await used_by(world, id_, world.user) for id_ in given]:
        taught = bool(found.people[0].rows) == (side == "training_file")
        told = [use.learned for use in (*found.jobs, *found.adapters, *found.releases)]
        assert told == [taught] * 3
    async with world.database.reading() as session:
        back = await lineage.of_adapter(session, digest, after=None, limit=100)
    learned = side == "training_file"
    assert [(use.id, use.learned) for use in back.datasets] == [(dataset.id, learned)]
    assert [(use.datasets, use.file) for use in back.jobs] == [([dataset.id], None)]
    measured = [id_ for id_ in given if not (await used_by(world, id_, world.user)).people[0].rows]
    assert sorted(back.feedback) == sorted(given if learned else measured)
    assert [(one.rows, one.held_out) for one in back.people] == [
        (dataset.rows if learned else 0, dataset.held_out)
    ]


async def test_who_goes_on_from_what_was_learned_has_learned_it_also_where_only_the_held_out_rows_are_the_same(
    world: World,
):
    given = await world.correct(range(12), world.user)
    dataset = await world.freeze("dpo")
    held_out = dataset.validation_file
    one = await trained(world, 1, dataset.training_file, held_out=held_out)
    other = await world.add_file(b"{}\n", "dpo")
    two = await trained(world, 2, other, start=one, held_out=held_out)
    three = await trained(world, 3, other, start=two)
    aside = await trained(world, 4, other, held_out=held_out)
    [taught, *_] = [found for id_ in given if (found := await used_by(world, id_, world.user)).people[0].rows]
    assert [(use.digest, use.learned, use.inherited) for use in taught.adapters] == [
        (one, True, False), (two, True, True), (three, True, True), (aside, False, False)
    ]  # fmt: skip
    assert [(use.id, use.learned) for use in taught.jobs] == [
        ("ftjob-1", True), ("ftjob-2", True), ("ftjob-3", True), ("ftjob-4", False)
    ]  # fmt: skip
    assert [use.learned for use in taught.releases] == [True, True, True, False]


async def test_of_two_datasets_with_the_same_rows_to_learn_from_the_one_that_the_job_was_given_is_told(
    world: World,
):
    await world.correct(range(5), world.user)
    first = await world.freeze("dpo")
    later = {
        "id": "ds_later", "number": first.number + 1, "created_at": first.created_at + 1,
        "training_file": await uploaded_again(world, first.training_file), "validation_file": None,
    }  # fmt: skip
    async with world.database.writing() as session:
        same = {name: getattr(first, name) for name in tables.Dataset.__table__.columns.keys()}
        session.add(tables.Dataset(**(same | later)))
    digest = await trained(world, 1, first.training_file)
    async with world.database.reading() as session:
        back = await lineage.of_adapter(session, digest, after=None, limit=100)
    assert [use.id for use in back.datasets] == [first.id]


async def confirmed_rows(world: World, content: bytes, document: str = "manual.pdf") -> str:
    """A file that an import made of drafts that somebody confirmed; its id."""
    file_id = await world.add_file(content, "sft")
    async with world.database.writing() as session:
        file = await session.get_one(tables.File, file_id)
        made = await imports.create_import(
            session, world.admin, filename="drafts", sha256="5" * 64, size=1, preview=None
        )
        made.file_id, made.report = file_id, {"sheet": {"sha256": file.sha256}}
        session.add(
            tables.DocumentUse(
                import_id=made.id, sha256="d" * 64, user_id=world.user.user_id, filename=document, rows=2, first_at=1,
                last_at=2,
            )
        )  # fmt: skip
    return file_id


async def parted(world: World, file_id: str, lines: bytes) -> tuple[str, str]:
    """The file's two parts: these rows to learn from, and one to measure by."""
    sides = [Part(sha256=world.store.put_bytes(one), rows=1) for one in (lines, b"held out of " + lines)]
    async with world.database.writing() as session:
        file = await session.get_one(tables.File, file_id)
        split = Split(by="question", column=None, training=sides[0], held_out=sides[1], left_out=0)
        made = await splits.record(session, world.admin, file, SplitCreate(), split, [1, 1])
    return made.training_file.id, made.held_out_file.id


async def documents_of(world: World, digest: str) -> list[tuple[str, str, str]]:
    async with world.database.reading() as session:
        found = await lineage.of_adapter(session, digest, after=None, limit=100)
    return [(use.document, use.file, use.confirmed_by) for use in found.documents]


async def test_what_was_parted_from_a_file_of_confirmed_drafts_leads_to_the_document_and_who_confirmed_it(
    world: World,
):
    file = await confirmed_rows(world, b"a\nb\nc\n")
    part, held_out = await parted(world, file, b"a\nb\n")
    smaller, _ = await parted(world, part, b"a\n")
    told = [("manual.pdf", file, pseudonym(world.user.user_id))]
    for number, learned in enumerate((part, held_out, smaller, await uploaded_again(world, part))):
        assert await documents_of(world, await trained(world, number, learned)) == told, number
    async with world.database.writing() as session:
        await files.delete_file(session, world.admin, file)
        assert await files.forget_needless(session) == 1
    assert await documents_of(world, await trained(world, 7, part)) == told
    aside = await world.add_file(b"d\n", "sft")
    assert await documents_of(world, await trained(world, 8, aside)) == []


async def test_drafts_that_were_made_into_the_same_file_twice_are_told_once_of_the_one_that_was_learned_from(
    world: World,
):
    first, second = [await confirmed_rows(world, b"a\n") for _ in range(2)]
    for number, file in enumerate((first, second)):
        told = await documents_of(world, await trained(world, number, file))
        assert [file_id for _, file_id, _ in told] == [file]


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


async def test_trainer_and_evaluation_get_what_was_learned_before_as_far_as_it_is_kept(world: World):
    lines = [b'{"messages": 1}\n', b'{"messages": 2}\n', b'{"messages": 3}\n']
    one, two, three = [await world.add_file(line, "sft") for line in lines]
    cases = await world.add_file(b'{"question": "Question 1", "facts": ["x"]}\n', "cases")
    first = await trained(world, 1, one)
    second = await trained(world, 2, two, first)
    parts = outcomes.Parts(Settings(home=world.store.home), world.store, world.hasher, [])
    job = tables.Job(
        id="ftjob-3", kind="sft", status="running", user_id=world.admin.user_id, request={}, model="desk", created_at=1,
        settings={"n_epochs": 1, "batch_size": 1, "learning_rate": 1e-3}, training_file=three, start_adapter=second,
    )  # fmt: skip
    async with world.database.writing() as session:
        spec, inputs = await outcomes.prepare(session, parts, job)
        assert (spec["learned"], list(inputs)) == (
            [],
            [folder.TRAIN],
        )  # nothing is held out that it could spoil
        job.validation_file = three
        spec, inputs = await outcomes.prepare(session, parts, job)
        assert [Path(inputs[folder.LEARNED.format(number=at)]).read_bytes() for at in range(2)] == [
            lines[1],
            lines[0],
        ]
        assert spec["learned"] == [hashlib.sha256(line).hexdigest() for line in (lines[1], lines[0])]
        [release] = await session.scalars(select(tables.Release).where(tables.Release.adapter == second))
        (await session.get_one(tables.Adapter, second)).manifest = {"base_sha256": "f" * 64}
        measured = await evaluations.create_evaluation(
            session, user_id=world.admin.user_id, release_id=release.id, cases_file=cases
        )
        asked = await session.get_one(tables.Job, measured.job_id)
        world.store.file(hashlib.sha256(lines[0]).hexdigest()).unlink()
        spec, inputs = await outcomes.prepare(session, parts, asked)
    assert spec["learned"] == [hashlib.sha256(lines[1]).hexdigest()]
    assert Path(inputs[folder.LEARNED.format(number=0)]).read_bytes() == lines[1]
