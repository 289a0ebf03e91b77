"""What is told before a job, held against the running engine and against what the job then took.

The job learns ratings without pairs, and is followed to an answer of what it made.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
from openai.types.fine_tuning import FineTuningJob

from service.contract.chat import Message
from service.contract.estimates import Estimate
from service.contract.jobs import TrainingReport
from service.contract.rendering import Rendered
from service.engine import rendering
from service.engine.client import Engine
from service.engine.server import socket_path
from service.settings import EMBEDDED
from tests.loop.steps import finished, sdk, upload
from tests.running import Running
from training.tokenizer import load_chat

pytestmark = pytest.mark.heavy

PASSES = 2


def rated(count: int) -> list[dict[str, Any]]:
    """Short answers are wanted, long ones are not."""
    said = ("Yes, pier {n} is open.", "Yes, pier {n} is open. It always is, as you know.")
    return [
        {
            "prompt": [{"role": "user", "content": f"Is pier number {n} open?"}],
            "completion": [{"role": "assistant", "content": said[n % 2].format(n=n)}], "label": n % 2 == 0,
        }
        for n in range(count)
    ]  # fmt: skip


def test_rated_answers_are_learned_published_and_answered_from_as_the_estimate_told(service: Running):
    client = sdk(service)
    service.wait_ready()
    files = {"training_file": upload(client, rated(16)), "validation_file": upload(client, rated(20)[16:])}
    method = {"type": "kto", "kto": {"hyperparameters": {"n_epochs": PASSES}}}
    body: dict[str, Any] = {"model": EMBEDDED, **files, "method": method, "seed": 5}
    with service.client() as http:
        told = Estimate.model_validate(
            http.post("/api/estimates", json=body, timeout=180).raise_for_status().json()
        )
        assert told.ready, told.look.findings
        done = finished(client, client.fine_tuning.jobs.create(**body).id)
        assert (done.status, done.error) == ("succeeded", None)
        report = http.get(f"/api/jobs/{done.id}/report").raise_for_status().json()
        after = http.post("/api/estimates", json=body, timeout=180).raise_for_status().json()
    trained = TrainingReport.model_validate(report["training"])
    assert (trained.rows, trained.held_out) == (told.look.rows, told.held_out) == (16, 4)
    assert (trained.steps, trained.epochs) == (told.look.steps, PASSES)
    assert done.trained_tokens == trained.trained_tokens
    assert told.look.tokens * PASSES == pytest.approx(trained.trained_tokens, rel=0.01)
    assert {"reward_desirable", "reward_undesirable", "kl"} <= trained.metrics.keys()
    assert trained.usage is not None
    assert trained.usage.peak_bytes is not None
    for estimate in (told, Estimate.model_validate(after)):
        low, high = estimate.memory_bytes.low, estimate.memory_bytes.high
        assert low is not None
        assert high is not None
        assert low < trained.usage.peak_bytes < high, estimate.memory_bytes.because
    assert (after["seconds"]["basis"], after["seconds"]["confidence"]) == ("earlier_jobs", "low")
    assert after["seconds"]["low"] < trained.seconds < after["seconds"]["high"]
    _is_asked_for_what_it_learned(service, done)


def _is_asked_for_what_it_learned(service: Running, done: FineTuningJob) -> None:
    """Who asks for its model is answered, and by the adapter of this job: the base model's answers differ."""
    client, model = sdk(service), str(done.fine_tuned_model)
    assert model in [one.id for one in client.models.list()]
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": "Is pier number 7 open?"}], temperature=0, max_tokens=12
    )  # fmt: skip
    answer = raw.parse()
    assert (answer.model, bool(answer.choices[0].message.content)) == (model, True)
    with service.client() as http:
        found = http.get(f"/api/adapters/{raw.headers['x-tailorbird-adapter']}").raise_for_status().json()
    manifest, proof = found["manifest"], found["proof"]
    assert (found["model"], manifest["kind"], manifest["job"]) == (model, "kto", done.id)
    assert proof["distance_to_trainer"] <= proof["tolerance"] < proof["distance_to_base"]


def prompts(base: Path) -> list[Rendered]:
    """As the trainer reads them with the tokenizer and template in `base`."""
    chat, found = load_chat(base), []
    for n, said in enumerate(("Is pier 7 open?", "And the ferry?\n\nPlease say.", "Où est le quai ?")):
        message = Message(role="user", content=said)
        tokens = chat.ids([message], answer_next=True)
        texts = [chat.tokenizer.decode([one]) for one in tokens]
        asked = [{"role": "user", "content": said}]
        found.append(Rendered(row=f"train.jsonl line {n + 1}", messages=asked, tokens=tokens, texts=texts))
    return found


async def test_a_template_that_is_not_the_engines_is_told_by_the_running_engine_with_the_first_other_token(
    service: Running, tmp_path: Path
):
    service.wait_ready()
    base, other = service.home / "models" / EMBEDDED, tmp_path / "other"
    shutil.copytree(base, other, ignore=shutil.ignore_patterns("*.safetensors"))
    template = other / "chat_template.jinja"
    changed = template.read_text().replace("a helpful AI assistant", "an AI assistant")
    assert changed != template.read_text()
    template.write_text(changed)
    engine = Engine(f"unix:{socket_path(service.home)}")
    try:
        same = await rendering.compare([engine], EMBEDDED, prompts(base))
        different = await rendering.compare([engine], EMBEDDED, prompts(other))
    finally:
        await engine.close()
    assert (same.state, same.prompts) == ("same", 3)
    assert (different.state, different.row) == ("different", "train.jsonl line 1")
    assert "the engine does not read this prompt as the trainer does: its token" in different.because
