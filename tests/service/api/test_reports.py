"""A job's report as its owner, a reviewer and somebody else get it. No worker runs: what it writes is written here."""

import json
import sqlite3
import uuid
from contextlib import closing

import httpx

from tests.gateway import Gateway

ROWS = "\n".join(
    json.dumps(
        {"messages": [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": "a"}]}
    )
    for number in range(10)
)


def job_of(client: httpx.Client) -> str:
    form = {"files": {"file": ("harbour.jsonl", ROWS.encode())}, "data": {"purpose": "fine-tune"}}
    file = client.post("/v1/files", **form).raise_for_status().json()["id"]  # type: ignore[arg-type]
    body = {"model": "smollm2-135m-instruct", "training_file": file}
    return client.post("/v1/fine_tuning/jobs", json=body).raise_for_status().json()["id"]


def told(gateway: Gateway, job: str, step: int, **figures: float) -> None:
    data = json.dumps({"step": step, "total_steps": 4, **figures})
    with closing(sqlite3.connect(gateway.settings.home / "tailorbird.db")) as database, database:
        database.execute(
            "insert into job_events (job_id, at, level, type, message, data) values (?, 1, 'info', 'metrics', '', ?)",
            (job, data),
        )


def test_a_cancelled_job_tells_its_owner_how_far_it_came_and_nobody_else(gateway: Gateway):
    with gateway.client_of(f"owner-{uuid.uuid4().hex}") as owner, gateway.client_of("curious") as other:
        job = job_of(owner)
        for step, loss in ((1, 0.9), (2, 0.7), (2, 0.6)):  # the second step was made again
            told(gateway, job, step, train_loss=loss)
        path = f"/api/jobs/{job}/report"
        under_way = gateway.admin.get(path).json()
        owner.post(f"/v1/fine_tuning/jobs/{job}/cancel").raise_for_status()
        mine, reviewed = owner.get(path).json(), gateway.admin.get(path).json()
        assert other.get(path).status_code == 404
        assert owner.get("/api/jobs/ftjob-none/report").status_code == 404
    assert [one["code"] for one in under_way["verdict"]] == ["under_way", "better_later", "watch_so_far"]
    assert {one["code"] for one in under_way["checks"].values()} == {"overfit_no_rows", "check_later"}
    assert {report["live_same"] for report in (mine, reviewed, under_way)} == {None}
    for report in (mine, reviewed):
        assert report["curves"] == {"train_loss": [[1, 0.9], [2, 0.6]]}
        assert report["verdict"][0]["because"].startswith("The training was cancelled after 2 of 4 steps")
        assert report["checks"]["overfitting"]["code"] == "overfit_no_rows"
        assert {check["mark"] for check in report["checks"].values()} == {"unknown"}
        assert report["data"][0]["rows"] == 10
        assert report["reasons"]["n_epochs"]["code"]
        assert (report["training"], report["adapter"], report["card"]) == (None, None, False)
    codes = [report["verdict"][1]["code"] for report in (mine, reviewed)]
    assert codes == ["better_hidden", "better_unmeasured"]
