import pytest
from sqlalchemy import select

from service.contract.releases import Promotion
from service.db import tables
from service.domain import assistants, chat, gates, models, releases, timeline
from service.domain.identity import now
from service.domain.keys import Caller
from service.errors import Conflict, NotAllowed, NotFound
from tests.service.domain.conftest import World

REASON = "the customer waits for it"


async def offer(world: World, number: int) -> str:
    """A candidate release over a published adapter."""
    digest = f"{number:064x}"
    async with world.database.writing() as session:
        job = tables.Job(
            id=f"ftjob-{number}", kind="sft", status="succeeded", user_id=world.admin.user_id, request={}, settings={},
            model="base", attempts=1, cancel_requested=False, created_at=number,
        )  # fmt: skip
        session.add(job)
        await session.flush()
        session.add(
            tables.Adapter(
                digest=digest, model=f"ft:base:{number}", job_id=job.id, user_id=world.admin.user_id, manifest={},
                proof={}, report={}, bytes=1, created_at=number, deleted_at=None,
            )
        )  # fmt: skip
        await session.flush()
        return (await releases.offer(session, "desk", digest, job.id)).id


async def evaluate(world: World, release: str, verdict: str, against: str | None = None) -> None:
    """`against` is what was live then, as evaluations call it: `desk@1`."""
    async with world.database.writing() as session:
        row = await releases.get_release(session, release)
        held = {"live": against} if against else {}
        report = {
            "cases": 1, "languages": {"en": 1}, "contestants": held, "primary": "chrf", "scores": [], "differences": [],
            "gate": {"verdict": verdict, "reasons": ["It is 3 points worse."]}, "seconds": 1,
        }  # fmt: skip
        evaluation = tables.Evaluation(
            id=f"eval-{release}", job_id=row.job_id or "", assistant="desk", release_id=release,
            cases_file=await _a_file(session), report=report, created_at=1, finished_at=2,
        )  # fmt: skip
        await session.merge(evaluation)
        row.evaluation_id = evaluation.id


async def _a_file(session) -> str:
    return (await session.scalars(select(tables.File.id))).first()


async def promote(world: World, release: str, reason: str | None = None) -> None:
    async with world.database.writing() as session:
        await releases.promote(session, world.admin, release, Promotion(override_reason=reason))


async def live(world: World) -> chat.Route:
    async with world.database.reading() as session:
        return await chat.resolve(session, "desk", base_name="base")


async def test_a_release_that_passed_goes_live_and_one_that_is_held_needs_a_reason(world: World):
    await world.add_file(b"{}\n", "cases")
    good, held = await offer(world, 1), await offer(world, 2)
    await evaluate(world, good, "pass")
    await evaluate(world, held, "hold")
    await promote(world, good)
    assert (await live(world)).release == "desk@1"
    with pytest.raises(Conflict, match="3 points worse"):
        await promote(world, held)
    assert (await live(world)).release == "desk@1"
    await promote(world, held, REASON)
    assert (await live(world)).release == "desk@2"
    async with world.database.reading() as session:
        shown = await releases.shown(session, await releases.get_release(session, held))
        retired = await releases.shown(session, await releases.get_release(session, good))
    assert (shown.state, shown.promoted_by, shown.override_reason) == ("live", "Ada", REASON)
    assert retired.state == "retired"


async def test_a_pass_is_none_any_more_once_another_release_answers_than_the_one_it_was_held_against(
    world: World,
):
    await world.add_file(b"{}\n", "cases")
    first, second, third = [await offer(world, number) for number in (1, 2, 3)]
    await promote(world, first, REASON)
    await evaluate(world, second, "pass", against="desk@1")
    await evaluate(world, third, "pass", against="desk@1")
    await promote(world, third)
    with pytest.raises(
        Conflict, match="held. It passed, but not against what answers now. Evaluate it again"
    ):
        await promote(world, second)
    async with world.database.reading() as session:
        verdicts = [
            (await releases.shown(session, await releases.get_release(session, one))).gate
            for one in (second, third)
        ]
    assert [gate and gate.verdict for gate in verdicts] == ["hold", "pass"]
    await evaluate(world, second, "pass", against="desk@3")
    async with world.database.writing() as session:
        (await assistants.get_assistant(session, "desk")).live_release_id = None
    with pytest.raises(Conflict, match="not against what answers now"):
        await promote(world, second)  # nothing is live: it would have to be better than the base model
    async with world.database.writing() as session:
        (await assistants.get_assistant(session, "desk")).live_release_id = third
    await promote(world, second)
    assert (await live(world)).release == "desk@2"


async def test_a_pass_on_other_questions_than_the_assistants_is_none(world: World):
    await world.add_file(b"{}\n", "cases")
    release = await offer(world, 1)
    await evaluate(world, release, "pass")
    for others, held in ((b"{}\n", False), (b'{"question": "Where?"}\n', True)):
        file = await world.add_file(others, "cases")
        async with world.database.writing() as session:
            assistant = await assistants.get_assistant(session, "desk")
            assistant.cases_file = file
            gate = await gates.gate_of(session, await releases.get_release(session, release), assistant)
        assert gate is not None
        assert gates.is_outdated(gate) is held, "the same questions in another file are the same"
    with pytest.raises(Conflict, match="other questions than the assistant has now"):
        await promote(world, release)


