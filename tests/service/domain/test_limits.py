import asyncio

import pytest
from sqlalchemy import select

from service.contract.limits import UNLIMITED, Limits
from service.db import tables
from service.domain import keys, limits
from service.domain.endings import Ending
from service.domain.limits import Reservation
from service.errors import LimitReached, QuotaSpent, TooMany
from tests.service.domain.conftest import World

NOON = 20_000 * 86_400.0 + 43_200
MESSAGES = {"messages": [{"role": "user", "content": "hello"}]}


async def reserve(
    world: World, tokens: int = 10, at: float = NOON, *, budget: str = "b", **given: int
) -> Reservation:
    async with world.database.writing() as session:
        held, _ = await limits.reserve(session, budget, Limits(**given), prompt=1, tokens=tokens, at=at)
    return held


async def settle(world: World, held: Reservation, used: int | None) -> None:
    async with world.database.writing() as session:
        await limits.settle(session, held, used)


async def spent(world: World, budget: str = "b") -> tuple[int, int]:
    async with world.database.reading() as session:
        day = await session.scalar(select(tables.Spending).where(tables.Spending.budget_id == budget))
    return (day.requests, day.tokens) if day else (0, 0)


async def held_open(world: World) -> int:
    async with world.database.reading() as session:
        return len(list(await session.scalars(select(tables.Reservation).where(tables.Reservation.open))))


async def refused(world: World, tokens: int = 10, at: float = NOON, **given: int) -> TooMany:
    with pytest.raises(TooMany) as caught:
        await reserve(world, tokens, at, **given)
    return caught.value


@pytest.mark.heavy
@pytest.mark.parametrize(
    "given", [{"requests_per_minute": 10}, {"tokens_per_minute": 109}, {"tokens_per_day": 100}]
)
async def test_of_a_hundred_at_once_exactly_as_many_pass_as_there_is_room_for(world: World, given):
    answers = await asyncio.gather(*(reserve(world, 10, **given) for _ in range(100)), return_exceptions=True)
    assert [type(answer) for answer in answers].count(Reservation) == 10
    assert all(isinstance(answer, Reservation | TooMany) for answer in answers)
    assert await spent(world) == (10, 100)


async def test_a_minute_is_the_last_sixty_seconds_and_the_refusal_says_when_there_is_room(world: World):
    for second in (0, 10, 20):
        await reserve(world, at=NOON + second, requests_per_minute=3)
    error = await refused(world, at=NOON + 30, requests_per_minute=3)
    assert isinstance(error, LimitReached)
    assert (error.kind, error.code, error.retry_after) == ("requests", "rate_limit_exceeded", 30)
    await refused(world, at=NOON + 59.9, requests_per_minute=3)
    await reserve(world, at=NOON + 60, requests_per_minute=3)
    await refused(world, at=NOON + 60, requests_per_minute=3)


async def test_a_clock_that_is_set_back_holds_nobody_for_longer_than_before(world: World):
    await settle(world, await reserve(world, requests_per_minute=1), 10)
    before = NOON - 3_600
    await settle(world, await reserve(world, at=before, requests_per_minute=1), 10)
    assert (await refused(world, at=before, requests_per_minute=1)).retry_after == 60
    a_little = await refused(world, at=before - 20, requests_per_minute=1)
    assert a_little.retry_after == 80
    await reserve(world, at=before + 60, requests_per_minute=1)


async def test_tokens_have_room_when_enough_of_them_have_left_the_window(world: World):
    await reserve(world, 10, at=NOON, tokens_per_minute=100)
    await reserve(world, 80, at=NOON + 20, tokens_per_minute=100)
    assert (await refused(world, 20, at=NOON + 30, tokens_per_minute=100)).retry_after == 30
    assert (await refused(world, 30, at=NOON + 30, tokens_per_minute=100)).retry_after == 50
    await reserve(world, 20, at=NOON + 60, tokens_per_minute=100)


async def test_the_days_budget_is_full_again_at_midnight(world: World):
    await reserve(world, 90, tokens_per_day=100)
    error = await refused(world, 20, at=NOON + 3600, tokens_per_day=100)
    assert isinstance(error, QuotaSpent)
    assert (error.kind, error.code, error.final) == ("insufficient_quota", "insufficient_quota", True)
    assert error.retry_after == 11 * 3600
    await reserve(world, 20, at=NOON + 12 * 3600, tokens_per_day=100)


async def test_a_request_larger_than_the_limit_is_told_so_and_not_asked_to_wait(world: World):
    error = await refused(world, 200, tokens_per_minute=100)
    assert (error.retry_after, error.final) == (None, True)
    assert "max_tokens" in error.message


async def test_settling_gives_back_what_was_not_used_once(world: World):
    held = await reserve(world, 100, tokens_per_minute=100)
    await refused(world, 1, tokens_per_minute=100)
    await settle(world, held, 30)
    await settle(world, held, 0)
    assert await spent(world) == (1, 30)
    await reserve(world, 70, tokens_per_minute=100)
    await refused(world, 1, tokens_per_minute=100)


async def test_what_the_engine_refused_costs_nothing_not_even_the_request(world: World):
    held = await reserve(world, requests_per_minute=1)
    await settle(world, held, None)
    await settle(world, held, None)
    assert await spent(world) == (0, 0)
    await reserve(world, requests_per_minute=1)


async def test_an_answer_that_took_more_than_was_thought_is_counted_in_full(world: World):
    await settle(world, await reserve(world, 10, tokens_per_day=100), 95)
    await refused(world, 10, tokens_per_day=100)


async def test_a_refusal_takes_nothing(world: World):
    await reserve(world, 10, requests_per_minute=1)
    for _ in range(3):
        await refused(world, 10, requests_per_minute=1)
    assert await spent(world) == (1, 10)


