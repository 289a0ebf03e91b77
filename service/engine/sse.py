"""Server-sent events, read from a byte stream (WHATWG HTML, section 9.2.6).

Owns how bytes become events. Knows nothing of engines, chats or JSON.
"""

from collections.abc import AsyncIterator

MAX_EVENT = 16 * 1024 * 1024
"""Bytes of one event, at most: a peer that never ends a line must not fill the memory."""


class EventTooLong(ValueError):
    """An event longer than `MAX_EVENT`."""


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Yield the `data` of complete events, wherever the chunks were cut: those that one chunk ended, together.

    Several `data` lines of one event are joined by a newline; comments and other fields are dropped; an
    event that the stream's end cuts off is never yielded. Raises `EventTooLong`.
    """
    rest, data, size = b"", [], 0
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        together: list[bytes] = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
                size += len(line)
            elif not line and data:
                together.append(b"\n".join(data))
                data, size = [], 0
        if together:
            yield together
        if size + len(rest) > MAX_EVENT:
            raise EventTooLong(f"an event of the stream is longer than {MAX_EVENT} bytes")
