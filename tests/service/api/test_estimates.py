"""`/api/estimates`: who may ask, what is refused before anything starts, and a whole answer by the real process."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import sample
from service.contract.chat import Message
from tests.fake_engine import BASE
from tests.gateway import Gateway, running_gateway
from tests.service.api.test_imports import bring, jsonl, read_in
from tests.training.conftest import examples, rated, tiny_base, tokenizer

__all__ = ["tiny_base", "tokenizer"]


def put(client: httpx.Client, rows: list[dict[str, Any]]) -> str:
    data = "\n".join(json.dumps(row) for row in rows).encode()
    form: Any = {"files": {"file": ("a.jsonl", data)}, "data": {"purpose": "fine-tune"}}
    return client.post("/v1/files", **form).raise_for_status().json()["id"]


def ask(client: httpx.Client, file: str, **more: Any) -> httpx.Response:
    model = more.pop("model", BASE)
    return client.post("/api/estimates", json={"model": model, "training_file": file, **more}, timeout=120)


def error(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    found = answer.json()["error"]
    return answer.status_code, found["code"], found["param"]


def test_a_stranger_is_turned_away(gateway: Gateway):
    assert (
        httpx.post(f"{gateway.url}/api/estimates", json={"model": "m", "training_file": "f"}).status_code
        == 401
    )


def test_nobody_sees_the_rows_of_another_and_only_reviewers_name_an_assistant(gateway: Gateway):
    theirs = put(gateway.admin, examples(3))
    with gateway.client_of("estimator") as user:
        assert error(ask(user, theirs)) == (400, "invalid_value", "training_file")
        own = put(user, examples(3))
        assert ask(user, own, metadata={"assistant": "fanal"}).status_code == 403
        assert ask(user, own, model="fanal").status_code == 403


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"training_file": "file-none"}, "training_file"),
        ({"validation_file": "file-none"}, "validation_file"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"method": {"type": "dpo"}}, "training_file"),
    ],
)
def test_what_a_job_would_be_refused_for_is_refused_alike(gateway: Gateway, body: dict[str, Any], param: str):
    fields = {"model": BASE, "training_file": put(gateway.admin, examples(3))} | body
    answers = [gateway.admin.post(path, json=fields) for path in ("/api/estimates", "/v1/fine_tuning/jobs")]
    assert answers[0].status_code == 400
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["error"]["param"] == param


def test_where_the_base_model_is_not_on_the_machine_it_says_so_and_starts_nothing(gateway: Gateway):
    answer = ask(gateway.admin, put(gateway.admin, examples(3)))
    assert error(answer) == (409, "no_checkpoint", None)
    assert "is not on this machine" in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def tuning(
    tiny_base: Path,
    tmp_path_factory: pytest.TempPathFactory,
    schema: Path,
) -> Iterator[Gateway]:
    """A gateway whose base model is the tiny one."""
    home = tmp_path_factory.mktemp("tuning")
    with running_gateway(home, schema, base_model=str(tiny_base), base_name=BASE, threads=2) as running:
        yield running


@pytest.mark.heavy
def test_an_estimate_shows_what_a_job_would_learn_and_makes_none(tuning: Gateway, tiny_base: Path):
    from training.tokenizer import load_chat  # brings transformers, which the quick tests do without

    chat = load_chat(tiny_base)
    tuning.engine.tokenize = lambda said: chat.ids([Message(**one) for one in said], answer_next=True)
    held_out = put(tuning.admin, examples(2, start=90))
    hyperparameters = {"n_epochs": 4, "batch_size": 2}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    body = {"method": method, "seed": 7, "metadata": {"why": "a test"}, "validation_file": held_out}
    answer = ask(tuning.admin, put(tuning.admin, examples(9)), **body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["ready"], found["look"]["findings"]
    assert found["hyperparameters"]["n_epochs"] == 4
    assert found["hyperparameters"].keys() - hyperparameters.keys() == found["chosen"].keys()
    assert (found["seed"], found["held_out"], found["method"]) == (7, 2, "supervised")
    look = found["look"]
    assert (look["rows"], look["steps"], look["truncated"]) == (9, 20, 0)
    assert look["end_learned"]
    assert look["trained_as_served"]
    tokens = look["shown"][0]["sequences"][0]["tokens"]
    assert (
        "".join(token["text"] for token in tokens if token["loss"]) == "Ferry 0 leaves from pier 0.<|im_end|>"
    )
    assert found["servable"] == {"rank": True, "max_rank": 16, "modules": True, "not_served": []}
    assert found["seconds"]["basis"] in ("formula", "none")
    assert (found["rendering"]["state"], found["rendering"]["prompts"]) == ("same", 5)
    assert tuning.admin.get("/v1/fine_tuning/jobs").json()["data"] == []
    assert list((tuning.settings.home / "imports").glob("look_*")) == []


@pytest.mark.heavy
def test_rows_that_cannot_be_learned_are_named_before_there_is_a_job(tuning: Gateway):
    rows = rated(6)
    rows[1]["completion"][0]["content"] = "nan"
    tuning.engine.tokenize = lambda said: [0, 1, 2]
    rows[2]["prompt"] = [
        {"role": "user", "content": sample.cases()[0]["question"]}
    ]  # the job names no assistant
    answer = ask(tuning.admin, put(tuning.admin, rows), method={"type": "kto"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert not found["ready"]
    assert [(one["code"], one["row"]) for one in found["look"]["findings"]] == [
        ("held_out_case", "train.jsonl"), ("nan_row", "train.jsonl line 2"), ("wrong_prompt", "train.jsonl line 1"),
    ]  # fmt: skip
    assert "its token 1 is 0, the trainer's is" in found["look"]["findings"][2]["message"]
    tuning.engine.tokenize = None
    message = found["look"]["findings"][0]["message"]
    assert message.startswith("a.jsonl line 3 asks what the held-out question 'one of fanal' asks")
    assert found["hyperparameters"]["desirable_weight"] == 1


@pytest.mark.heavy
def test_one_rater_with_nine_of_ten_votes_in_a_file_that_is_brought_is_named_before_there_is_a_job(
    tuning: Gateway,
):
    judged = [
        {
            "prompt": f"When does ferry {n} go?",
            "chosen": f"At {n}.",
            "rejected": "Soon.",
            "by": f"p{n * (n % 10 == 0)}",
        }
        for n in range(30)
    ]
    brought = bring(tuning.admin, "votes.jsonl", jsonl(judged)).json()["id"]
    done = read_in(tuning.admin, brought, mapping={"person": "by"})
    assert done["report"]["sheet"]["largest_share"] > 0.9
    found = ask(tuning.admin, done["file_id"], method={"type": "dpo"}).raise_for_status().json()
    assert found["one_person"] == done["report"]["sheet"]["largest_share"]
    assert any("`one_person`" in note for note in found["notes"])


@pytest.mark.heavy
async def test_of_many_at_once_each_person_gets_one_and_nobody_keeps_the_others_out(tuning: Gateway):
    file = put(tuning.admin, examples(3))
    body = {"model": BASE, "training_file": file}
    reviewers = [tuning.client_of("weigher", "reviewer") for _ in range(2)]
    secrets = [f"Bearer {tuning.key}", *(one.headers["authorization"] for one in reviewers)]
    async with httpx.AsyncClient(base_url=tuning.url, timeout=120) as client:

        async def ask_as(secret: str) -> httpx.Response:
            return await client.post("/api/estimates", json=body, headers={"authorization": secret})

        greedy = [asyncio.create_task(ask_as(secrets[0])) for _ in range(4)]
        await asyncio.wait(greedy, return_when=asyncio.FIRST_COMPLETED)  # the first refusal: one is under way
        others = await asyncio.gather(*(ask_as(secret) for secret in secrets[1:]))
        answers = await asyncio.gather(*greedy)
    for one in reviewers:
        one.close()
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429]
    assert sorted(answer.status_code for answer in others) == [200, 429]
    refused = [answer for answer in [*answers, *others] if answer.status_code == 429]
    assert all("retry-after" in answer.headers for answer in refused)
    said = [answer.json()["error"]["message"].split(" is ")[0].split(" are ")[0] for answer in refused]
    assert said == [*["An estimate of yours"] * 3, "Estimates of others"]
    assert list((tuning.settings.home / "imports").glob("look_*")) == []


def correct(
    client: httpx.Client,
    model: str,
    question: str,
    text: str = "It leaves from pier 4 at nine in the morning.",
) -> None:
    """An answer of an assistant to a question, and a better one."""
    messages = [{"role": "user", "content": question}]
    asked = client.post("/v1/chat/completions", json={"model": model, "messages": messages})
    better = {"type": "correction", "correction": text}
    body = {"completion_id": asked.raise_for_status().json()["id"], **better}
    client.post("/api/feedback", json=body).raise_for_status()


def test_only_reviewers_have_a_round_reckoned(gateway: Gateway):
    path, body = "/api/estimates/round", {"assistant": "fanal"}
    assert httpx.post(f"{gateway.url}{path}", json=body).status_code == 401
    with gateway.client_of("estimator") as user:
        assert user.post(path, json=body).status_code == 403


def test_a_round_without_usable_feedback_is_refused_as_its_start_is(gateway: Gateway):
    new = {"name": "nobody-yet", "title": "Nobody yet"}
    gateway.admin.post("/api/assistants", json=new).raise_for_status()
    for wrong, param in (({"loss_typ": "robust"}, "loss_typ"), ({"lora_rank": 0}, "lora_rank")):
        asked = {"assistant": "nobody-yet", "hyperparameters": wrong}
        answer = gateway.admin.post("/api/rounds", json=asked)
        assert error(answer) == (400, "invalid_value", f"hyperparameters.{param}")
    body = {"assistant": "nobody-yet", "method": "dpo"}
    answers = [gateway.admin.post(path, json=body) for path in ("/api/estimates/round", "/api/rounds")]
    assert error(answers[0]) == (400, "no_data", None)
    assert answers[0].json() == answers[1].json()


@pytest.mark.heavy
def test_a_round_is_reckoned_on_the_feedback_as_it_stands_and_freezes_nothing(tuning: Gateway):
    for number in range(8):
        correct(tuning.admin, "fanal", f"Where does ferry {number} leave, and when?")
    given = {"n_epochs": 4, "lora_rank": 4, "max_length": 500, "beta": 0.2}
    body = {"assistant": "fanal", "method": "dpo", "hyperparameters": given}
    answer = tuning.admin.post("/api/estimates/round", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["method"] == "dpo"
    assert found["hyperparameters"].items() >= given.items()
    assert (found["look"]["rank"], found["look"]["max_length"]) == (4, 500)
    assert found["look"]["rows"] + found["held_out"] == 8
    says = [one["says"] for one in found["look"]["shown"][0]["sequences"]]
    assert says == ["preferred", "non_preferred"]
    assert [token["text"] for token in found["look"]["shown"][0]["sequences"][0]["tokens"] if token["end"]]
    assert found["chosen"]["loss_type"]["code"] == "loss_sigmoid"
    assert (found["ready"], found["rendering"]["state"]) == (True, "unchecked"), (
        "the engine has no such route"
    )

    # Corrections so long that the round is held: its estimate says so, and why.
    for number in range(8, 40):
        correct(
            tuning.admin, "fanal", f"Where does ferry {number} leave, and when?", "It leaves at nine. " * 30
        )
    held = tuning.admin.post("/api/estimates/round", json=body, timeout=120).json()
    assert tuning.admin.post("/api/rounds", json=body).json()["error"]["message"] == held["held"]
    assert (held["ready"], held["look"]["findings"]) == (False, [])
    body["override_reason"] = "The corrections are longer on purpose."
    assert tuning.admin.post("/api/estimates/round", json=body, timeout=120).json()["ready"]
    assert tuning.admin.get("/api/datasets").json()["data"] == []
    assert tuning.admin.get("/v1/fine_tuning/jobs").json()["data"] == []
