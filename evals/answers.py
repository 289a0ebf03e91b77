"""Asks every contestant the same questions, through the gateway that serves people.

Owns the asking: how many at once, what is tried again, and the proof of what answered (the response
headers). Answers that an earlier evaluation got from the very same contestant are not asked for again.
Knows no metric. A question that stays unanswered is an `Answer` with an `error`.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from evals.faults import english, fault
from evals.refusal import Refused
from service.contract.evaluations import Answer, Case, Contestant, EvaluationSpec, Fault

ORDER: tuple[Contestant, ...] = ("candidate", "live", "base")
PAUSES = (0.5, 2.0)
"""Seconds before the second and the third try; a longer `retry-after` of the gateway is kept to."""
LONGEST_PAUSE = 30.0

Answers = dict[Contestant, list[Answer]]
"""For each contestant one answer for each case, in the order of the cases."""


def contestants(spec: EvaluationSpec) -> list[Contestant]:
    """Who is asked, candidate first. A live release that is the base itself is asked once, as the base."""
    same = spec.models.get("live") == spec.models.get("base")
    return [who for who in ORDER if who in spec.models and not (who == "live" and same)]


def asked(spec: EvaluationSpec) -> list[Contestant]:
    """Those of the contestants whose answers are not known already."""
    return [who for who in contestants(spec) if who not in spec.known]


def known(spec: EvaluationSpec, cases: list[Case], lines: Iterable[Any]) -> Answers:
    """The answers that are known already, unscored. Raises `Refused` when they do not fit the cases."""
    given = [Answer.model_validate(line) for line in lines]
    found: Answers = {}
    for who in spec.known:
        theirs = {answer.case: answer for answer in given if answer.contestant == who}
        expected = spec.adapters.get(who)
        fits = all(str(case.id) in theirs for case in cases) and expected is not None
        if not fits or any(answer.error or answer.adapter != expected for answer in theirs.values()):
            raise Refused(
                "known_answers_unfit",
                f"The answers taken over for '{who}' are not one for each case, by its own adapter. "
                "Start the evaluation again without them.",
                "known",
            )
        found[who] = [theirs[str(case.id)].model_copy(update={"scores": {}}) for case in cases]
    return found


async def ask_all(
    spec: EvaluationSpec, cases: list[Case], key: str, answered: Callable[[], None], known: Answers
) -> Answers:
    """Ask every case of every contestant not `known`, `spec.at_once` at a time, the contestants taking turns.

    Taking turns gives all of them the same load and the same minute. `answered` is called after each
    answer. Raises `Refused` when the gateway turns the evaluation's key or a model's name away.
    """
    client = openai.AsyncOpenAI(
        base_url=spec.gateway.rstrip("/") + "/v1",
        api_key=key,
        max_retries=0,
        # The gateway is ours and near: no proxy of the environment gets to see the questions.
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False, timeout=spec.timeout),
    )
    who_asked = asked(spec)
    limit = asyncio.Semaphore(spec.at_once)
    seen: dict[Contestant, _Seen] = {who: _Seen(who, spec.adapters.get(who)) for who in who_asked}

    async def turn(who: Contestant, case: Case) -> Answer:
        async with limit:
            answer = await _ask(client, spec, who, case, seen[who])
        answered()
        return answer

    tasks: dict[Contestant, list[asyncio.Task[Answer]]] = {who: [] for who in who_asked}
    async with client:
        try:
            async with asyncio.TaskGroup() as group:
                for case in cases:
                    for who in who_asked:
                        tasks[who].append(group.create_task(turn(who, case)))
        except* Refused as several:
            raise several.exceptions[0] from None
    answers = known | {who: [task.result() for task in theirs] for who, theirs in tasks.items()}
    return {who: answers[who] for who in contestants(spec)}


@dataclass
class _Seen:
    """What has answered for one contestant so far: it must be the same to the end."""

    who: Contestant
    expected: str | None = None
    first: tuple[str, str] | None = field(default=None)

    def fault(self, adapter: str | None, release: str | None) -> Fault | None:
        """Why an answer with these headers does not count, or `None`."""
        if not adapter:
            return fault("unnamed")
        if self.who == "base" and adapter != "base":
            return fault("not_base", adapter=adapter[:12])
        if self.who == "candidate" and adapter == "base":
            return fault("only_base")
        if self.expected and adapter != self.expected:
            return fault("other", adapter=adapter[:12], expected=self.expected[:12])
        now = (adapter, release or "")
        self.first = self.first or now
        if now != self.first:
            return fault(
                "changed",
                adapter=now[0][:12],
                release=now[1] or "?",
                earlier=self.first[0][:12],
                before=self.first[1] or "?",
            )
        return None


async def _ask(
    client: openai.AsyncOpenAI, spec: EvaluationSpec, who: Contestant, case: Case, seen: _Seen
) -> Answer:
    """One question, tried up to three times when the line, the load or the server is at fault."""
    found = fault("unreached")
    for pause in (*PAUSES, None):
        try:
            async with asyncio.timeout(spec.timeout):
                return await _answer(client, spec, who, case, seen)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as refusal:
            raise _turned_away(refusal, spec.models[who]) from refusal
        except (TimeoutError, openai.APITimeoutError):
            found = fault("slow", seconds=f"{spec.timeout:g}")
        except openai.APIStatusError as refusal:
            found = fault("status", status=refusal.status_code, words=_words_of(refusal))
            if refusal.status_code != 429 and refusal.status_code < 500:
                break
            pause = None if pause is None else max(pause, _asked_to_wait(refusal))
        except openai.APIConnectionError:
            found = fault("unreached")
        except (openai.APIError, ValueError) as unread:
            found = fault("unread", words=str(unread)[:300])
            break
        if pause is not None:
            await asyncio.sleep(pause)
    return Answer(case=str(case.id), contestant=who, text="", error=english(found), fault=found)


async def _answer(
    client: openai.AsyncOpenAI, spec: EvaluationSpec, who: Contestant, case: Case, seen: _Seen
) -> Answer:
    messages: Any = case.prompt()  # checked by the contract
    raw = await client.chat.completions.with_raw_response.create(
        model=spec.models[who],
        messages=messages,
        temperature=0,
        seed=spec.seed,
        max_tokens=spec.max_tokens,
        store=False,
    )
    completion = raw.parse()
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        raise ValueError("it is no chat completion")
    adapter, release = raw.headers.get("x-tailorbird-adapter"), raw.headers.get("x-tailorbird-release")
    choice, found = completion.choices[0], seen.fault(adapter, release)
    return Answer(
        case=str(case.id),
        contestant=who,
        text=choice.message.content or "",
        finish_reason=choice.finish_reason,
        adapter=adapter,
        error=english(found) if found else None,
        fault=found,
    )


def _turned_away(refusal: openai.APIStatusError, model: str) -> Refused:
    if isinstance(refusal, openai.NotFoundError):
        return Refused(
            "unknown_model",
            f"The gateway does not know '{model}' (404). Check that it still exists, then start again.",
            "models",
        )
    return Refused(
        "key_refused",
        f"The gateway refused the evaluation's key ({refusal.status_code}). Give TAILORBIRD_EVALUATION_KEY a "
        f"valid key that may use '{model}'.",
        "TAILORBIRD_EVALUATION_KEY",
    )


def _words_of(refusal: openai.APIStatusError) -> str:
    body = refusal.body if isinstance(refusal.body, dict) else {}
    return str(body.get("message") or refusal.message)[:300]


def _asked_to_wait(refusal: openai.APIStatusError) -> float:
    try:
        return min(LONGEST_PAUSE, float(refusal.response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0
