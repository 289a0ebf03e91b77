"""Everybody's calls: signing in, conversations, streamed answers, what is said of them, comparing and reviewing."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from service.contract.assistants import Assistant, AssistantChange, AssistantCreate, Readiness
from service.contract.conversations import Conversation, ConversationTurns, SharedConversation
from service.contract.duels import Duel, Vote
from service.contract.feedback import Feedback, FeedbackCreate
from service.contract.learnt import LearntList
from service.contract.reviews import Agreement, GoldenItem, Review, ReviewCreate, ReviewQueue
from service.contract.users import Session, User
from ui.client.door import Door, Refused, bearer, of_body, part, refusal, unreachable


@dataclass(frozen=True)
class Begun:
    """The head of an answer: which completion it is and which release gives it."""

    completion_id: str
    release: str


class Chat(Door):
    """All methods raise `Refused`."""

    # Signing in

    async def sign_in(self, **how: str) -> Session:
        """With `link=` or `key=`."""
        return await self.one(Session, None, "POST", "/api/session", json=how)

    async def sign_out(self, token: str) -> None:
        await self.call(token, "DELETE", "/api/session")

    async def me(self, token: str) -> User:
        return await self.one(User, token, "GET", "/api/me")

    # Assistants and conversations

    async def assistants(self, token: str) -> list[Assistant]:
        return await self.list(Assistant, token, "/api/assistants")

    async def create_assistant(self, token: str, wanted: AssistantCreate) -> Assistant:
        return await self.one(Assistant, token, "POST", "/api/assistants", json=wanted.model_dump())

    async def change_assistant(self, token: str, name: str, change: AssistantChange) -> Assistant:
        body = change.model_dump(exclude_unset=True)
        return await self.one(Assistant, token, "PATCH", f"/api/assistants/{part(name)}", json=body)

    async def readiness(self, token: str, name: str) -> Readiness:
        return await self.one(Readiness, token, "GET", f"/api/assistants/{part(name)}/readiness")

    async def conversations(
        self, token: str, search: str = "", *, count: int = 200
    ) -> tuple[list[Conversation], bool]:
        """The first `count`, and whether there are more."""
        found: list[Conversation] = []
        more = True
        while more and len(found) < count:
            query: dict[str, Any] = {"limit": min(count - len(found), 500), "search": search[:200]}
            query |= {"after": found[-1].id} if found else {}
            answer = (await self.call(token, "GET", "/api/conversations", params=query)).json()
            found += [Conversation.model_validate(one) for one in answer["data"]]
            more = answer["has_more"]
        return found, more

    async def create_conversation(self, token: str, assistant: str, title: str = "") -> Conversation:
        body = {"assistant": assistant, "title": title}
        return await self.one(Conversation, token, "POST", "/api/conversations", json=body)

    async def conversation(self, token: str, conversation_id: str) -> ConversationTurns:
        return await self.one(ConversationTurns, token, "GET", f"/api/conversations/{part(conversation_id)}")

    async def change_conversation(self, token: str, conversation_id: str, **change: Any) -> Conversation:
        path = f"/api/conversations/{part(conversation_id)}"
        return await self.one(Conversation, token, "PATCH", path, json=change)

    async def share_conversation(self, token: str, conversation_id: str, *, share: bool) -> Conversation:
        path = f"/api/conversations/{part(conversation_id)}/share"
        return await self.one(Conversation, token, "POST" if share else "DELETE", path)

    async def shared_conversation(self, token: str, share: str) -> SharedConversation:
        return await self.one(SharedConversation, token, "GET", f"/api/conversations/shared/{part(share)}")

    async def export(self, token: str, conversation_id: str, form: str) -> bytes:
        path = f"/api/conversations/{part(conversation_id)}/export"
        return (await self.call(token, "GET", path, params={"format": form})).content

    async def delete_conversation(self, token: str, conversation_id: str) -> None:
        await self.call(token, "DELETE", f"/api/conversations/{part(conversation_id)}")

    # Answers and feedback

    async def answer(
        self, token: str, *, model: str, messages: list[dict[str, str]], conversation: str, follows: str,
        temperature: float | None = None,
    ) -> AsyncGenerator[Begun | str, None]:  # fmt: skip
        """One `Begun`, then pieces of text. Closing the iterator breaks the answer off at the gateway.

        Raises `Refused` also in the middle, with code `broken_off` when the stream ends without its end mark.
        """
        body: dict[str, Any] = {
            "model": model,
            "messages": messages,
            "stream": True,
            "metadata": {"conversation": conversation, "follows": follows},
        }
        if temperature is not None:
            body["temperature"] = temperature
        timeout = httpx.Timeout(180, connect=5)
        try:
            async with self.http.stream(
                "POST", "/v1/chat/completions", json=body, headers=bearer(token), timeout=timeout
            ) as response:
                if response.status_code != 200:
                    raise refusal(response.status_code, await response.aread())
                begun = False
                async for chunk in chunks(response):
                    if not begun:
                        begun = True
                        yield Begun(chunk.get("id", ""), response.headers.get("x-tailorbird-release", ""))
                    for choice in chunk.get("choices", ()):
                        if text := (choice.get("delta") or {}).get("content"):
                            yield text
        except httpx.HTTPError as error:
            raise unreachable(error) from error

    async def give_feedback(self, token: str, wanted: FeedbackCreate, *, once: str) -> Feedback:
        """`once` is made by the browser, one for each click: a repeat changes nothing."""
        return await self.once(Feedback, token, "/api/feedback", wanted, once)

    async def retract_feedback(self, token: str, feedback_id: str) -> Feedback:
        return await self.one(Feedback, token, "DELETE", f"/api/feedback/{part(feedback_id)}")

    # Duels and reviews

    async def create_duel(self, token: str, assistant: str, question: str) -> Duel:
        """Returns when both answers are complete."""
        body = {"assistant": assistant, "question": question}
        return await self.one(Duel, token, "POST", "/api/duels", json=body, timeout=httpx.Timeout(300))

    async def newest_duel(self, token: str) -> Duel | None:
        return next(iter(await self.list(Duel, token, "/api/duels", limit=1)), None)

    async def vote(self, token: str, duel_id: str, given: Vote, *, once: str) -> Duel:
        return await self.once(Duel, token, f"/api/duels/{part(duel_id)}/vote", given, once)

    async def reveal_duel(self, token: str, duel_id: str) -> Duel:
        return await self.one(Duel, token, "POST", f"/api/duels/{part(duel_id)}/reveal")

    async def next_review(self, token: str) -> ReviewQueue:
        return await self.one(ReviewQueue, token, "POST", "/api/reviews/next")

    async def give_review(self, token: str, wanted: ReviewCreate, *, once: str) -> Review:
        return await self.once(Review, token, "/api/reviews", wanted, once)

    async def undo_review(self, token: str, review_id: str) -> Review:
        return await self.one(Review, token, "DELETE", f"/api/reviews/{part(review_id)}")

    async def make_golden(self, token: str, completion_id: str, expected: str) -> GoldenItem:
        path = f"/api/reviews/golden/{part(completion_id)}"
        return await self.one(GoldenItem, token, "PUT", path, json={"expected": expected})

    async def agreement(self, token: str) -> Agreement:
        return await self.one(Agreement, token, "GET", "/api/reviews/agreement")

    async def learnt(self, token: str) -> LearntList:
        return await self.one(LearntList, token, "GET", "/api/feedback/learnt")


async def chunks(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON of each server-sent event up to `[DONE]`. Raises `Refused` on an error event or a missing end."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise of_body(response.status_code, chunk)
        yield chunk
    raise Refused(502, "broken_off", "The answer broke off. Ask again.")
