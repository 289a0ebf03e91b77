"""Events come out whole, wherever the bytes were cut."""

from collections.abc import AsyncIterator

import pytest

from service.engine import sse
from service.engine.sse import EventTooLong, events


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _read(*parts: bytes) -> list[bytes]:
    return [event async for together in events(_chunks(*parts)) for event in together]


STREAM = 'data: {"a": "é"}\n\n: keep-alive\n\ndata:no space\r\n\r\nevent: x\ndata: one\ndata: two\n\ndata: [DONE]\n\n'


async def test_every_cut_of_the_stream_gives_the_same_events():
    whole = STREAM.encode()
    expected = ['{"a": "é"}'.encode(), b"no space", b"one\ntwo", b"[DONE]"]
    for at in range(len(whole) + 1):
        assert await _read(whole[:at], whole[at:]) == expected
    assert await _read(*(bytes([byte]) for byte in whole)) == expected


async def test_an_event_that_the_end_cuts_off_is_not_yielded():
    assert await _read(b"data: whole\n\ndata: half") == [b"whole"]
    assert await _read(b"data: whole\n\ndata: half\n") == [b"whole"]


async def test_an_event_without_end_is_refused_rather_than_gathered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sse, "MAX_EVENT", 1000)
    with pytest.raises(EventTooLong):
        await _read(b"data: ", *([b"x" * 100] * 20))
    with pytest.raises(EventTooLong):
        await _read(*([b"data: " + b"x" * 100 + b"\n"] * 20))