async def test_budgets_do_not_touch_each_other(world: World):
    await reserve(world, budget="one", requests_per_minute=1)
    await reserve(world, budget="two", requests_per_minute=1)


async def test_what_a_killed_gateway_held_is_given_back_at_the_next_start(world: World):
    await settle(world, await reserve(world, 10, tokens_per_day=100), 10)
    for _ in range(2):
        await reserve(world, 40, tokens_per_day=100)
    async with world.database.writing() as session:
        assert await limits.end_abandoned(session) == 2
        assert await limits.end_abandoned(session) == 0
    assert await spent(world) == (1, 10)
    assert await held_open(world) == 0


async def test_what_nobody_settles_is_forgotten_after_a_day_and_leaves_its_minute_by_itself(world: World):
    held = await reserve(world, 100, tokens_per_minute=100)
    await reserve(world, 100, at=NOON + 61, tokens_per_minute=100)
    assert await held_open(world) == 2
    await reserve(world, 100, at=NOON + 86_461, tokens_per_minute=100)
    assert await held_open(world) == 1
    await settle(world, held, 5)


async def test_settled_rows_do_not_pile_up(world: World):
    for second in range(0, 300, 30):
        await settle(world, await reserve(world, at=NOON + second, requests_per_minute=5), 1)
    async with world.database.reading() as session:
        assert len(list(await session.scalars(select(tables.Reservation)))) <= 2


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"max_tokens": 10}, None),
        ({"max_tokens": 10, "n": 3}, None),
        ({"max_completion_tokens": 10, "max_tokens": 99}, None),
        ({}, 1000),
        ({"n": 2}, None),
        ({"max_tokens": 5000}, 1000),
        ({"messages": [{"role": "user", "content": "é" * 5000}], "max_tokens": 1, "n": 2}, 1002),
        ({"prompt": ["a", "b"], "max_tokens": 5000, "n": 2}, 4000),
        ({"prompt": [1, 2, 3], "max_tokens": 5000}, 1000),
    ],
)
def test_an_estimate_is_never_less_than_what_a_request_can_take(body, tokens):
    body = MESSAGES | body
    prompt, most = limits.estimate(body, 1000)
    assert prompt >= len(b"hello")
    if tokens is not None:
        assert most == tokens
    elif "n" in body and "max_tokens" not in body:
        assert most == prompt + 2000 if prompt + 2000 < 2000 else most == 2000
    else:
        assert most == prompt + 10 * body.get("n", 1)


@pytest.mark.parametrize(
    ("ending", "streamed", "used"),
    [
        (Ending(status="complete", usage={"prompt_tokens": 3, "completion_tokens": 4}), True, 7),
        (Ending(status="interrupted", usage={"prompt_tokens": 3, "completion_tokens": 1}), True, 4),
        (Ending(status="failed", usage={"prompt_tokens": 3, "completion_tokens": 1}), True, 4),
        (Ending(status="complete"), False, 100),
        (Ending(status="failed"), False, None),
        (Ending(status="failed", choices={0: {"index": 0}}), True, 100),
        (Ending(status="interrupted"), True, 20),
        (Ending(status="interrupted"), False, 100),
    ],
)
def test_what_is_unknown_counts_as_reserved_and_what_was_refused_as_nothing(ending, streamed, used):
    held = Reservation("r", "b", 1, prompt=20, tokens=100)
    assert limits.used(held, ending, streamed=streamed) == used


def test_a_keys_own_limit_stands_before_the_houses_and_zero_lifts_it():
    house = Limits(requests_per_minute=60, tokens_per_day=1000)
    assert Limits().over(house) == house
    assert Limits(requests_per_minute=5).over(house) == Limits(requests_per_minute=5, tokens_per_day=1000)
    assert Limits(requests_per_minute=100).over(house).requests_per_minute == 100
    assert UNLIMITED.over(house).none


async def caller_with(world: World, secret: str) -> keys.Caller:
    async with world.database.reading() as session:
        return await keys.find_caller(session, world.hasher, secret)


async def test_a_session_opened_with_a_key_spends_the_keys_budget(world: World):
    async with world.database.writing() as session:
        key, secret = await keys.create_key(
            session, world.hasher, user_id=world.user.user_id, kind="api", name="app"
        )
        await limits.set_limits(session, key, Limits(requests_per_minute=1))
        _, _, token = await keys.sign_in(session, world.hasher, link=None, key=secret)
    opened = await caller_with(world, token)
    assert (opened.budget_id, opened.limits.requests_per_minute) == (key.id, 1)
    assert opened.key_id != key.id


async def test_a_limit_outlives_the_key_it_was_given_to(world: World):
    async with world.database.writing() as session:
        key, _ = await keys.create_key(
            session, world.hasher, user_id=world.user.user_id, kind="api", name="a"
        )
        _, second = await keys.create_key(
            session, world.hasher, user_id=world.user.user_id, kind="api", name="b", budget_id=key.id
        )
        await limits.set_limits(session, key, Limits(tokens_per_day=9))
    async with world.database.writing() as session:
        await keys.end_key(session, world.user, key.id)
    assert (await caller_with(world, second)).limits.tokens_per_day == 9


async def test_a_change_touches_only_the_limits_it_names(world: World):
    async with world.database.writing() as session:
        key, _ = await keys.create_key(
            session, world.hasher, user_id=world.user.user_id, kind="api", name="a"
        )
        await limits.set_limits(session, key, Limits(tokens_per_day=9, requests_per_minute=3))
        changed = await limits.set_limits(session, key, Limits.model_validate({"tokens_per_day": None}))
        assert changed == Limits(requests_per_minute=3)
        assert await limits.limits_of(session, [key]) == [changed]
