from collections import Counter

import pytest

from service.contract.duels import DuelCreate, Vote
from service.domain import duels
from service.domain.duels import drawn
from service.errors import BadInput, Conflict
from tests.service.domain.conftest import World

SEEDS = [f"{number:032x}" for number in range(400)]


def test_a_draw_can_be_made_again_from_its_seed():
    draws = [drawn(seed, [0, 1, 2, 3], None) for seed in SEEDS]
    assert draws == [drawn(seed, [0, 1, 2, 3], None) for seed in SEEDS]
    assert len(set(draws)) == len(SEEDS)


def test_every_pairing_and_both_sides_come_up():
    draws = [drawn(seed, [0, 1, 2], None) for seed in SEEDS]
    assert {draw.pairing for draw in draws} == {"releases", "base", "same"}
    sides = Counter(draw.releases for draw in draws if draw.pairing == "releases")
    assert sides.keys() == {(1, 2), (2, 1)}
    # 400 draws of a third and a half: 66 are expected, 35 to 100 is four standard deviations.
    assert all(35 < count < 100 for count in sides.values())


def test_a_pairing_holds_what_it_says():
    for seed in SEEDS[:50]:
        assert 0 not in drawn(seed, [0, 1, 2, 3], "releases").releases
        assert drawn(seed, [0, 1, 2, 3], "base").releases.count(0) == 1
        same = drawn(seed, [0, 1, 2, 3], "same")
        assert same.releases == (3, 3)
        assert same.seeds[0] != same.seeds[1]


def test_the_base_model_alone_is_asked_twice():
    assert {drawn(seed, [0], None).releases for seed in SEEDS[:20]} == {(0, 0)}
    with pytest.raises(BadInput, match="more releases"):
        drawn(SEEDS[0], [0, 1], "releases")


async def test_what_is_drawn_is_written_before_anybody_is_asked_and_asked_as_written(world: World):
    async with world.database.writing() as session:
        row = await duels.begin(session, world.user, DuelCreate(assistant="desk", question=" which? "))
        first, second = await duels.requests(session, row)
    assert (row.status, row.a_completion_id, row.contestants) == ("writing", None, [0])
    assert (first.model, second.model) == ("desk@0", "desk@0")
    assert [one.messages[0].text() for one in (first, second)] == ["which?", "which?"]
    assert first.seed != second.seed
    assert first.temperature == second.temperature == duels.LIVELY


async def test_what_a_killed_process_was_writing_will_never_be_complete(world: World):
    async with world.database.writing() as session:
        row = await duels.begin(session, world.user, DuelCreate(assistant="desk", question="which?"))
    async with world.database.writing() as session:
        await duels.end_abandoned(session)
    with pytest.raises(Conflict, match="never completed"):
        async with world.database.writing() as session:
            await duels.vote(session, world.user, row.id, Vote(choice="a"))
