"""Event files for TensorBoard, written without it: a few bytes for each figure, in a folder for each training job.

A file is a sequence of TensorFlow's records (length, checksum, bytes, checksum), each an `Event` in protobuf's wire
format: tensorflow/core/util/event.proto and tensorflow/core/lib/io/record_writer.h. Knows nothing of where the figures
come from.
"""

import struct
import time
from collections.abc import Mapping
from pathlib import Path

VERSION = b"brain.Event:2"
_POLYNOMIAL = 0x82F63B78
"""Of CRC-32C, its bits reversed (RFC 3720, appendix B.4)."""


class EventFile:
    """A file of its own for each attempt of a job; made with the first figures."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"events.out.tfevents.{time.time_ns()}.tailorbird"

    def add(self, at: float, step: int, figures: Mapping[str, float]) -> None:
        """Append figures of one step, by name. `at` is in seconds since 1970."""
        records = b""
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # What an earlier attempt wrote of this step and of later ones counts no more: this one makes them again.
            start = _field(7, b"\x08\x01")
            records = _record(_event(at, 0, _field(3, VERSION))) + _record(_event(at, step, start))
        values = b"".join(
            _field(1, _field(1, name.encode()) + b"\x15" + struct.pack("<f", value))
            for name, value in figures.items()
        )
        with open(self._path, "ab") as file:
            file.write(records + _record(_event(at, step, _field(5, values))))


def _event(at: float, step: int, what: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", at) + b"\x10" + _varint(step) + what


def _field(number: int, content: bytes) -> bytes:
    """A field that has a length: text, or a message in the message."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
