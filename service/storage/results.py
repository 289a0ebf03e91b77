"""What a batch has answered so far: two growing files in OpenAI's format, each line on disk before it counts.

A kill can cut the last line off; opening the folder again drops such a line, whose request is then asked
again, and finds everything else by `custom_id`. Knows no database and asks nothing.
"""

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from service.contract.batches import Answer, AnsweredLine, RequestCounts, Usage
from service.storage.local import no_space


class Results:
    """Open it in one process at a time, in any of its threads; `done` holds the `custom_id` of every line on disk."""

    def __init__(self, place: Path) -> None:
        place.mkdir(mode=0o700, exist_ok=True)
        self.output, self.errors = place / "output.jsonl", place / "errors.jsonl"
        self.done: set[str] = set()
        self.completed = self.failed = 0
        self.usage = Usage()
        self._files = {path: self._open(path) for path in (self.output, self.errors)}
        self._one_by_one = threading.Lock()

    def add(self, lines: Iterable[AnsweredLine]) -> None:
        """Write these lines; they are on disk, and counted, when this returns. Blocking. Raises `NoSpace`."""
        written: list[tuple[str, Answer | None]] = []
        touched: set[BinaryIO] = set()
        with self._one_by_one:
            try:
                for line in lines:
                    answer = line.response
                    file = self._files[self.output if answer and answer.status_code == 200 else self.errors]
                    file.write(orjson.dumps(line.model_dump(), option=orjson.OPT_APPEND_NEWLINE))
                    touched.add(file)
                    written.append((line.custom_id, answer))
                for file in touched:
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise no_space(error) from error
            for custom_id, answer in written:
                self._count(custom_id, answer)

    def close(self) -> None:
        for file in self._files.values():
            # What a full disk did not take was not counted as written either.
            with suppress(OSError):
                file.close()

    def counts(self, total: int) -> RequestCounts:
        """A line that was never asked counts as neither."""
        return RequestCounts(total=total, completed=self.completed, failed=self.failed)

    def _open(self, path: Path) -> BinaryIO:
        file = open(path, "ab+")
        file.seek(0)
        whole = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            self._take(orjson.loads(line))
        file.truncate(whole)
        return file

    def _take(self, line: dict[str, Any]) -> None:
        answer = Answer.model_validate(line["response"]) if line["response"] else None
        self._count(line["custom_id"], answer)

    def _count(self, custom_id: str, answer: Answer | None) -> None:
        self.done.add(custom_id)
        if answer is None:
            return
        if answer.status_code != 200:
            self.failed += 1
            return
        self.completed += 1
        used = answer.body.get("usage") or {}
        details = used.get("prompt_tokens_details") or used.get("input_tokens_details") or {}
        read = used.get("prompt_tokens") or used.get("input_tokens") or 0
        written = used.get("completion_tokens") or used.get("output_tokens") or 0
        self.usage.input_tokens += read
        self.usage.input_tokens_details.cached_tokens += details.get("cached_tokens") or 0
        self.usage.output_tokens += written
        self.usage.total_tokens += read + written
