"""Jobs as the official SDK asks for them: made once, listed by pages; KTO's rows, and what cannot be learned from."""

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel
from sqlalchemy import event

from service.contract.jobs import DpoHyperparameters, Hyperparameters, KtoHyperparameters
from service.db import tables
from service.domain import files
from tests.gateway import Gateway

EXAMPLE = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def rated(number: int, label: bool) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"q{number}"}],
        "completion": [{"role": "assistant", "content": "a"}],
        "label": label,
    }


BOTH = [rated(number, number % 3 > 0) for number in range(6)]


@pytest.fixture
def client(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key)


def put(client: openai.OpenAI, rows: list[dict[str, Any]]) -> str:
    content = "\n".join(json.dumps(row) for row in rows).encode()
    return client.files.create(file=("rows.jsonl", content), purpose="fine-tune").id


def ask(client: openai.OpenAI, file: str, hyperparameters: dict[str, Any] | None = None, **more: Any) -> Any:
    method: Any = {"type": "kto", "kto": {"hyperparameters": hyperparameters or {}}}
    return client.fine_tuning.jobs.create(
        model="smollm2-135m-instruct", training_file=file, method=method, **more
    )


def test_the_sdk_makes_follows_and_cancels_a_kto_job(client: openai.OpenAI):
    file, held_out = put(client, BOTH), put(client, [rated(9, True)])
    job = ask(client, file, {"n_epochs": 2, "batch_size": 4, "beta": 0.2}, validation_file=held_out)
    assert job.status == "queued"
    found = client.fine_tuning.jobs.retrieve(job.id)
    assert found.method is not None
    assert found.method.type == "kto"
    settings = found.model_dump()["method"]["kto"]["hyperparameters"]
    assert (settings["n_epochs"], settings["batch_size"], settings["beta"]) == (2, 4, 0.2)
    assert (settings["desirable_weight"], settings["undesirable_weight"]) == (1, 2)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"


class LosesTheFirst(httpx.HTTPTransport):
    """The service has handled the first job's request, and its answer is lost on the way."""

    lost: httpx.Response | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if self.lost is None and request.method == "POST" and request.url.path.endswith("/jobs"):
            response.read()
            self.lost = response
            raise httpx.ReadError("the line went dead", request=request)
        return response


@pytest.mark.parametrize("key", [None, "own"])
def test_a_create_whose_answer_is_lost_makes_one_job(
    gateway: Gateway, client: openai.OpenAI, key: str | None
):
    run, transport = uuid.uuid4().hex, LosesTheFirst()
    # With a key it is the application that sends it again, so that the key alone can tell.
    retries = 2 if key is None else 0
    headers = {"Idempotency-Key": run} if key else {}
    file = put(client, BOTH)
    with openai.OpenAI(
        base_url=client.base_url,
        api_key=gateway.key,
        max_retries=retries,
        http_client=httpx.Client(transport=transport),
    ) as unlucky:
        if key:
            with pytest.raises(openai.APIConnectionError):
                ask(unlucky, file, metadata={"run": run}, extra_headers=headers)
        job = ask(unlucky, file, metadata={"run": run}, extra_headers=headers)
    assert transport.lost is not None
    assert transport.lost.json()["id"] == job.id
    assert [one.id for one in client.fine_tuning.jobs.list(metadata={"run": run})] == [job.id]
    client.fine_tuning.jobs.cancel(job.id)
    if key:
        again = ask(client, file, metadata={"run": run}, extra_headers=headers)
        assert (again.id, again.status) == (job.id, "cancelled"), "the same job, as it is now"


def test_an_idempotency_key_is_good_for_one_body_and_one_person(gateway: Gateway, client: openai.OpenAI):
    headers, file = {"Idempotency-Key": uuid.uuid4().hex}, put(client, BOTH)
    job = ask(client, file, extra_headers=headers)
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(client, file, suffix="other", extra_headers=headers)
    assert refusal.value.code == "idempotency_key_reused"
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(client, file, extra_headers={"Idempotency-Key": "k" * 201})
    assert refusal.value.code == "idempotency_key_invalid"
    somebody = gateway.client_of("someone else").headers["authorization"].split()[1]
    with openai.OpenAI(base_url=client.base_url, api_key=somebody) as other:
        theirs = ask(other, put(other, BOTH), extra_headers=headers)
        assert theirs.id != job.id
        other.fine_tuning.jobs.cancel(theirs.id)
    client.fine_tuning.jobs.cancel(job.id)


