"""What is written to a caller goes out whole, in order, and as few writes as it can."""

import asyncio

import pytest

from service.connection import FULL, _Together


class Transport:
    """What was written to it, a write each."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
async def pair() -> tuple[Transport, _Together]:
    transport = Transport()
    return transport, _Together(transport, asyncio.get_running_loop())


async def test_what_one_turn_of_the_loop_writes_is_one_write(pair: tuple[Transport, _Together]):
    transport, together = pair
    for turn in (b"a", b"b"):
        together.write(turn + b"1")
        together.write(turn + b"2")
        assert transport.written[-1:] != [turn + b"1"]
        await asyncio.sleep(0)
    assert transport.written == [b"a1a2", b"b1b2"]


async def test_much_does_not_wait_for_more(pair: tuple[Transport, _Together]):
    transport, together = pair
    together.write(b"x")
    together.write(b"y" * FULL)
    assert transport.written == [b"x" + b"y" * FULL]
    together.write(b"z")
    await asyncio.sleep(0)
    assert transport.written[1:] == [b"z"]


async def test_what_was_written_before_the_end_goes_out(pair: tuple[Transport, _Together]):
    transport, together = pair
    together.write(b"last words")
    together.close()
    await asyncio.sleep(0)
    assert (transport.written, transport.closed) == ([b"last words"], True)
