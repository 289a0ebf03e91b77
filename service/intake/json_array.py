"""A JSON array, element by element: as much of the file in memory as its longest element takes, and little more."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from service.contract.datasets import MAX_LINE
from service.intake.problems import BadFile, BadRecord
from service.intake.sources import Record, is_text

CHUNK = 1 << 18


def read(file: BinaryIO) -> Iterator[Record]:
    """The elements of the array. Raises `BadFile` where the text is no JSON: what follows cannot be told apart."""
    text = _Text(file)
    text.skip_space()
    text.take("[")
    text.skip_space()
    while not text.starts("]"):
        line = text.line
        value, garbled = text.element()
        if garbled is not None:
            yield Record(line, refused=BadRecord("not_utf8", garbled))
        elif isinstance(value, dict):
            yield Record(line, value)
        else:
            yield Record(line, refused=BadRecord("not_an_object", "The row is not a JSON object."))
        text.skip_space()
        if text.starts(","):
            text.take(",")
            text.skip_space()
        elif not text.starts("]"):
            raise text.bad("a comma or the array's end is missing")
    text.take("]")
    text.skip_space()
    if not text.ended():
        raise text.bad("something follows the array's end, such as a second array")


class _Text:
    """The text from where the reading stands, filled up from the file as it is used."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._decode = file, codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._text, self._at, self.line = "", 0, 1
        # What pandas writes for a missing value is no JSON, and stands for a field that is not there.
        self._parse = json.JSONDecoder(parse_constant=lambda _: None).raw_decode

    def starts(self, mark: str) -> bool:
        if self.ended():
            raise self.bad("the array does not end; the file seems cut short")
        return self._text.startswith(mark, self._at)

    def ended(self) -> bool:
        return self._at >= len(self._text) and not self._more(CHUNK)

    def take(self, mark: str) -> None:
        if not self.starts(mark):
            raise self.bad(f"'{mark}' is missing")
        self._at += 1

    def skip_space(self) -> None:
        while self._at < len(self._text) or self._more(CHUNK):
            here = self._text[self._at]
            if here not in " \t\r\n":
                return
            self.line += here == "\n"
            self._at += 1

    def element(self) -> tuple[Any, str | None]:
        """The next value, and why its text is none where it holds what no text can."""
        wanted = CHUNK
        while True:
            try:
                value, end = self._parse(self._text, self._at)
                written = self._text[self._at : end]
                garbled = _garbled(written, value)
            except RecursionError:
                raise self.bad("nested too deeply") from None
            except ValueError as error:
                # Cut off by the end of what was read, or wrong: more text tells which.
                if len(self._text) - self._at > MAX_LINE:
                    raise self.bad(f"not valid JSON, or a row longer than {MAX_LINE >> 20} MiB") from None
                if not self._more(wanted):
                    raise self.bad(f"not valid JSON ({getattr(error, 'msg', 'a number too long')})") from None
                wanted *= 2
                continue
            if end == len(self._text) and self._more(wanted):
                continue  # a number may go on
            self.line += written.count("\n")
            self._at = end
            return value, garbled

    def bad(self, what: str) -> BadFile:
        return BadFile(
            "not_json",
            f"Line {self.line}: {what}. An array cannot be read past that: correct it there, or write one object on "
            "each line (JSON lines), where a bad row is refused alone.",
            line=self.line,
        )

    def _more(self, size: int) -> bool:
        data = self._file.read(size)
        self._text = self._text[self._at :] + self._decode.decode(data, final=not data)
        self._at = 0
        return bool(data)


def _garbled(written: str, value: Any) -> str | None:
    """What is wrong with the characters of an element: bytes of another encoding, or half of a pair that JSON names."""
    if not is_text(written):
        return "The row is not UTF-8."
    if "\\u" in written and not is_text(json.dumps(value, ensure_ascii=False)):
        return "The row holds half of a character."
    return None
