"""A real database in a fresh home, with an administrator; domain functions are called as the edges call them."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.contract.assistants import AssistantCreate, Readiness
from service.contract.datasets import Kind, SplitBy
from service.contract.feedback import FeedbackCreate
from service.contract.users import UserCreate
from service.db import tables
from service.db.session import Database
from service.domain import assistants, datasets, feedback, files, material, readiness, users
from service.domain.keys import Caller, Hasher
from service.storage.local import Store


@dataclass
class World:
    database: Database
    store: Store
    hasher: Hasher
    admin: Caller
    user: Caller

    async def add_file(self, content: bytes, kind: str) -> str:
        async with self.database.writing() as session:
            file = await files.add_file(
                session, user_id=self.admin.user_id, filename="f.jsonl", purpose="fine-tune",
                sha256=self.store.put_bytes(content), size=len(content), kind=kind, rows=content.count(b"\n"),
            )  # fmt: skip
            return file.id

    async def answer(self, number: int, **change) -> str:
        """Record one ended completion of the assistant `desk`."""
        async with self.database.writing() as session:
            session.add(self.completion(number, **change))
        return f"chatcmpl-{number}"

    def completion(self, number: int, **change) -> tables.Completion:
        fields = {
            "id": f"chatcmpl-{number}", "user_id": self.user.user_id, "key_id": "key",
            "conversation_id": f"conv-{number}",
            "channel": "chat", "request_id": "r", "requested_model": "desk", "assistant": "desk", "release_id": None,
            "release_number": None, "adapter": "base", "base_model": "base", "instructions": "",
            "messages": [{"role": "user", "content": f"question {number}"}], "sampling": {"temperature": 0},
            "engine": "vllm", "status": "complete", "output": f"answer {number}", "response": None,
            "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1, "created_at": number, "ended_at": 1.0,
        }  # fmt: skip
        return tables.Completion(**(fields | change))

    async def correct(
        self, numbers: Iterable[int], who: Caller | None = None, **change: Callable[[int], str]
    ) -> list[str]:
        """Record an answer for each number and correct it, all in one; `change` gives a field of it by its number."""
        given = []
        async with self.database.writing() as session:
            for number in numbers:
                session.add(
                    self.completion(number, **{name: value(number) for name, value in change.items()})
                )
                await session.flush()
                wanted = FeedbackCreate(
                    completion_id=f"chatcmpl-{number}", type="correction", correction=f"better {number}"
                )
                given.append((await feedback.give(session, who or self.admin, wanted)).id)
        return given

    async def say(self, completion_id: str, who: Caller | None = None, **said) -> str:
        """Give feedback on it, as the user or as `who`."""
        async with self.database.writing() as session:
            wanted = FeedbackCreate(completion_id=completion_id, **said)
            return (await feedback.give(session, who or self.user, wanted)).id

    async def retract(self, feedback_id: str, who: Caller | None = None) -> None:
        async with self.database.writing() as session:
            await feedback.retract(session, who or self.user, feedback_id)

    async def reviewer(self, name: str) -> Caller:
        async with self.database.writing() as session:
            one = await users.create_user(session, UserCreate(name=name, role="reviewer"))
        return Caller(one.id, one.name, one.role, "key", "api")

    async def sort(self, name: str = "desk") -> None:
        """Take in all feedback, as the gateway does."""
        while True:
            async with self.database.writing() as session:
                if not await material.behind(session, self.store, name):
                    return
                await material.take_in(session, self.store, name)

    async def freeze(
        self, kind: Kind, split_by: SplitBy = "conversation", share: float = 0.5
    ) -> tables.Dataset:
        await self.sort()
        async with self.database.reading() as session:
            made = await datasets.draft(session, self.store, "desk", kind, split_by=split_by, share=share)
        async with self.database.writing() as session:
            return await datasets.record(session, self.admin, made)

    async def rows(self, dataset: tables.Dataset) -> list[dict]:
        """What stands in both files of a dataset."""
        found: list[dict] = []
        for file_id in (dataset.training_file, dataset.validation_file):
            if file_id is not None:
                async with self.database.reading() as session:
                    file = await session.get_one(tables.File, file_id)
                lines = await asyncio.to_thread(self.store.file(file.sha256).read_text)
                found += [json.loads(line) for line in lines.splitlines()]
        return found

    async def readiness(self, needed: int = 20, share: float = 0.5) -> Readiness:
        await self.sort()
        async with self.database.reading() as session:
            return await readiness.readiness(session, self.store, "desk", needed=needed, share=share)


@pytest.fixture
async def world(tmp_path: Path, schema: Path) -> AsyncIterator[World]:
    shutil.copy(schema, tmp_path)
    url = f"sqlite+aiosqlite:///{tmp_path / schema.name}"
    database, store, hasher = Database(url), Store(tmp_path), Hasher.of_home(tmp_path)
    await asyncio.to_thread(store.prepare)
    async with database.writing() as session:
        admin = await users.create_user(session, UserCreate(name="Ada", role="administrator"))
        user = await users.create_user(session, UserCreate(name="Uma"))
        await assistants.create_assistant(
            session, AssistantCreate(name="desk", title="Desk"), reserved="base"
        )
    callers = [Caller(one.id, one.name, one.role, "key", "api") for one in (admin, user)]
    yield World(database, store, hasher, *callers)
    await database.close()