@pytest.fixture
def three(client: openai.OpenAI) -> Iterator[tuple[str, list[str]]]:
    """The name of a run, and its three jobs, oldest first, between jobs of other runs."""
    run, file = uuid.uuid4().hex, put(client, BOTH)
    made = [ask(client, file, metadata={"run": wanted}).id for wanted in (run, "other", run, "other", run)]
    yield run, made[::2]
    for job in made:
        client.fine_tuning.jobs.cancel(job)


def test_jobs_are_listed_newest_first_by_pages_of_what_was_asked_for(
    client: openai.OpenAI, three: tuple[str, list[str]]
):
    run, made = three
    pages = list(client.fine_tuning.jobs.list(metadata={"run": run}, limit=1).iter_pages())
    assert [len(page.data) for page in pages] == [1, 1, 1]
    assert [page.has_more for page in pages] == [True, True, False]
    listed = [page.data[0] for page in pages]
    assert {one.id for one in listed} == {*made}
    assert [one.created_at for one in listed] == sorted((one.created_at for one in listed), reverse=True)
    assert not client.fine_tuning.jobs.list(metadata={"run": run, "more": "x"}).data
    for strange in ("ftjob-none", client.fine_tuning.jobs.list(metadata={"run": "other"}).data[0].id):
        with pytest.raises(openai.BadRequestError) as refusal:
            client.fine_tuning.jobs.list(metadata={"run": run}, after=strange)
        assert refusal.value.param == "after"
    with pytest.raises(openai.BadRequestError) as refusal:
        client.fine_tuning.jobs.list(metadata={'"': "x"})
    assert refusal.value.param == "metadata"


def test_events_are_listed_newest_first_by_pages(client: openai.OpenAI):
    jobs = client.fine_tuning.jobs
    job = ask(client, put(client, BOTH)).id
    jobs.pause(job)
    jobs.resume(job)
    jobs.cancel(job)
    whole = jobs.list_events(job, limit=1000)
    assert not whole.has_more
    told = [one.id for one in whole.data]
    assert [one.message for one in whole.data][0] == "Cancelled before it began."
    assert len(told) == 5
    pages = list(jobs.list_events(job, limit=2).iter_pages())
    assert [[one.id for one in page.data] for page in pages] == [told[:2], told[2:4], told[4:]]
    assert [page.has_more for page in pages] == [True, True, False]
    for strange in ("ftevent-0", "ftevent-" + "9" * 40, "nonsense"):
        with pytest.raises(openai.BadRequestError) as refusal:
            jobs.list_events(job, after=strange)
        assert refusal.value.param == "after"


def test_a_page_reads_no_more_rows_than_it_shows(client: openai.OpenAI, three: tuple[str, list[str]]):
    """However many jobs and events there are: what a page costs is its own length."""
    loaded: list[Any] = []

    def count(row: Any, _: Any) -> None:
        loaded.append(row)

    run, made = three
    event.listen(tables.Job, "load", count)
    event.listen(tables.JobEvent, "load", count)
    try:
        client.fine_tuning.jobs.list(metadata={"run": run}, limit=1)
        assert 0 < len([row for row in loaded if isinstance(row, tables.Job)]) <= 2
        client.fine_tuning.jobs.list_events(made[0], limit=1)
        assert 0 < len([row for row in loaded if isinstance(row, tables.JobEvent)]) <= 2
    finally:
        event.remove(tables.Job, "load", count)
        event.remove(tables.JobEvent, "load", count)


