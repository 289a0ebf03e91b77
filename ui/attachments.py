"""Files that go along with a question, as text: read, bounded, written into the message and told apart again.

Owns which files are taken and how a message carries them. Keeps no file: the text travels with the page until
the question is asked, and is part of the recorded message then.
"""

import base64
import binascii
import json
import re
from dataclasses import asdict, dataclass
from pathlib import PurePath

KINDS = (".txt", ".md", ".csv")
LARGEST = 100_000
"""Bytes of all files of one question together."""
MOST = 5
"""Files of one question."""
_LAST = re.compile(r"\n</(document(?:-\d+)?)>\Z")
"""The end of a message that files go along with."""


@dataclass(frozen=True)
class Attachment:
    name: str
    text: str

    @property
    def kilobytes(self) -> int:
        return max(1, round(len(self.text.encode()) / 1000))


class Unreadable(Exception):
    """A file that is not taken; `why` is the name of the sentence that says so."""

    def __init__(self, why: str, name: str) -> None:
        super().__init__(f"{name}: {why}")
        self.why, self.name = why, name


def add(present: list[Attachment], name: str, content: str) -> list[Attachment]:
    """`present` and the file whose bytes are `content` in base64. Raises `Unreadable`."""
    name = re.sub(r'[<>"\s]+', " ", PurePath(name.replace("\\", "/")).name).strip()[:100] or "file.txt"
    if PurePath(name).suffix.lower() not in KINDS:
        raise Unreadable("attach_kind", name)
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("attach_broken", name) from None
    text = _decoded(data, name).strip()
    if not text:
        raise Unreadable("attach_empty", name)
    together = [*(one for one in present if one.name != name), Attachment(name, text)]
    if len(together) > MOST or sum(len(one.text.encode()) for one in together) > LARGEST:
        raise Unreadable("attach_large", name)
    return together


def packed(attachments: list[Attachment]) -> str:
    """As the page holds them until the question is asked."""
    return json.dumps([asdict(one) for one in attachments])


def unpacked(value: str | None) -> list[Attachment]:
    """What the page holds; nothing where it is not of our making, or more than is taken."""
    try:
        found = [Attachment(str(one["name"]), str(one["text"])) for one in json.loads(value or "[]")]
    except (ValueError, TypeError, KeyError):
        return []
    small = sum(len(one.text.encode()) for one in found) <= LARGEST
    return found if small and len(found) <= MOST else []


def joined(question: str, attachments: list[Attachment]) -> str:
    """The message that asks `question` about the files. The marks around them occur in none of the texts."""
    texts, mark, number = [question, *(one.text for one in attachments)], "document", 1
    while any(f"<{mark} " in text or f"</{mark}>" in text for text in texts):
        number += 1
        mark = f"document-{number}"
    return question + "".join(f'\n\n<{mark} name="{one.name}">\n{one.text}\n</{mark}>' for one in attachments)


def parted(message: str) -> tuple[str, list[Attachment]]:
    """A message's question and its files."""
    whole = message.rstrip()
    last = _LAST.search(whole)
    if last is None:
        return message, []
    opening, closing = f'\n\n<{last[1]} name="', last[0]
    question, _, rest = f"\n\n{whole}".partition(opening)
    pieces = [one.partition('">\n') for one in rest.removesuffix(closing).split(closing + opening)]
    if not all(cut for _, cut, _ in pieces):
        return message, []
    return question.removeprefix("\n\n"), [Attachment(name, text) for name, _, text in pieces]


def unmarked(piece: str) -> str:
    """A piece cut out of a message without the marks around its files, whole or cut off."""
    return re.sub(r'</?document[^<>]*>|^…[^<>]{0,120}">|</?d[^<>]{0,120}…$', " ", piece).strip()


def _decoded(data: bytes, name: str) -> str:
    """UTF-8, else what Excel writes in Western Europe."""
    if b"\x00" in data:
        raise Unreadable("attach_kind", name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
