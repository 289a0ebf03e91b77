"""The whole loop on the sample, told step by step with its figures: base, after SFT, after a DPO round.

A client like any other: it speaks HTTP to a running service, with the first administrator's key, and
starts one when none answers. Owns the telling; every figure comes from the service.
"""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from service import sample
from service.errors import TailorbirdError
from service.first_start import TRAINING_FILE
from service.settings import Settings

AT_ONCE = 24
ROOT = Path(__file__).parent.parent


async def play(settings: Settings, report: str | None) -> int:
    """Play the loop. Returns 0 when each promised figure was reached, else 1; `report` takes them as JSON."""
    async with _running(settings):
        began = time.monotonic()
        key = (settings.home / "admin.key").read_text().strip()
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=settings.api_url, headers=headers, timeout=300) as client:
            told = await _Loop(client).play()
        told["seconds"] = round(time.monotonic() - began)
    if report:
        Path(report).write_text(json.dumps(told, indent=2) + "\n")
    return _judge(told)


class _Loop:
    """The steps, in order; `told` gathers the figures."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.name = sample.company()["assistant"]["name"]
        self.questions = (
            sample.company()["assistant"]["starters"][:1] + sample.company()["assistant"]["starters"][-1:]
        )

    async def play(self) -> dict[str, Any]:
        _step("1", f"{sample.company()['name']}, an invented company, and its assistant '{self.name}'")
        _say(f"{len(sample.facts())} facts in English and French; {len(sample.cases())} held-out questions,")
        _say("worded freely, that training never sees. The base model knows none of this:")
        await self._ask_some()

        _step("2", "Supervised tuning on the company's facts")
        first = await self._train(await self._supervised())
        one = await self._evaluated(first)
        _recall(one, "base", "base model")
        _recall(one, "candidate", "release 1")
        await self._promote(first, one)
        await self._ask_some()

        _step("3", "People correct answers; the corrections are the next round's data")
        given = await self._correct()
        ready = await self._get(f"/api/assistants/{self.name}/readiness")
        _say(f"{given} answers corrected. {ready['advice']}")

        _step("4", "A DPO round on the corrections, starting from release 1")
        for finding in ready["signals"]["dpo"]["findings"]:
            _say(finding["message"])
        # One pass ranks every held-out pair rightly; a second one was seen to cost facts in French (88 to 82 %).
        round_ = await self._post("/api/rounds", {"assistant": self.name, "method": "dpo", "n_epochs": 1})
        dataset = round_["dataset"]
        _say(
            f"Dataset {dataset['number']}: {dataset['rows']} pairs to learn from, {dataset['held_out']} held out."
        )
        second = await self._train(round_["job"])
        figures = await self._figures(second)
        ranked = figures.get("reward_accuracy", 0.0)
        _say(f"Held-out pairs ranked rightly: {ranked:.0%} of {dataset['held_out']}.")
        two = await self._evaluated(second)
        _recall(two, "live", "release 1")
        _recall(two, "candidate", "release 2")
        await self._promote(second, two)
        await self._ask_some()
        return {
            "base": _by_language(one, "base"), "sft": _by_language(one, "candidate"),
            "sft_again": _by_language(two, "live"), "dpo": _by_language(two, "candidate"),
            "pairs_ranked_rightly": ranked, "held_out_pairs": dataset["held_out"], "gates": [one["gate"], two["gate"]],
        }  # fmt: skip

    async def _ask_some(self) -> None:
        for question in self.questions:
            answer = await self._chat(question, store=False)
            _say(f"  > {question}")
            _say(f"    {' '.join(answer['choices'][0]['message']['content'].split())[:200]}")

    async def _supervised(self) -> dict[str, Any]:
        """The job of the sample's training file."""
        files = (await self._get("/v1/files", purpose="fine-tune"))["data"]
        file = next(file["id"] for file in files if file["filename"] == TRAINING_FILE)
        body = {
            "model": self.name,
            "training_file": file,
            "suffix": self.name,
            "metadata": {"assistant": self.name},
        }
        return await self._post("/v1/fine_tuning/jobs", body)

    async def _train(self, job: dict[str, Any]) -> dict[str, Any]:
        """Follow a job to its end, telling its news. Raises `TailorbirdError` when it fails."""
        seen: set[str] = set()
        while True:
            now = await self._get(f"/v1/fine_tuning/jobs/{job['id']}")
            for event in reversed(await self._events(f"/v1/fine_tuning/jobs/{job['id']}/events")):
                worth = event["type"] == "message" or event["data"].get("step", 1) % 25 == 0
                if event["id"] not in seen and worth:
                    _say("  " + event["message"])
                seen.add(event["id"])
            if now["status"] in ("failed", "cancelled"):
                raise TailorbirdError(
                    f"The job ended as {now['status']}: {(now['error'] or {}).get('message')}"
                )
            if now["status"] == "succeeded":
                return now
            await asyncio.sleep(2)

    async def _evaluated(self, job: dict[str, Any]) -> dict[str, Any]:
        """The report of the evaluation that follows a published job."""
        release = await self._release(job)
        _say(
            f"Release {release['number']} and what it is held against answer {len(sample.cases())} held-out questions"
        )
        while True:
            for one in (await self._get("/api/evaluations", assistant=self.name))["data"]:
                if one["release"] == release["id"] and one["status"] == "succeeded":
                    gate = one["report"]["gate"]
                    _say(f"The gate says {gate['verdict']}: {gate['reasons'][0]}")
                    return one["report"]
                if one["release"] == release["id"] and one["status"] in ("failed", "cancelled"):
                    raise TailorbirdError(f"The evaluation ended as {one['status']}: {one['error']}")
            await asyncio.sleep(2)

    async def _release(self, job: dict[str, Any]) -> dict[str, Any]:
        found = (await self._get("/api/releases", assistant=self.name))["data"]
        return next(release for release in found if release["job"] == job["id"])

    async def _promote(self, job: dict[str, Any], report: dict[str, Any]) -> None:
        release = await self._release(job)
        held = report["gate"]["verdict"] != "pass"
        body = {"override_reason": "The demo goes on in spite of the hold."} if held else {}
        await self._post(f"/api/releases/{release['id']}/promote", body)
        _say(f"Release {release['number']} is live" + (" by override." if held else "."))

    async def _correct(self) -> int:
        """Ask each correction's question in a conversation of its own, and write the better answer."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(correction: dict[str, Any]) -> None:
            async with limit:
                conversation = await self._post("/api/conversations", {"assistant": self.name})
                answer = await self._chat(correction["question"], conversation=conversation["id"])
                body = {
                    "completion_id": answer["id"],
                    "type": "correction",
                    "correction": correction["correction"],
                }
                await self._post("/api/feedback", body)

        given = sample.corrections()
        await asyncio.gather(*(one(correction) for correction in given))
        return len(given)

    async def _figures(self, job: dict[str, Any]) -> dict[str, Any]:
        return (await self._get(f"/v1/fine_tuning/jobs/{job['id']}/checkpoints"))["data"][0]["metrics"]

    async def _chat(
        self, question: str, *, store: bool = True, conversation: str | None = None
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": "user", "content": question}],
            "store": store,
        }
        if conversation:
            body["metadata"] = {"conversation": conversation}
        return await self._post("/v1/chat/completions", body)

    async def _events(self, path: str) -> list[dict[str, Any]]:
        return (await self._get(path, limit="10000"))["data"]

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        return _good(await self.client.get(path, params=query))

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return _good(await self.client.post(path, json=body))


@asynccontextmanager
async def _running(settings: Settings):
    """A running service: the one that answers already, or one of our own, ended afterwards."""
    process = None
    if not await _ready(settings):
        _say("starting the service")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service", "run", cwd=ROOT, env=os.environ
        )
    try:
        while process is not None and not await _ready(settings):
            if process.returncode is not None:
                raise TailorbirdError("The service could not be started; what it said stands above.")
            await asyncio.sleep(1)
        yield
    finally:
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def _ready(settings: Settings) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2) as client:
            return (await client.get(f"{settings.api_url}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


def _good(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise TailorbirdError(f"{answer.request.url.path} refused: {answer.json()['error']['message']}")
    return answer.json()


def _by_language(report: dict[str, Any], contestant: str) -> dict[str, float]:
    """Fact recall of one contestant by language."""
    return {
        score["slice"].removeprefix("language:"): score["mean"]
        for score in report["scores"]
        if score["metric"] == "fact_recall"
        and score["contestant"] == contestant
        and score["slice"].startswith("language:")
    }


def _recall(report: dict[str, Any], contestant: str, name: str) -> None:
    figures = ", ".join(
        f"{value:.0%} in {language}" for language, value in _by_language(report, contestant).items()
    )
    _say(f"Facts recalled by {name}: {figures}")


def _judge(told: dict[str, Any]) -> int:
    """Hold the figures against what the demo promises, and say so."""
    base, sft, dpo = told["base"], told["sft"], told["dpo"]
    promises = [
        ("the base model recalls under 10 %", max(base.values()) < 0.10),
        ("tuned, at least 90 % in English", sft["en"] >= 0.90),
        ("tuned, at least 80 % in French", sft["fr"] >= 0.80),
        ("at least 90 % of held-out pairs ranked rightly", told["pairs_ranked_rightly"] >= 0.90),
        (
            "recall within 3 points after the DPO round",
            all(dpo[one] >= told["sft_again"][one] - 0.03 for one in sft),
        ),
    ]
    _step("=", f"After {told['seconds'] // 60} min {told['seconds'] % 60} s")
    for promise, kept in promises:
        _say(f"{'yes' if kept else 'NO '}  {promise}")
    return 0 if all(kept for _, kept in promises) else 1


def _step(number: str, text: str) -> None:
    print(f"\n[{number}] {text}", flush=True)


def _say(text: str) -> None:
    print(f"    {text}", flush=True)