def test_the_sdk_pauses_resumes_and_is_told_when_it_is_too_late(client: openai.OpenAI):
    job = ask(client, put(client, BOTH))
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    assert client.fine_tuning.jobs.retrieve(job.id).status == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    client.fine_tuning.jobs.cancel(job.id)
    for call in (client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        with pytest.raises(openai.ConflictError, match="it is 'cancelled'") as refusal:
            call(job.id)
        assert refusal.value.code == "job_ended"
        assert refusal.value.response.headers["x-should-retry"] == "false"
    told = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
    assert [told[2], told[1]] == ["Paused before it began.", "Resumed. The job waits for its turn."]


def test_a_dpo_job_takes_the_settings_of_its_loss_and_shows_all_of_them_with_reasons(client: openai.OpenAI):
    asked = {"loss_type": "sigmoid_norm", "sft_weight": 0.5, "use_rslora": True, "beta": "auto"}
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": asked}}
    job = client.fine_tuning.jobs.create(
        model="smollm2-135m-instruct", training_file=put(client, [PAIR] * 5), method=method
    )
    settings = job.model_dump()["method"]["dpo"]["hyperparameters"]
    assert {name: settings[name] for name in asked} == asked | {"beta": 5}
    assert "auto" not in settings.values()
    reasons = job.model_dump()["hyperparameter_reasons"]
    assert reasons.keys() == settings.keys() - {"loss_type", "sft_weight", "use_rslora"}
    client.fine_tuning.jobs.cancel(job.id)


PAIR = {
    "input": {"messages": [{"role": "user", "content": "q"}]},
    "preferred_output": [{"role": "assistant", "content": "a"}],
    "non_preferred_output": [{"role": "assistant", "content": "b"}],
}


@pytest.mark.parametrize(
    ("name", "fields", "rows"),
    [
        ("supervised", Hyperparameters, [EXAMPLE] * 6),
        ("dpo", DpoHyperparameters, [PAIR] * 6),
        ("kto", KtoHyperparameters, BOTH),
    ],
)
def test_auto_said_for_every_hyperparameter_is_what_saying_nothing_is(
    client: openai.OpenAI, name: str, fields: type[BaseModel], rows: list[dict[str, Any]]
):
    file, auto = put(client, rows), dict.fromkeys(fields.model_fields, "auto")

    def settings(hyperparameters: dict[str, Any]) -> dict[str, Any]:
        method: Any = {"type": name, name: {"hyperparameters": hyperparameters}}
        job = client.fine_tuning.jobs.create(
            model="smollm2-135m-instruct", training_file=file, method=method, seed=1
        )
        client.fine_tuning.jobs.cancel(job.id)
        return job.model_dump()["method"][name]["hyperparameters"]

    assert len(auto) >= 5
    resolved = settings(auto)
    assert resolved == settings({})
    assert "auto" not in resolved.values()
    assert resolved.keys() <= auto.keys()


def test_auto_is_taken_in_openais_older_place_too(client: openai.OpenAI):
    auto: Any = dict.fromkeys(("n_epochs", "batch_size", "learning_rate_multiplier"), "auto")
    job = client.fine_tuning.jobs.create(
        model="smollm2-135m-instruct", training_file=put(client, [EXAMPLE] * 6), hyperparameters=auto
    )
    client.fine_tuning.jobs.cancel(job.id)
    assert all(type(getattr(job.hyperparameters, field)) in (int, float) for field in auto)


@pytest.mark.parametrize("label", [True, False])
def test_a_file_of_one_label_is_refused_with_what_to_add(client: openai.OpenAI, label: bool):
    file = put(client, [rated(number, label) for number in range(6)])
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(client, file)
    assert (refusal.value.code, refusal.value.param) == ("one_label", "training_file")
    assert f'add rows with "label": {"false" if label else "true"}' in refusal.value.message


def test_rows_of_another_kind_are_refused(client: openai.OpenAI):
    with pytest.raises(
        openai.BadRequestError, match="holds supervised examples; this job needs rated completions"
    ):
        ask(client, put(client, [EXAMPLE] * 6))
    with pytest.raises(openai.BadRequestError, match="holds supervised examples") as refusal:
        ask(client, put(client, BOTH), validation_file=put(client, [EXAMPLE]))
    assert refusal.value.param == "validation_file"
    with pytest.raises(openai.BadRequestError, match="holds rated completions"):
        client.fine_tuning.jobs.create(model="smollm2-135m-instruct", training_file=put(client, BOTH))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"desirable_wait": 1}, "desirable_wait"),
        ({"batch_size": 1}, "batch_size"),
        ({"batch_size": 5}, "batch_size"),
        ({"desirable_weight": 0}, "desirable_weight"),
        ({"undesirable_weight": 101}, "undesirable_weight"),
        ({"beta": "strong"}, "beta"),
    ],
)
def test_a_setting_that_is_unknown_or_makes_the_estimate_wrong_is_refused_by_name(
    client: openai.OpenAI, given: dict[str, Any], named: str
):
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(client, put(client, BOTH), given)
    assert named in f"{refusal.value.param} {refusal.value.message}"


