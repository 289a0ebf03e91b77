"""Something of every kind in a gateway over a double, by the name that a path or a body calls it: one of its own each
time it is asked for."""

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from service.contract.documents import DocumentRead, DraftChange, Passage
from service.db.session import Database
from service.domain import documents
from service.domain.keys import Caller
from tests.gateway import Gateway
from tests.published import publish

EXAMPLE = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]}
ROWS = json.dumps(EXAMPLE).encode() + b"\n"
TABLE = b"question,answer\na,b\n"


class Things:
    """Made by the administrator, but for verdicts: nobody judges what they said themselves."""

    def __init__(self, gateway: Gateway, reviewer: requests.Session, place: Path) -> None:
        self.gateway, self._reviewer, self._place = gateway, reviewer, place
        self._serial = itertools.count()
        self.dataset = self._dataset()
        self.digest, self.release = self.candidate()
        self.makers: dict[str, Callable[[], Any]] = {
            "model": lambda: gateway.settings.model_name, "assistant": lambda: "fanal", "name": lambda: "fanal",
            "file_id": self.rows, "training_file": self.rows, "input_file_id": self.lines,
            "completion_id": self.corrected,
            "response_id": lambda: self._made("/v1/responses", {"model": "fanal", "input": "hello"})["id"],
            "document_id": self.document, "draft_id": self.draft,
            "documents": lambda: [self.document()],
            "upload_id": self.upload, "import_id": self.brought, "batch_id": self.batch, "job_id": self.job,
            "conversation_id": self.conversation,
            "share": lambda: self._made(f"/api/conversations/{self.conversation()}/share", {})["share"],
            "feedback_id": lambda: self.rated(self.completion()),
            "user_id": self.user, "link": lambda: self._made(f"/api/users/{self.user()}/link", {})["link"],
            "key_id": lambda: self._made("/api/keys", {"name": "spare"})["key"]["id"],
            "duel_id": lambda: self._made("/api/duels", {"assistant": "fanal", "question": "hello"})["id"],
            "webhook_id": self.webhook, "url": lambda: f"{gateway.url}/healthz",
            "review_id": lambda: self.judged(self.corrected()),
            "dataset_id": lambda: self.dataset["id"], "digest": lambda: self.digest,
            "release_id": lambda: self.release, "release": lambda: self.release,
            "evaluation_id": lambda: self._made("/api/evaluations", {"release": self.release})["id"],
        }  # fmt: skip

    def completion(self, **more: Any) -> str:
        said = [{"role": "user", "content": f"question {next(self._serial)}"}]
        return self._made("/v1/chat/completions", {"model": "fanal", "messages": said, **more})["id"]

    def rated(self, completion: str) -> str:
        body = {"completion_id": completion, "type": "rating", "rating": 1}
        return self._made("/api/feedback", body)["id"]

    def corrected(self) -> str:
        """A completion with a correction, which is something to judge."""
        completion = self.completion()
        body = {"completion_id": completion, "type": "correction", "correction": f"better than {completion}"}
        self._made("/api/feedback", body)
        return completion

    def judged(self, completion: str) -> str:
        body = {"completion_id": completion, "verdict": "approve"}
        answer = self._reviewer.post(f"{self.gateway.url}/api/reviews", json=body)
        answer.raise_for_status()
        return answer.json()["id"]

    def conversation(self) -> str:
        found = self._made("/api/conversations", {"assistant": "fanal"})["id"]
        self.completion(metadata={"conversation": found})
        return found

    def user(self) -> str:
        return self._made("/api/users", {"name": self.gateway.free_name("somebody"), "role": "user"})["id"]

    def rows(self) -> str:
        return self._file("fine-tune", *[EXAMPLE] * 3)

    def lines(self) -> str:
        body = {"model": "fanal", "messages": EXAMPLE["messages"][:1]}
        return self._file("batch", {
            "custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body
        })  # fmt: skip

    def job(self, **more: Any) -> str:
        body = {"model": self.gateway.settings.model_name, "training_file": self.rows(), **more}
        return self._made("/v1/fine_tuning/jobs", body)["id"]

    def published(self, **more: Any) -> tuple[str, str, str | None]:
        """`(tuned model, digest, release)` of a training that has ended."""
        job = self.job(**more)
        place = self._place / job
        place.mkdir()
        digest, release = publish(self.gateway.settings, job, place)
        found = self.gateway.admin.get(f"/v1/fine_tuning/jobs/{job}").json()
        return found["fine_tuned_model"], digest, release

    def upload(self) -> str:
        body = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": len(ROWS) * 3}
        return self._made("/v1/uploads", body | {"mime_type": "application/jsonl"})["id"]

    def batch(self) -> str:
        body = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return self._made("/v1/batches", body | {"input_file_id": self.lines()})["id"]

    def brought(self) -> str:
        answer = self.gateway.admin.post("/api/imports", files={"file": ("a.csv", TABLE)})
        return answer.raise_for_status().json()["id"]

    def document(self) -> str:
        """One that was read, without the process that reads."""
        self._document = asyncio.run(read_document(self.gateway))
        return self._document

    def draft(self) -> str:
        """Of the document made last."""
        listed = self.gateway.admin.get(f"/api/documents/{self._document}/drafts").raise_for_status()
        return listed.json()["data"][0]["id"]

    def webhook(self) -> str:
        body = {"url": f"{self.gateway.url}/healthz", "events": ["batch.completed"]}
        return self._made("/api/webhooks", body)["webhook"]["id"]

    def candidate(self) -> tuple[str, str]:
        """`(digest, release)` of an adapter that learnt from the dataset."""
        learnt = {"training_file": self.dataset["training_file"], "metadata": {"assistant": "fanal"}}
        _, digest, release = self.published(**learnt)
        assert release is not None
        return digest, release

    def _dataset(self) -> dict[str, Any]:
        """What becomes of feedback."""
        for _ in range(8):
            completion = self.corrected()
        self.judged(completion)
        return self._made("/api/datasets", {"assistant": "fanal", "kind": "sft"})

    def _made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.gateway.admin.post(path, json=body).raise_for_status().json()

    def _file(self, purpose: str, *lines: Any) -> str:
        data = "\n".join(json.dumps(line) for line in lines).encode()
        form = {"files": {"file": ("a.jsonl", data)}, "data": {"purpose": purpose}}
        return self.gateway.admin.post("/v1/files", **form).raise_for_status().json()["id"]


async def read_document(gateway: Gateway) -> str:
    """The administrator's, of two passages, the second confirmed."""
    me = gateway.admin.get("/api/me").json()
    caller = Caller(me["id"], me["name"], me["role"], "key", "api")
    cut = [
        Passage(text=f"Text {n}.", headings=["H"], page=None, line=n, language="en", question=f"What is {n}?")
        for n in (1, 2)
    ]
    read = DocumentRead(kind="markdown", pages=None, empty_pages=0, passages=cut, seconds=0, peak_mb=1)
    database = Database(gateway.settings.database)
    async with database.writing() as session:
        made = await documents.create_document(
            session, caller, filename="a.md", sha256="ab" * 32, size=9, read=read
        )
        (_, second), _ = await documents.list_drafts(session, made.id, status=None, after=None, limit=2)
        documents.decide(caller, second, DraftChange(status="confirmed", question="Why?", answer="So."))
    await database.close()
    return made.id
