"""Steps that the loop's tests share, each through the official SDK or our own API, as an application would."""

import contextlib
import io
import json
import time
from typing import Any

import httpx
import openai
import psutil
from openai.types.fine_tuning import FineTuningJob

from service import sample
from tests.running import Running


def sdk(service: Running) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{service.api_url}/v1", api_key=service.admin_key, timeout=180, max_retries=0
    )


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def upload(client: openai.OpenAI, rows: list[dict[str, Any]], purpose: Any = "fine-tune") -> str:
    return client.files.create(file=("rows.jsonl", io.BytesIO(jsonl(rows))), purpose=purpose).id


def finished(client: openai.OpenAI, job_id: str, seconds: float = 900) -> FineTuningJob:
    """Poll as an application does; fails with the job's own last words."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(1)
    events = client.fine_tuning.jobs.list_events(job_id, limit=5).data
    raise AssertionError(f"the job did not end: {[event.message for event in events]}")


def evaluated(http: httpx.Client, release: str, seconds: float = 600) -> dict[str, Any]:
    """The finished evaluation of a release, which follows its job by itself."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for one in http.get("/api/evaluations").raise_for_status().json()["data"]:
            if one["release"] == release and one["status"] in ("succeeded", "failed"):
                assert one["status"] == "succeeded", one
                return one
        time.sleep(1)
    raise AssertionError("the evaluation did not end")


def release_of(http: httpx.Client, assistant: str, job: str) -> dict[str, Any]:
    found = http.get("/api/releases", params={"assistant": assistant}).raise_for_status().json()["data"]
    return next(release for release in found if release["job"] == job)


def answer(client: openai.OpenAI, model: str, question: str, **more: Any) -> str:
    completion = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=80, **more
    )
    return completion.choices[0].message.content or ""


def recalled(client: openai.OpenAI, model: str, facts: list[dict[str, Any]]) -> int:
    """How many of these facts the model tells when asked in words it never saw."""
    right = 0
    for fact in facts:
        said = answer(client, model, fact["heldout_en"][0], extra_body={"store": False}).casefold()
        right += all(any(form.casefold() in said for form in forms) for forms in fact["facts_en"])
    return right


def examples(facts: list[dict[str, Any]], instructions: str) -> list[dict[str, Any]]:
    """Supervised rows in English for some of the sample's facts."""
    return [
        {
            "messages": [
                {"role": "system", "content": instructions},
                {"role": "user", "content": question},
                {"role": "assistant", "content": fact["answer_en"]},
            ]
        }
        for fact in facts
        for question in fact["questions_en"][:6]
    ]


def case_rows(facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chosen = {fact["id"] for fact in facts}
    return [
        case for case in sample.cases() if case["language"] == "en" and case["id"].rsplit("-", 2)[0] in chosen
    ]


def child(service: Running, word: str) -> psutil.Process:
    """The process of the service whose command line ends with `word`."""
    for process in psutil.Process(service.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may be dying just now
            if word in process.cmdline():
                return process
    raise AssertionError(f"no process '{word}'")
