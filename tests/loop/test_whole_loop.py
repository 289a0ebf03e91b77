"""The whole loop with the official SDK on the real engine: upload, train, chat, correct, train again, promote."""

import openai
import psutil
import pytest

from service import sample
from tests.loop.steps import (
    answer,
    case_rows,
    evaluated,
    examples,
    finished,
    jsonl,
    recalled,
    release_of,
    sdk,
    upload,
)
from tests.running import Running
from tests.waiting import wait_until  # fmt: skip

pytestmark = pytest.mark.heavy
FACTS = 6


def engine_start(service: Running) -> float:
    """When the engine's process began; a restarted engine has another time."""
    children = psutil.Process(service.process.pid).children(recursive=True)
    return next(p.create_time() for p in children if "vllm.entrypoints" in " ".join(p.cmdline()))


def test_the_loop_closes_and_the_server_never_restarts(service: Running):
    client, facts = sdk(service), sample.facts()[:FACTS]
    began = engine_start(service)
    with service.client() as http:
        cases = upload(client, case_rows(facts), "evals")
        instructions = "You answer for Brumelle."
        wanted = {
            "name": "pilot",
            "title": "Pilot",
            "instructions": instructions,
            "temperature": 0,
            "max_tokens": 80,
        }
        http.post("/api/assistants", json={**wanted, "cases_file": cases}).raise_for_status()
        base = recalled(client, "pilot", facts)

        file = upload(client, examples(facts, instructions))
        job = client.fine_tuning.jobs.create(
            model="pilot", training_file=file, suffix="first", seed=1, metadata={"assistant": "pilot"},
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5, "lora_rank": 8}}},
        )  # fmt: skip
        assert job.status == "queued"
        done = finished(client, job.id)
        assert done.status == "succeeded", done.error
        assert done.fine_tuned_model
        assert done.trained_tokens
        told = [
            (event.type, event.data)
            for event in client.fine_tuning.jobs.list_events(job.id, limit=1000)
            if isinstance(event.data, dict)
        ]
        losses = [data["train_loss"] for kind, data in told if kind == "metrics"]
        assert "prompts_same" in [data.get("code") for _, data in told], "asked before its first step"
        assert losses[0] < losses[-1], "newest first: the loss fell"
        checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data
        assert checkpoints[0].fine_tuned_model_checkpoint == done.fine_tuned_model
        steps = [one.step_number for one in checkpoints]
        assert len(steps) <= 3
        assert steps[1:] == sorted(steps[1:], reverse=True)

        # The next chat request can use it, by its own name and as a release.
        assert done.fine_tuned_model in [model.id for model in client.models.list()]
        assert answer(client, done.fine_tuned_model, "Hello") != ""
        tuned = recalled(client, "pilot@1", facts)
        assert tuned > base
        assert tuned >= FACTS - 2
        first = release_of(http, "pilot", job.id)
        proof = http.get(f"/api/adapters/{first['adapter']}").json()["proof"]
        assert proof["same_prompt_tokens"]
        assert proof["distance_to_trainer"] <= proof["tolerance"] < proof["distance_to_base"]
        report = evaluated(http, first["id"])
        assert report["report"]["gate"]["verdict"] in ("pass", "hold")
        page = http.get(f"/api/evaluations/{report['id']}/report")
        assert "<svg" in page.text

        # Before promotion the assistant still answers with the base model; after it, with the release.
        assert recalled(client, "pilot", facts) == base
        http.post(
            f"/api/releases/{first['id']}/promote", json={"override_reason": "few cases, checked by hand"}
        ).raise_for_status()
        assert recalled(client, "pilot", facts) == tuned

        # People correct answers; the corrections become pairs, and the pairs a second release.
        chosen = {fact["id"] for fact in facts}
        given = [c for c in sample.corrections() if c["fact"] in chosen and c["language"] == "en"]
        given += [
            {"question": question, "correction": f"Thank you for asking. {fact['answer_en']}"}
            for fact in facts
            for question in fact["questions_en"][:3]
        ]
        for correction in given:
            completion = client.chat.completions.create(
                model="pilot", messages=[{"role": "user", "content": correction["question"]}], max_tokens=80
            )
            feedback = {
                "completion_id": completion.id,
                "type": "correction",
                "correction": correction["correction"],
            }
            http.post("/api/feedback", json=feedback).raise_for_status()
        ready = http.get("/api/assistants/pilot/readiness").json()
        assert ready["pairs"] >= FACTS
        dataset = (
            http.post("/api/datasets", json={"assistant": "pilot", "kind": "dpo"}).raise_for_status().json()
        )
        rows = client.files.content(dataset["training_file"]).read()
        assert rows.count(b"\n") == dataset["rows"]
        assert first["adapter"].encode() in rows, "every pair names the adapter that answered"

        second_job = client.fine_tuning.jobs.create(
            model="pilot", training_file=dataset["training_file"], validation_file=dataset["validation_file"],
            method={"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2, "beta": 0.1}}},
            metadata={"assistant": "pilot"},
        )  # fmt: skip
        done = finished(client, second_job.id)
        assert done.status == "succeeded", done.error
        second = release_of(http, "pilot", second_job.id)
        manifest = http.get(f"/api/adapters/{second['adapter']}").json()["manifest"]
        assert manifest["parent"] == first["adapter"], "the round went on from the release that was corrected"
        http.post(
            f"/api/releases/{second['id']}/promote", json={"override_reason": "few cases, checked by hand"}
        ).raise_for_status()
        assert recalled(client, "pilot", facts) >= tuned - 1 > base
        assert client.models.retrieve("pilot").id == "pilot"

        http.post("/api/assistants/pilot/rollback", json={"reason": "the test goes back"}).raise_for_status()
        raw = client.chat.completions.with_raw_response.create(
            model="pilot", messages=[{"role": "user", "content": "Hello"}], max_tokens=5
        )
        assert raw.headers["x-tailorbird-release"] == "pilot@1"
        assert raw.headers["x-tailorbird-adapter"] == first["adapter"]

        # On trial with half of the people, the second answers some, always the same, and nobody else.
        http.post(
            f"/api/releases/{second['id']}/stage", json={"share": 50, "override_reason": "tried with a few"}
        ).raise_for_status()
        twice = [{person: answering(client, person) for person in range(12)} for _ in range(2)]
        assert twice[0] == twice[1]
        assert set(twice[0].values()) == {("pilot@1", first["adapter"]), ("pilot@2", second["adapter"])}
        trial = http.get("/api/assistants/pilot/trial").raise_for_status().json()
        tried = sum(release == "pilot@2" for answers in twice for release, _ in answers.values())
        assert trial["staged"]["answers"] == tried
        assert trial["live"]["answers"] >= 24 - tried  # and what was asked in the second it began
    assert engine_start(service) == began


def answering(client: openai.OpenAI, person: int) -> tuple[str, str]:
    """Which release and adapter answer one customer of an application."""
    raw = client.chat.completions.with_raw_response.create(
        model="pilot",
        messages=[{"role": "user", "content": "Hello"}],
        max_tokens=2,
        user=f"customer {person}",
    )
    return raw.headers["x-tailorbird-release"], raw.headers["x-tailorbird-adapter"]


def test_a_running_jobs_checkpoint_answers_and_outlives_its_cancel_but_becomes_no_release(service: Running):
    client, question = sdk(service), sample.facts()[0]["questions_en"][0]
    facts = sample.facts()[:4]
    job = client.fine_tuning.jobs.create(
        model="smollm2-135m-instruct", training_file=upload(client, examples(facts, "x")),
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50}}},
    )  # fmt: skip
    listed = client.fine_tuning.jobs.checkpoints.list
    wait_until(lambda: listed(job.id).data, 240, "no pass was published")
    first = listed(job.id).data[0]
    name = first.fine_tuned_model_checkpoint
    assert name.endswith(f":ckpt-step-{first.step_number}")
    assert first.metrics.train_loss
    said = answer(client, name, question)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "running"
    assert said != answer(client, "smollm2-135m-instruct", question)
    raw = client.chat.completions.with_raw_response.create(
        model=name, messages=[{"role": "user", "content": question}], max_tokens=2
    )
    digest = raw.headers["x-tailorbird-adapter"]
    adapter = service.client().get(f"/api/adapters/{digest}").raise_for_status().json()
    assert (adapter["model"], adapter["manifest"]["step"]) == (name, first.step_number)
    proof = adapter["proof"]
    assert proof["distance_to_trainer"] <= proof["tolerance"] < proof["distance_to_base"]
    client.fine_tuning.jobs.cancel(job.id)
    ended = finished(client, job.id, 60)
    assert (ended.status, ended.fine_tuned_model) == ("cancelled", None)
    kept = listed(job.id).data[0].fine_tuned_model_checkpoint
    assert answer(client, kept, question) != ""
    assert job.id not in [release["job"] for release in service.client().get("/api/releases").json()["data"]]


def test_bad_input_to_the_real_engine_is_told_in_openais_shape(service: Running):
    client = sdk(service)
    with pytest.raises(openai.BadRequestError) as refusal:
        answer(client, "fanal", "word " * 5000)
    assert refusal.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        answer(client, "nobody", "Hello")
    with pytest.raises(openai.AuthenticationError):
        answer(client.with_options(api_key="tb-wrong"), "fanal", "Hello")
    with pytest.raises(openai.BadRequestError, match="line 2"):
        client.files.create(
            file=("rows.jsonl", jsonl(examples(sample.facts()[:1], "x")[:1]) + b"{broken\n"),
            purpose="fine-tune",
        )