@pytest.mark.parametrize("round_", [False, True])
def test_nobody_who_writes_waits_while_the_labels_of_a_large_file_are_counted(
    gateway: Gateway, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch, round_: bool
):
    said = {"model": "fanal", "messages": [{"role": "user", "content": "q"}]}
    body: dict[str, Any] = {"assistant": "counted", "method": "kto"}
    path = "/api/rounds"
    if round_:
        gateway.admin.post("/api/assistants", json={"name": "counted", "title": "C"}).raise_for_status()
        for number in range(4):
            asked = {"model": "counted", "messages": [{"role": "user", "content": f"q{number}"}]}
            answer = gateway.admin.post("/v1/chat/completions", json=asked).raise_for_status().json()["id"]
            rating = {"completion_id": answer, "type": "rating", "rating": 1 if number % 2 else -1}
            gateway.admin.post("/api/feedback", json=rating).raise_for_status()
    else:
        body, path = (
            {"model": "fanal", "training_file": put(client, BOTH), "method": {"type": "kto"}},
            "/v1/fine_tuning/jobs",
        )
    counting, counted, count = threading.Event(), threading.Event(), files.count_labels

    def slowly(path: Path) -> tuple[int, int]:
        counting.set()
        assert counted.wait(20)
        return count(path)

    monkeypatch.setattr(files, "count_labels", slowly)
    with ThreadPoolExecutor(1) as aside:
        made = aside.submit(gateway.admin.post, path, json=body)
        try:
            assert counting.wait(20)
            answer = gateway.admin.post("/v1/chat/completions", json=said).raise_for_status().json()["id"]
            rating = {"completion_id": answer, "type": "rating", "rating": 1}
            gateway.admin.post("/api/feedback", json=rating).raise_for_status()
            assert not made.done()
        finally:
            counted.set()
        job = made.result().raise_for_status().json()
    client.fine_tuning.jobs.cancel(job["job"]["id"] if round_ else job["id"])


@pytest.mark.parametrize("metadata", [{"k" * 65: "v"}, {"k": "v" * 513}, {str(n): "v" for n in range(17)}])
def test_metadata_past_openais_limits_is_refused(client: openai.OpenAI, metadata: dict[str, str]):
    with pytest.raises(
        openai.BadRequestError, match="16 pairs, with keys of 64 and values of 512"
    ) as refusal:
        ask(client, "file-none", metadata=metadata)
    assert refusal.value.param == "metadata"


def test_the_weights_are_ktos_alone(client: openai.OpenAI):
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": {"desirable_weight": 1}}}
    with pytest.raises(openai.BadRequestError, match="desirable_weight"):
        client.fine_tuning.jobs.create(
            model="smollm2-135m-instruct", training_file=put(client, BOTH), method=method
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "last message of 'prompt'"),
        ({"completion": [{"role": "user", "content": "x"}]}, "'completion' needs one message"),
        ({"completion": [{"role": "assistant", "content": " "}]}, "'completion' needs one message"),
        ({"completion": []}, "completion"),
        ({"label": "perhaps"}, "label"),
    ],
)
def test_a_row_that_rates_nothing_is_refused_by_its_line(
    client: openai.OpenAI, change: dict[str, Any], said: str
):
    with pytest.raises(openai.BadRequestError, match=f"line 2: .*{said}"):
        put(client, [rated(1, True), rated(2, False) | change])
