"""The only door to the gateway. Every call carries the signed-in person's token.

Owns the HTTP client, the reading of refusals and of streamed answers. Knows no screen and no language.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from service.contract.assistants import Assistant, AssistantChange, AssistantCreate, Readiness
from service.contract.audit import AuditCheck, AuditEntry
from service.contract.conversations import Conversation, ConversationTurns, SharedConversation
from service.contract.datasets import Dataset
from service.contract.duels import Duel, Vote
from service.contract.evaluations import Evaluation
from service.contract.feedback import Feedback, FeedbackCreate
from service.contract.files import File
from service.contract.imports import Import, ImportPlan, Preview
from service.contract.jobs import Job, JobCreate, JobEvent
from service.contract.learnt import LearntList
from service.contract.releases import Adapter, Move, Release, Trial
from service.contract.reviews import Agreement, GoldenItem, Review, ReviewCreate, ReviewQueue
from service.contract.status import Status
from service.contract.users import Key, KeyChange, KeyCreate, NewKey, Session, User

M = TypeVar("M", bound=BaseModel)


class Refused(Exception):
    """The gateway said no, or could not be reached (`code` is then `unreachable`, `status` 0)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Begun:
    """The head of an answer: which completion it is and which release gives it."""

    completion_id: str
    release: str