async def test_a_release_never_evaluated_is_held(world: World):
    release = await offer(world, 1)
    with pytest.raises(Conflict, match="not evaluated"):
        await promote(world, release)


async def test_rolling_back_goes_to_what_was_live_before_and_then_to_the_base(world: World):
    one, two = await offer(world, 1), await offer(world, 2)
    await promote(world, one, REASON)
    await promote(world, two, REASON)
    for expected in ("desk@1", "desk@base"):
        async with world.database.writing() as session:
            await releases.roll_back(session, world.admin, "desk", "it was worse")
        assert (await live(world)).release == expected
    async with world.database.writing() as session:
        with pytest.raises(Conflict):
            await releases.roll_back(session, world.admin, "desk", "again")
        told, _ = await timeline.timeline(session, "desk", after=None, limit=4)
    assert [(one.from_release, one.release) for one in told] == [(1, None), (2, 1), (1, 2), (None, 1)]
    assert [one.what for one in told] == ["rollback", "rollback", "promotion", "promotion"]
    assert (told[0].reason, told[0].by) == ("it was worse", "Ada")


async def test_two_who_roll_the_same_release_back_go_back_once(world: World):
    one, two = await offer(world, 1), await offer(world, 2)
    await promote(world, one, REASON)
    await promote(world, two, REASON)
    async with world.database.writing() as session:
        await releases.roll_back(session, world.admin, "desk", REASON, two)
        with pytest.raises(Conflict) as refused:
            await releases.roll_back(session, world.admin, "desk", REASON, two)
    assert refused.value.code == "other_is_live"
    assert (await live(world)).release == "desk@1"


async def test_a_release_can_be_asked_by_number_and_zero_is_the_base(world: World):
    await offer(world, 1)
    async with world.database.reading() as session:
        one = await chat.resolve(session, "desk@1", base_name="base")
        zero = await chat.resolve(session, "desk@0", base_name="base")
        tuned = await chat.resolve(session, "ft:base:1", base_name="base")
        with pytest.raises(NotFound):
            await chat.resolve(session, "desk@2", base_name="base")
    assert (one.engine_model, zero.engine_model, tuned.engine_model) == (f"{1:064x}", "base", f"{1:064x}")


async def test_a_model_that_is_live_or_at_work_is_not_deleted(world: World):
    release = await offer(world, 1)
    await promote(world, release, REASON)
    with pytest.raises(Conflict, match="answers as 'desk'"):
        await delete(world, 1)
    async with world.database.writing() as session:
        await releases.roll_back(session, world.admin, "desk", REASON)
        session.add(
            tables.Job(
                id="ftjob-next", kind="sft", status="running", user_id=world.user.user_id, request={}, settings={},
                model="ft:base:1", start_adapter=f"{1:064x}", attempts=1, cancel_requested=False, created_at=9,
            )
        )  # fmt: skip
    with pytest.raises(Conflict, match="ftjob-next"):
        await delete(world, 1)


async def test_a_model_is_not_deleted_while_its_assistant_is_measured(world: World):
    await offer(world, 1)
    async with world.database.writing() as session:
        session.add(
            tables.Job(
                id="evaljob-1", kind="evaluation", status="queued", user_id=world.user.user_id, request={},
                settings={}, model="desk@1", assistant="desk", attempts=0, cancel_requested=False, created_at=9,
            )
        )  # fmt: skip
    with pytest.raises(Conflict, match="evaljob-1"):
        await delete(world, 1)


async def test_a_deleted_model_answers_under_none_of_its_names_and_its_release_goes_live_no_more(
    world: World,
):
    first, second = await offer(world, 1), await offer(world, 2)
    await promote(world, first, REASON)
    await promote(world, second, REASON)
    await delete(world, 1)
    async with world.database.writing() as session:
        for name in ("ft:base:1", "desk@1"):
            with pytest.raises(NotFound):
                await chat.resolve(session, name, base_name="base")
        with pytest.raises(Conflict, match="was deleted"):
            await releases.roll_back(session, world.admin, "desk", REASON)
        assert [a.digest for a in await releases.list_adapters(session)] == [f"{2:064x}"]
        assert (await releases.get_release(session, first)).number == 1, "what was released stays told"
    with pytest.raises(Conflict, match="was deleted"):
        await promote(world, first, REASON)
    assert (await live(world)).release_number == 2


async def test_only_its_maker_or_an_administrator_deletes_a_model(world: World):
    await offer(world, 1)
    with pytest.raises(NotAllowed):
        await delete(world, 1, world.user)
    for name in ("desk", "base"):
        with pytest.raises(NotAllowed, match="no tuned model"):
            async with world.database.writing() as session:
                await models.delete_model(session, world.admin, name, base_name="base")
    await delete(world, 1)
    with pytest.raises(NotFound):
        await delete(world, 1)


async def test_the_engine_is_told_of_a_deleted_model_only_after_a_while(world: World):
    await offer(world, 1)
    await delete(world, 1)
    async with world.database.reading() as session:
        assert await releases.deleted_adapters(session, before=now() - 60) == set()
        assert await releases.deleted_adapters(session, before=now() + 1) == {f"{1:064x}"}


async def delete(world: World, number: int, caller: Caller | None = None) -> None:
    async with world.database.writing() as session:
        await models.delete_model(session, caller or world.admin, f"ft:base:{number}", base_name="base")
