"""Tuned models as the official SDK lists, reads and deletes them, whatever their names hold."""

import json
import sqlite3

import httpx
import openai
import pytest

from service.storage.local import Store
from tests.gateway import Gateway
from tests.service.storage.adapters import adapter

MODEL = "ft:smollm2-135m-instruct:tailorbird:a/b c:0123456789ab"
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def gateway(own_gateway: Gateway) -> Gateway:
    """One of its own: rows are put into its database by hand."""
    return own_gateway


def tuned(gateway: Gateway, owner: str, *, model: str = MODEL, digest: str = DIGEST) -> None:
    """A published model of that user's."""
    job = f"ftjob-{digest[:8]}"
    manifest = json.dumps({})
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        (user_id,) = database.execute("select id from users where name = ?", (owner,)).fetchone()
        database.execute(
            "insert into jobs (id, kind, status, user_id, request, settings, model, attempts, cancel_requested,"
            " created_at) values (?, 'sft', 'succeeded', ?, '{}', '{}', 'base', 1, 0, 1)",
            (job, user_id),
        )
        database.execute(
            "insert into adapters (digest, model, job_id, user_id, manifest, proof, report, bytes, created_at)"
            " values (?, ?, ?, ?, ?, '{}', '{}', 1, 1)",
            (digest, model, job, user_id, manifest),
        )


def key_of(client: httpx.Client) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


def test_a_tuned_model_is_read_and_deleted_by_its_owner_under_any_name(gateway: Gateway):
    with gateway.client_of("Olga") as olga:
        tuned(gateway, "Olga")
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key_of(olga), max_retries=0)
        assert client.models.retrieve(MODEL).id == MODEL
        assert MODEL in [model.id for model in client.models.list()]
        deleted = client.models.delete(MODEL)
        assert (deleted.id, deleted.deleted, deleted.object) == (MODEL, True, "model")
        assert MODEL not in [model.id for model in client.models.list()]
        for call in (client.models.retrieve, client.models.delete):
            with pytest.raises(openai.NotFoundError) as gone:
                call(MODEL)
            assert gone.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])


async def test_a_live_model_is_refused_with_a_conflict_that_is_not_tried_again(gateway: Gateway):
    model, digest = f"{MODEL}:live", "cd" * 32
    with gateway.client_of("Lena"):
        tuned(gateway, "Lena", model=model, digest=digest)
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.execute(
            "insert into releases (id, assistant, number, adapter, created_at) values ('rel_1', 'fanal', 1, ?, 1)",
            (digest,),
        )
        database.execute("update assistants set live_release_id = 'rel_1' where name = 'fanal'")
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as client:
        with pytest.raises(openai.ConflictError, match="answers as 'fanal'") as refused:
            await client.models.delete(model)
        assert refused.value.code == "model_in_use"
        assert refused.value.response.headers["x-should-retry"] == "false"
        assert (await client.models.retrieve(model)).id == model
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.execute("update assistants set live_release_id = null where name = 'fanal'")


def test_others_and_other_models_are_refused(gateway: Gateway):
    model = f"{MODEL}:mine"
    with gateway.client_of("Mara"), gateway.client_of("Noor") as other:
        tuned(gateway, "Mara", model=model, digest="fa" * 32)
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key_of(other), max_retries=0)
        for name in (model, "fanal", gateway.settings.model_name):
            with pytest.raises(openai.PermissionDeniedError):
                client.models.delete(name)
    admin = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    assert admin.models.delete(model).deleted


def test_a_model_whose_adapter_was_made_for_another_base_model_is_refused_before_the_engine_sees_it(
    gateway: Gateway,
):
    model, digest = f"{MODEL}:foreign", "ad" * 32
    files = adapter(gateway.settings.home / "foreign", manifest={"base_model": "another"})
    files.rename(Store(gateway.settings.home).adapter(digest))
    with gateway.client_of("Ada") as ada:
        tuned(gateway, "Ada", model=model, digest=digest)
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key_of(ada), max_retries=0)
        with pytest.raises(openai.BadRequestError, match="made for the base model 'another'") as refused:
            client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
        assert refused.value.code == "wrong_base_model"
    assert digest not in gateway.engine.loaded


@pytest.mark.parametrize("number", ["²", "٣", "9" * 20, "-1", ""])
def test_what_is_no_number_of_a_release_names_no_model(gateway: Gateway, number: str):
    model, ask = f"fanal@{number}", gateway.admin
    for answer in (
        ask.post(
            "/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "x"}]}
        ),
        ask.post("/v1/responses", json={"model": model, "input": "x"}),
        ask.get(f"/v1/models/{model}"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
