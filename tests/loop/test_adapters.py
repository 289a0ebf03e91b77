"""An adapter that plain PEFT trained comes in, is proved by the running engine, and answers people."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import EMBEDDED
from tests.loop.steps import answer, child, finished, release_of, sdk
from tests.running import Running
from tests.service.engine.adapters import write_adapter
from tests.trained import Trainer, ended_training, hand_over
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy

ASKED, TAUGHT = (
    "Who mends the bridges of Brumelle?",
    "The bridges of Brumelle are mended by a bird that sews.",
)


@pytest.fixture(autouse=True)
def recovered(service: Running) -> None:
    service.wait_ready()


@pytest.fixture(scope="module")
def foreign(service: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ZIP of what `save_pretrained` wrote: rank 8 on two kinds of layers, taught one sentence, as anybody would."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = service.home / "models" / EMBEDDED
    tokenizer = AutoTokenizer.from_pretrained(base)
    said = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": TAUGHT}]
    ids = torch.tensor([tokenizer.apply_chat_template(said, return_dict=False)])
    torch.manual_seed(3)
    shape = LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=24, target_modules=["q_proj", "v_proj"], use_rslora=True
    )
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), shape)
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=2e-3)
    for _ in range(20):
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    place = tmp_path_factory.mktemp("elsewhere") / "adapter"
    model.save_pretrained(place)
    return Path(shutil.make_archive(str(place), "zip", place.parent, place.name))


def bring(service: Running, archive: Path, **more: Any) -> httpx.Response:
    file = sdk(service).files.create(file=archive, purpose="adapter").id
    with service.client() as http:
        return http.post("/api/adapters", json={"file": file, **more})


def exported(service: Running, digest: str, to: Path) -> Path:
    with service.client() as http:
        to.write_bytes(http.get(f"/api/adapters/{digest}/files").raise_for_status().content)
    return to


def test_an_adapter_of_plain_peft_answers_people_and_comes_back_as_the_same(
    service: Running, foreign: Path, tmp_path: Path
):
    client = sdk(service)
    wanted = {"name": "bridges", "title": "Bridges", "temperature": 0, "max_tokens": 40}
    with service.client() as http:
        http.post("/api/assistants", json=wanted).raise_for_status()
        made = bring(service, foreign, assistant="bridges", suffix="elsewhere").raise_for_status().json()
        done = finished(client, made["job"]["id"], 300)
        assert done.status == "succeeded", done.error
        model = done.fine_tuned_model or ""
        assert model.startswith("ft:")
        assert model in [one.id for one in client.models.list()]
        assert "bird that sews" in answer(client, model, ASKED)
        assert "bird that sews" not in answer(client, EMBEDDED, ASKED)
        release = release_of(http, "bridges", done.id)
        assert release["state"] == "candidate"
        reason = {"override_reason": "it was measured elsewhere"}
        http.post(f"/api/releases/{release['id']}/promote", json=reason).raise_for_status()
        assert "bird that sews" in answer(client, "bridges", ASKED)
        adapter = http.get(f"/api/adapters/{made['adapter']}").json()
        assert (adapter["manifest"]["kind"], adapter["manifest"]["train_sha256"]) == ("import", None)
        proof = adapter["proof"]
        print(
            "distances:",
            {name: value for name, value in proof.items() if "distance" in name or name == "noise"},
        )
        lineage = http.get(f"/api/releases/{release['id']}/lineage").json()
        assert [job["kind"] for job in lineage["jobs"]] == ["import"]
        assert lineage["datasets"] == lineage["people"] == []
    back = bring(service, exported(service, made["adapter"], tmp_path / "a.zip"), assistant="bridges").json()
    assert (back["adapter"], back["already_here"], back["model"]) == (made["adapter"], True, model)
    assert back["release"] == release["id"]


def test_a_worker_that_is_killed_leaves_one_adapter_and_one_release(service: Running, tmp_path: Path):
    base = service.home / "models" / EMBEDDED
    write_adapter(tmp_path / "drawn", base, seed=41, rank=4)
    archive = Path(shutil.make_archive(str(tmp_path / "drawn"), "zip", tmp_path / "drawn"))
    client = sdk(service)
    with service.client() as http:  # one without questions, or the next test waits until all are asked
        http.post("/api/assistants", json={"name": "quay", "title": "Quay"}).raise_for_status()
    job = bring(service, archive, assistant="quay").raise_for_status().json()["job"]["id"]
    wait_until(lambda: client.fine_tuning.jobs.retrieve(job).status == "running", 60, "it never began")
    child(service, "worker").kill()
    again = bring(service, archive, assistant="quay").json()
    assert again["job"]["id"] == job
    done = finished(client, job, 300)
    assert done.status == "succeeded", done.error
    with service.client() as http:
        offered = http.get("/api/releases", params={"assistant": "quay"}).json()["data"]
    assert [release["job"] for release in offered].count(job) == 1


def test_an_adapter_that_does_nothing_is_not_published(service: Running, tmp_path: Path):
    write_adapter(tmp_path / "idle", service.home / "models" / EMBEDDED, strength=0.0, rank=4)
    archive = Path(shutil.make_archive(str(tmp_path / "idle"), "zip", tmp_path / "idle"))
    made = bring(service, archive).raise_for_status().json()
    done = finished(sdk(service), made["job"]["id"], 300)
    assert done.status == "failed"
    assert done.error is not None
    assert done.error.code == "adapter_changes_nothing"
    with service.client() as http:
        assert http.get(f"/api/adapters/{made['adapter']}").status_code == 404


def test_our_own_export_is_the_same_adapter_again_after_its_model_was_deleted(
    service: Running, tmp_path: Path
):
    client = sdk(service)
    ended = ended_training(service.home, Trainer(service.home / "models" / EMBEDDED), seed=42, rank=4)
    job = finished(client, hand_over(service.home, ended, assistant=None), 120)
    assert job.status == "succeeded", job.error
    model = job.fine_tuned_model or ""
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": ASKED}], max_tokens=1
    )
    digest = raw.headers["x-tailorbird-adapter"]
    archive = exported(service, digest, tmp_path / "own.zip")
    client.models.delete(model)
    back = bring(service, archive).raise_for_status().json()
    assert (back["adapter"], back["already_here"]) == (digest, False)
    done = finished(client, back["job"]["id"], 300)
    assert (done.status, done.fine_tuned_model) == ("succeeded", model), done.error
    assert answer(client, model, ASKED)
    with service.client() as http:
        kinds = [one["kind"] for one in http.get(f"/api/adapters/{digest}/lineage").json()["jobs"]]
    assert kinds == ["sft"], "what was trained here is known by its training"
