"""A trial of a release with some of the people: who is answered by it, who may begin one, what is told of it."""

import time
from dataclasses import replace

import pytest
from pydantic import ValidationError

from service.contract.feedback import FeedbackCreate
from service.contract.releases import Promotion, Rollback, Staging
from service.domain import chat, feedback, models, releases, staging, timeline
from service.errors import Conflict, NotFound
from tests.service.domain.conftest import World
from tests.service.domain.test_releases import REASON, offer, promote

PEOPLE = [f"user_{number}:" for number in range(1000)]


async def stage(world: World, release: str, share: int, reason: str | None = REASON):
    async with world.database.writing() as session:
        wanted = Staging(share=share, override_reason=reason)
        return await staging.stage(session, world.admin, release, wanted)


async def answered_by(world: World, person: str = "") -> str:
    async with world.database.reading() as session:
        return (await chat.resolve(session, "desk", base_name="base")).of(person).release


async def told(world: World):
    async with world.database.reading() as session:
        return await staging.trial(session, "desk")


@pytest.fixture
async def two(world: World) -> tuple[str, str]:
    """Release 1 is live, release 2 waits."""
    first, second = await offer(world, 1), await offer(world, 2)
    await promote(world, first, REASON)
    return first, second


async def test_a_share_of_the_people_is_answered_by_it_always_the_same_and_more_of_them_as_it_grows(
    world, two
):
    _, second = two
    await stage(world, second, 10)
    async with world.database.reading() as session:
        ten = await chat.resolve(session, "desk", base_name="base")
    await stage(world, second, 50)
    async with world.database.reading() as session:
        fifty = await chat.resolve(session, "desk", base_name="base")
    of_ten = {person for person in PEOPLE if ten.of(person).release == "desk@2"}
    of_fifty = {person for person in PEOPLE if fifty.of(person).release == "desk@2"}
    assert 70 <= len(of_ten) <= 130
    assert 440 <= len(of_fifty) <= 560
    assert of_ten < of_fifty
    assert {ten.of(person).release for person in PEOPLE} == {"desk@1", "desk@2"}


async def test_other_people_try_another_release_first(world, two):
    first, second = two
    async with world.database.reading() as session:
        route = await chat.resolve(session, "desk@1", base_name="base")
    trials = [replace(route, share=10, staged=replace(route, release_id=one)) for one in (first, second)]
    chosen = [{p for p in PEOPLE if trial.of(p) is trial.staged} for trial in trials]
    assert len(chosen[0] & chosen[1]) < 40


async def test_a_release_named_by_its_number_is_never_exchanged(world, two):
    await stage(world, two[1], 99)
    async with world.database.reading() as session:
        route = await chat.resolve(session, "desk@1", base_name="base")
    assert {route.of(person).release for person in PEOPLE} == {"desk@1"}


async def test_a_held_release_needs_a_reason_as_it_does_to_go_live(world, two):
    with pytest.raises(Conflict, match="not evaluated"):
        await stage(world, two[1], 10, reason=None)
    await stage(world, two[1], 10)
    await stage(world, two[1], 20, reason=None)
    assert (await told(world)).share == 20


async def test_one_release_is_on_trial_at_a_time_and_never_the_live_one(world, two):
    first, second = two
    third = await offer(world, 3)
    with pytest.raises(Conflict, match="is live"):
        await stage(world, first, 10)
    with pytest.raises(Conflict, match="not on trial"):
        await stage(world, second, 0)
    await stage(world, second, 10)
    with pytest.raises(Conflict, match="Release 2 of 'desk' is on trial"):
        await stage(world, third, 10)
    with pytest.raises(ValidationError):
        Staging(share=100)


@pytest.mark.parametrize("end", ["share of nothing", "promotion", "rollback"])
async def test_a_trial_ends_by_its_share_and_with_every_move_of_the_live_release(world, two, end):
    first, second = two
    third = await offer(world, 3)
    await stage(world, second, 99)
    if end == "share of nothing":
        await stage(world, second, 0)
    elif end == "promotion":
        await promote(world, third, REASON)
    else:
        async with world.database.writing() as session:
            await releases.roll_back(session, world.admin, "desk", Rollback(reason="worse").reason)
    assert "desk@2" not in {await answered_by(world, person) for person in PEOPLE[:20]}
    with pytest.raises(NotFound):
        await told(world)
    async with world.database.reading() as session:
        shown = await releases.shown(session, await releases.get_release(session, second))
    assert shown.state == "candidate"


async def test_the_release_on_trial_can_be_promoted_and_the_history_tells_every_step(world, two):
    _, second = two
    await stage(world, second, 10)
    async with world.database.reading() as session:
        assert (await releases.shown(session, await releases.get_release(session, second))).state == "staged"
    await promote(world, second, REASON)
    async with world.database.reading() as session:
        told, _ = await timeline.timeline(session, "desk", after=None, limit=3)
    steps = [(one.what, one.from_release, one.release, one.share) for one in told]
    assert steps == [("promotion", 1, 2, None), ("staging", None, 2, 10), ("promotion", None, 1, None)]
    assert {await answered_by(world, person) for person in PEOPLE[:20]} == {"desk@2"}


async def test_a_model_on_trial_cannot_be_deleted(world, two):
    await stage(world, two[1], 10)
    with pytest.raises(Conflict, match="end its trial"):
        async with world.database.writing() as session:
            await models.delete_model(session, world.admin, "ft:base:2", base_name="base")


async def test_what_people_thought_of_both_is_told_since_the_trial_began(world, two):
    first, second = two
    now = time.time()
    await world.answer(1, release_id=first, release_number=1, created_at=now - 100)
    await stage(world, second, 10)
    for number, release in ((2, first), (3, second), (4, second)):
        await world.answer(number, release_id=release, created_at=now + 1)
    async with world.database.writing() as session:
        for completion, wanted in (
            ("chatcmpl-1", {"type": "rating", "rating": 1}),
            ("chatcmpl-2", {"type": "rating", "rating": -1}),
            ("chatcmpl-3", {"type": "rating", "rating": -1}),
            ("chatcmpl-3", {"type": "rating", "rating": 1}),
            ("chatcmpl-4", {"type": "correction", "correction": "better"}),
        ):
            given = FeedbackCreate.model_validate({"completion_id": completion, **wanted})
            await feedback.give(session, world.user, given)
    found = await told(world)
    assert (found.staged.answers, found.staged.up, found.staged.down, found.staged.corrected) == (2, 1, 0, 1)
    assert (found.live.answers, found.live.up, found.live.down, found.live.people) == (1, 0, 1, 1)
    async with world.database.writing() as session:
        await releases.promote(session, world.admin, second, Promotion(override_reason=REASON))
