"""The examples in the pages run as they stand, but for addresses, keys and the file that was uploaded before."""

import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import EMBEDDED
from tests.running import ROOT, Running
from tests.service.engine.adapters import write_adapter
from tests.serving import free_port, serving

pytestmark = pytest.mark.heavy


def test_the_python_examples_for_applications_run(service: Running, tmp_path: Path):
    page = (ROOT / "service" / "README.md").read_text()
    ask, bring, correct, compare, tune, estimate, pause, checkpoints, make_webhook, receive = re.findall(
        r"```python\n(.*?)```", page, re.DOTALL
    )
    names: dict[str, Any] = {}

    def run(block: str, **changes: str) -> None:
        code = block.replace("http://127.0.0.1:8000", service.api_url).replace("tb-...", service.admin_key)
        for before, after in changes.items():
            assert before in code
            code = code.replace(before, after)
        exec(compile(code, "service/README.md", "exec"), names)

    run(ask)
    run(correct)
    with service.client() as http:
        given = http.get("/api/feedback", params={"completion_id": names["answer"].id}).json()["data"]
        assert [one["type"] for one in given] == ["correction"]
        run(compare)
        assert names["decided"].json()["choice"] == "a"
        _tune(tune, estimate, pause, run, names)
        run(checkpoints)
        _bring(bring, run, names, tmp_path, service)
        _hear(make_webhook, receive, run, names, http, service)


def _tune(block: str, estimate: str, pause: str, run: Any, names: dict[str, Any]) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Which pier is number {n}?"}],
            "completion": [{"role": "assistant", "content": f"Pier {n}, of course."}],
            "label": n % 2 == 0,
        }
        for n in range(12)
    ]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    names["file"] = names["client"].files.create(file=("rated.jsonl", content), purpose="fine-tune")
    run(block)
    (job,) = names["client"].fine_tuning.jobs.list(limit=1).data
    assert (job.method.type, job.training_file) == ("kto", names["file"].id)
    run(estimate)
    assert (names["estimate"]["look"]["rows"], names["estimate"]["method"]) == (12, "kto")
    assert names["estimate"]["rendering"]["state"] == "same", (
        "the real engine reads prompts as the trainer does"
    )
    run(pause)
    assert names["client"].fine_tuning.jobs.retrieve(job.id).status in ("queued", "running")
    names["client"].fine_tuning.jobs.cancel(job.id)


def _bring(block: str, run: Any, names: dict[str, Any], place: Path, service: Running) -> None:
    """No assistant gets it: its questions would be asked in an evaluation."""
    folder = Path(write_adapter(place / "adapter", service.home / "models" / EMBEDDED, seed=43, rank=4))
    with zipfile.ZipFile(place / "adapter.zip", "w") as packed:
        for file in folder.iterdir():
            packed.write(file, file.name)
    run(block, **{"adapter.zip": str(place / "adapter.zip"), '"assistant": "fanal", ': ""})
    assert names["job"].id == names["brought"]["job"]["id"]
    names["client"].fine_tuning.jobs.cancel(names["job"].id)


def _hear(
    make: str, receive: str, run: Any, names: dict[str, Any], http: httpx.Client, service: Running
) -> None:
    """A webhook of our own machine, tried out."""
    port = free_port()
    run(make, **{"http://10.0.0.7:9000": f"http://127.0.0.1:{port}"})
    webhook, said = names["made"]["webhook"]["id"], names["made"]["secret"]
    start = 'uvicorn.run(app, host="10.0.0.7", port=9000)'
    run(receive, **{"http://10.0.0.2:8000": service.api_url, "whsec_...": said, start: ""})
    with serving(names["app"], port):
        http.post(f"/api/webhooks/{webhook}/test").raise_for_status()
        tried: dict[str, Any] = {"status": None}
        for _ in range(100):
            (tried,) = http.get(f"/api/webhooks/{webhook}/deliveries").json()["data"]
            if tried["status"] is not None:
                break
            time.sleep(0.2)
    assert tried["status"] == 200
    http.delete(f"/api/webhooks/{webhook}").raise_for_status()