class Gateway:
    """The gateway's API, as far as the screens use it. All methods raise `Refused`."""

    def __init__(self, api_url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        # `trust_env` off: a proxy of the environment must never carry what people say to another machine.
        self._http = httpx.AsyncClient(
            base_url=api_url, transport=transport, trust_env=False,
            timeout=httpx.Timeout(30, connect=5, pool=60),
            limits=httpx.Limits(max_connections=500, max_keepalive_connections=50),
        )  # fmt: skip

    async def close(self) -> None:
        await self._http.aclose()

    # Signing in

    async def sign_in(self, **how: str) -> Session:
        """With `link=` or `key=`."""
        return await self._one(Session, None, "POST", "/api/session", json=how)

    async def sign_out(self, token: str) -> None:
        await self._call(token, "DELETE", "/api/session")

    async def me(self, token: str) -> User:
        return await self._one(User, token, "GET", "/api/me")

    # Assistants and conversations

    async def assistants(self, token: str) -> list[Assistant]:
        return await self._list(Assistant, token, "/api/assistants")

    async def create_assistant(self, token: str, wanted: AssistantCreate) -> Assistant:
        return await self._one(Assistant, token, "POST", "/api/assistants", json=wanted.model_dump())

    async def change_assistant(self, token: str, name: str, change: AssistantChange) -> Assistant:
        body = change.model_dump(exclude_unset=True)
        return await self._one(Assistant, token, "PATCH", f"/api/assistants/{_part(name)}", json=body)

    async def readiness(self, token: str, name: str) -> Readiness:
        return await self._one(Readiness, token, "GET", f"/api/assistants/{_part(name)}/readiness")

    async def conversations(self, token: str, search: str = "") -> list[Conversation]:
        return await self._list(Conversation, token, "/api/conversations", limit=200, search=search[:200])

    async def create_conversation(self, token: str, assistant: str, title: str = "") -> Conversation:
        body = {"assistant": assistant, "title": title}
        return await self._one(Conversation, token, "POST", "/api/conversations", json=body)

    async def conversation(self, token: str, conversation_id: str) -> ConversationTurns:
        return await self._one(
            ConversationTurns, token, "GET", f"/api/conversations/{_part(conversation_id)}"
        )

    async def change_conversation(self, token: str, conversation_id: str, **change: Any) -> Conversation:
        path = f"/api/conversations/{_part(conversation_id)}"
        return await self._one(Conversation, token, "PATCH", path, json=change)

    async def share_conversation(self, token: str, conversation_id: str, *, share: bool) -> Conversation:
        path = f"/api/conversations/{_part(conversation_id)}/share"
        return await self._one(Conversation, token, "POST" if share else "DELETE", path)

    async def shared_conversation(self, token: str, share: str) -> SharedConversation:
        return await self._one(SharedConversation, token, "GET", f"/api/conversations/shared/{_part(share)}")

    async def export(self, token: str, conversation_id: str, form: str) -> bytes:
        path = f"/api/conversations/{_part(conversation_id)}/export"
        return (await self._call(token, "GET", path, params={"format": form})).content

    async def delete_conversation(self, token: str, conversation_id: str) -> None:
        await self._call(token, "DELETE", f"/api/conversations/{_part(conversation_id)}")

    # Answers and feedback

    async def answer(
        self, token: str, *, model: str, messages: list[dict[str, str]], conversation: str, follows: str,
        temperature: float | None = None,
    ) -> AsyncGenerator[Begun | str, None]:  # fmt: skip
        """One `Begun`, then pieces of text. Closing the iterator breaks the answer off at the gateway.

        Raises `Refused` also in the middle, with code `broken_off` when the stream ends without its end mark.
        """
        body = {
            "model": model,
            "messages": messages,
            "stream": True,
            "metadata": {"conversation": conversation, "follows": follows},
        }
        if temperature is not None:
            body["temperature"] = temperature
        timeout = httpx.Timeout(180, connect=5)
        try:
            async with self._http.stream(
                "POST", "/v1/chat/completions", json=body, headers=_bearer(token), timeout=timeout
            ) as response:
                if response.status_code != 200:
                    raise _refusal(response.status_code, await response.aread())
                begun = False
                async for chunk in _chunks(response):
                    if not begun:
                        begun = True
                        yield Begun(chunk.get("id", ""), response.headers.get("x-tailorbird-release", ""))
                    for choice in chunk.get("choices", ()):
                        if text := (choice.get("delta") or {}).get("content"):
                            yield text
        except httpx.HTTPError as error:
            raise _unreachable(error) from error

    async def give_feedback(self, token: str, wanted: FeedbackCreate, *, once: str) -> Feedback:
        """`once` is made by the browser, one for each click: a repeat changes nothing."""
        return await self._once(Feedback, token, "/api/feedback", wanted, once)

    async def retract_feedback(self, token: str, feedback_id: str) -> Feedback:
        return await self._one(Feedback, token, "DELETE", f"/api/feedback/{_part(feedback_id)}")

    # Duels and reviews

    async def create_duel(self, token: str, assistant: str, question: str) -> Duel:
        """Returns when both answers are complete."""
        body = {"assistant": assistant, "question": question}
        return await self._one(Duel, token, "POST", "/api/duels", json=body, timeout=httpx.Timeout(300))

    async def newest_duel(self, token: str) -> Duel | None:
        return next(iter(await self._list(Duel, token, "/api/duels", limit=1)), None)

    async def vote(self, token: str, duel_id: str, given: Vote, *, once: str) -> Duel:
        return await self._once(Duel, token, f"/api/duels/{_part(duel_id)}/vote", given, once)

    async def reveal_duel(self, token: str, duel_id: str) -> Duel:
        return await self._one(Duel, token, "POST", f"/api/duels/{_part(duel_id)}/reveal")

    async def next_review(self, token: str) -> ReviewQueue:
        return await self._one(ReviewQueue, token, "POST", "/api/reviews/next")

    async def give_review(self, token: str, wanted: ReviewCreate, *, once: str) -> Review:
        return await self._once(Review, token, "/api/reviews", wanted, once)

    async def undo_review(self, token: str, review_id: str) -> Review:
        return await self._one(Review, token, "DELETE", f"/api/reviews/{_part(review_id)}")

    async def make_golden(self, token: str, completion_id: str, expected: str) -> GoldenItem:
        path = f"/api/reviews/golden/{_part(completion_id)}"
        return await self._one(GoldenItem, token, "PUT", path, json={"expected": expected})

    async def agreement(self, token: str) -> Agreement:
        return await self._one(Agreement, token, "GET", "/api/reviews/agreement")

    async def learnt(self, token: str) -> LearntList:
        return await self._one(LearntList, token, "GET", "/api/feedback/learnt")

    # Files and jobs

    async def upload(self, token: str, filename: str, content: bytes, purpose: str) -> File:
        files = {"file": (filename, content, "application/jsonl")}
        return await self._one(
            File,
            token,
            "POST",
            "/v1/files",
            files=files,
            data={"purpose": purpose},
            timeout=httpx.Timeout(300),
        )

    async def files(self, token: str, purpose: str) -> list[File]:
        return await self._list(File, token, "/v1/files", purpose=purpose, limit=200)

    async def bring(self, token: str, path: Path) -> Import:
        """Hand a file of any format on, as it lies on disk: it may be large."""
        with open(path, "rb") as file:
            files = {"file": (path.name, file, "application/octet-stream")}
            return await self._one(
                Import, token, "POST", "/api/imports", files=files, timeout=httpx.Timeout(300)
            )

    async def imports(self, token: str, limit: int) -> list[Import]:
        return await self._list(Import, token, "/api/imports", limit=limit)

    async def one_import(self, token: str, import_id: str) -> Import:
        return await self._one(Import, token, "GET", f"/api/imports/{_part(import_id)}")

    async def preview_import(self, token: str, import_id: str, plan: ImportPlan) -> Preview:
        path, body = f"/api/imports/{_part(import_id)}/preview", plan.model_dump()
        return await self._one(Preview, token, "POST", path, json=body, timeout=httpx.Timeout(90))

    async def start_import(self, token: str, import_id: str, plan: ImportPlan) -> Import:
        path = f"/api/imports/{_part(import_id)}/start"
        return await self._one(Import, token, "POST", path, json=plan.model_dump())

    async def cancel_import(self, token: str, import_id: str) -> Import:
        return await self._one(Import, token, "POST", f"/api/imports/{_part(import_id)}/cancel")

    async def datasets(self, token: str, assistant: str) -> list[Dataset]:
        return await self._list(Dataset, token, "/api/datasets", assistant=assistant)

    async def start_round(self, token: str, assistant: str, method: str) -> Job:
        body = {"assistant": assistant, "method": method}
        answer = await self._call(token, "POST", "/api/rounds", json=body)
        return Job.model_validate(answer.json()["job"])

    async def create_job(self, token: str, wanted: JobCreate) -> Job:
        body = wanted.model_dump(exclude_none=True)
        return await self._one(Job, token, "POST", "/v1/fine_tuning/jobs", json=body)

    async def jobs(self, token: str, assistant: str) -> list[Job]:
        params = {"metadata[assistant]": assistant, "limit": 50}
        return await self._list(Job, token, "/v1/fine_tuning/jobs", **params)

    async def job(self, token: str, job_id: str) -> Job:
        return await self._one(Job, token, "GET", f"/v1/fine_tuning/jobs/{_part(job_id)}")

    async def job_events(self, token: str, job_id: str, limit: int = 10_000) -> list[JobEvent]:
        """Newest first."""
        return await self._list(JobEvent, token, f"/v1/fine_tuning/jobs/{_part(job_id)}/events", limit=limit)

    async def pause_job(self, token: str, job_id: str) -> Job:
        return await self._one(Job, token, "POST", f"/v1/fine_tuning/jobs/{_part(job_id)}/pause")

    async def resume_job(self, token: str, job_id: str) -> Job:
        return await self._one(Job, token, "POST", f"/v1/fine_tuning/jobs/{_part(job_id)}/resume")

    async def cancel_job(self, token: str, job_id: str) -> Job:
        return await self._one(Job, token, "POST", f"/v1/fine_tuning/jobs/{_part(job_id)}/cancel")

    # Evaluations and releases

    async def evaluations(self, token: str, assistant: str) -> list[Evaluation]:
        return await self._list(Evaluation, token, "/api/evaluations", assistant=assistant)

    async def evaluation_events(self, token: str, evaluation_id: str) -> list[JobEvent]:
        return await self._list(JobEvent, token, f"/api/evaluations/{_part(evaluation_id)}/events", limit=1)

    async def create_evaluation(self, token: str, release_id: str) -> Evaluation:
        return await self._one(Evaluation, token, "POST", "/api/evaluations", json={"release": release_id})

    async def cancel_evaluation(self, token: str, evaluation_id: str) -> Evaluation:
        return await self._one(Evaluation, token, "POST", f"/api/evaluations/{_part(evaluation_id)}/cancel")

    async def report(self, token: str, evaluation_id: str) -> tuple[bytes, str]:
        """The report page and its content security policy, both as the gateway gives them."""
        response = await self._call(token, "GET", f"/api/evaluations/{_part(evaluation_id)}/report")
        return response.content, response.headers.get(
            "content-security-policy", "default-src 'none'; sandbox"
        )

    async def releases(self, token: str, assistant: str) -> list[Release]:
        return await self._list(Release, token, "/api/releases", assistant=assistant)

    async def promote(self, token: str, release_id: str, reason: str | None) -> Release:
        path = f"/api/releases/{_part(release_id)}/promote"
        return await self._one(Release, token, "POST", path, json={"override_reason": reason})

    async def stage(self, token: str, release_id: str, share: int, reason: str | None) -> Release:
        path = f"/api/releases/{_part(release_id)}/stage"
        return await self._one(Release, token, "POST", path, json={"share": share, "override_reason": reason})

    async def trial(self, token: str, assistant: str) -> Trial | None:
        """The release on trial; none while there is none."""
        try:
            return await self._one(Trial, token, "GET", f"/api/assistants/{_part(assistant)}/trial")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def roll_back(self, token: str, assistant: str, reason: str) -> Assistant:
        path = f"/api/assistants/{_part(assistant)}/rollback"
        return await self._one(Assistant, token, "POST", path, json={"reason": reason})

    async def history(self, token: str, assistant: str) -> list[Move]:
        return await self._list(Move, token, f"/api/assistants/{_part(assistant)}/history")

    async def adapter(self, token: str, digest: str) -> Adapter:
        return await self._one(Adapter, token, "GET", f"/api/adapters/{_part(digest)}")

    # People, keys, status

    async def users(self, token: str) -> list[User]:
        return await self._list(User, token, "/api/users")

    async def create_user(self, token: str, name: str, role: str) -> User:
        return await self._one(User, token, "POST", "/api/users", json={"name": name, "role": role})

    async def change_user(self, token: str, user_id: str, **change: Any) -> User:
        return await self._one(User, token, "PATCH", f"/api/users/{_part(user_id)}", json=change)

    async def create_link(self, token: str, user_id: str) -> str:
        """The address of a one-time sign-in link."""
        return (await self._call(token, "POST", f"/api/users/{_part(user_id)}/link")).json()["url"]

    async def keys(self, token: str) -> list[Key]:
        return await self._list(Key, token, "/api/keys")

    async def create_key(self, token: str, wanted: KeyCreate) -> NewKey:
        return await self._one(NewKey, token, "POST", "/api/keys", json=wanted.model_dump(exclude_none=True))

    async def change_key(self, token: str, key_id: str, change: KeyChange) -> Key:
        body = change.model_dump()
        return await self._one(Key, token, "PATCH", f"/api/keys/{_part(key_id)}", json=body)

    async def revoke_key(self, token: str, key_id: str) -> None:
        await self._call(token, "DELETE", f"/api/keys/{_part(key_id)}")

    async def audit(self, token: str, **query: str) -> tuple[list[AuditEntry], bool]:
        """A page of the journal, and whether older entries follow."""
        answer = (await self._call(token, "GET", "/api/audit", params=query)).json()
        return [AuditEntry.model_validate(entry) for entry in answer["data"]], answer["has_more"]

    async def check_audit(self, token: str) -> AuditCheck:
        return await self._one(AuditCheck, token, "GET", "/api/audit/check", timeout=httpx.Timeout(120))

    async def export_audit(self, token: str) -> bytes:
        return (await self._call(token, "GET", "/api/audit/export", timeout=httpx.Timeout(120))).content

    async def status(self, token: str) -> Status:
        return await self._one(Status, token, "GET", "/api/status")

    async def ready(self) -> bool:
        """Whether a chat can be answered now."""
        try:
            return (await self._http.get("/readyz", timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False

    async def _one(self, model: type[M], token: str | None, method: str, path: str, **more: Any) -> M:
        return model.model_validate((await self._call(token, method, path, **more)).json())

    async def _once(self, model: type[M], token: str, path: str, wanted: BaseModel, once: str) -> M:
        """Sent again when no answer came; `once` makes the repeat harmless."""
        more: dict[str, Any] = {
            "json": wanted.model_dump(exclude_none=True), "headers": {"idempotency-key": once}
        }  # fmt: skip
        try:
            return await self._one(model, token, "POST", path, **more)
        except Refused as refused:
            if refused.status != 0:
                raise
        return await self._one(model, token, "POST", path, **more)

    async def _list(self, model: type[M], token: str, path: str, **params: Any) -> list[M]:
        answer = await self._call(token, "GET", path, params=params)
        return [model.model_validate(item) for item in answer.json()["data"]]

    async def _call(self, token: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = _bearer(token) | more.pop("headers", {})
        try:
            response = await self._http.request(method, path, headers=headers, **more)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if response.status_code >= 400:
            raise _refusal(response.status_code, response.content)
        return response


async def _chunks(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON of each server-sent event up to `[DONE]`. Raises `Refused` on an error event or a missing end."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise _of_body(response.status_code, chunk)
        yield chunk
    raise Refused(502, "broken_off", "The answer broke off. Ask again.")


def _bearer(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _part(value: str) -> str:
    """An id as one part of a path: what comes from a browser must not reach another address."""
    return "".join(c for c in value if c.isalnum() or c in "-_.")[:120].strip(".") or "none"


def _refusal(status: int, content: bytes) -> Refused:
    try:
        return _of_body(status, json.loads(content))
    except (ValueError, TypeError):
        return Refused(
            status, "unknown", f"The service answered with status {status}. Try again in a moment."
        )


def _of_body(status: int, body: Any) -> Refused:
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, dict):
        return Refused(
            status, "unknown", f"The service answered with status {status}. Try again in a moment."
        )
    return Refused(status, str(error.get("code") or "unknown"), str(error.get("message") or ""))


def _unreachable(error: httpx.HTTPError) -> Refused:
    if isinstance(error, httpx.TimeoutException):
        return Refused(0, "timeout", "The service did not answer in time. Try again in a moment.")
    return Refused(0, "unreachable", "The service cannot be reached. Try again in a moment.")
