"""A training job's figures as TensorBoard and MLflow get them: real bytes, and a double of the routes."""

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from service import curves, tensorboard
from service.contract import folder
from service.curves import Curves
from service.db import tables
from service.settings import Settings

SETTINGS = {"n_epochs": 2, "learning_rate": 0.0002}


def job(kind: str = "sft") -> tables.Job:
    return tables.Job(id="ftjob-1", kind=kind, settings=SETTINGS, model="base", training_file="file-1")


def says(place: Path, *lines: dict[str, Any]) -> None:
    with open(place / folder.PROGRESS, "a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def step(number: int, **metrics: float) -> dict[str, Any]:
    return {"at": 100.0 + number, "step": number, "total_steps": 4, "tokens": number * 10, "metrics": metrics}


def event_type() -> Any:
    """`Event` of TensorFlow's event.proto and summary.proto, what of it is written here."""
    kind = descriptor_pb2.FieldDescriptorProto
    one, many = kind.LABEL_OPTIONAL, kind.LABEL_REPEATED
    shapes = {
        "Event": [
            ("wall_time", 1, kind.TYPE_DOUBLE, one, None), ("step", 2, kind.TYPE_INT64, one, None),
            ("file_version", 3, kind.TYPE_STRING, one, None), ("summary", 5, kind.TYPE_MESSAGE, one, "Summary"),
            ("session_log", 7, kind.TYPE_MESSAGE, one, "SessionLog"),
        ],
        "Summary": [("value", 1, kind.TYPE_MESSAGE, many, "Value")],
        "Value": [("tag", 1, kind.TYPE_STRING, one, None), ("simple_value", 2, kind.TYPE_FLOAT, one, None)],
        "SessionLog": [("status", 1, kind.TYPE_INT32, one, None)],
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", syntax="proto3")
    for name, fields in shapes.items():
        message = file.message_type.add(name=name)
        for field, number, type_, label, of in fields:
            message.field.add(name=field, number=number, type=type_, label=label, type_name=of and f".{of}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Event"))


def records(path: Path) -> list[Any]:
    data, found, event = path.read_bytes(), [], event_type()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        content = data[12 : 12 + length]
        assert data[8:12] == tensorboard._masked(data[:8])
        assert data[12 + length : 16 + length] == tensorboard._masked(content)
        found.append(event.FromString(content))
        data = data[16 + length :]
    return found


def test_the_checksum_is_crc_32c():
    assert tensorboard.crc32c(b"123456789") == 0xE3069283
    assert tensorboard.crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4


async def test_tensorboard_reads_each_figure_of_each_step_and_takes_back_what_is_made_again(tmp_path: Path):
    settings = Settings(tensorboard=tmp_path / "curves")
    says(tmp_path, {"at": 1.0, "message": "Reading."}, step(0, valid_loss=3.0))
    first = Curves(settings, job(), tmp_path)
    await first._tell()
    says(tmp_path, step(1, train_loss=2.0, learning_rate=0.5), step(300, train_loss=1.0))
    await first.end("killed")
    (path,) = (tmp_path / "curves" / "ftjob-1").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    version, began, *told = records(path)
    assert (version.file_version, began.step, began.session_log.status) == ("brain.Event:2", 0, 1)
    assert [
        (one.wall_time, one.step, {v.tag: v.simple_value for v in one.summary.value}) for one in told
    ] == [
        (100.0, 0, {"held_out/loss": 3.0}),
        (101.0, 1, {"train/loss": 2.0, "train/learning_rate": 0.5, "train/tokens": 10.0}),
        (400.0, 300, {"train/loss": 1.0, "train/tokens": 3000.0}),
    ]
    (tmp_path / folder.PROGRESS).unlink()
    says(tmp_path, step(300, train_loss=1.0))
    await Curves(settings, job(), tmp_path).end("done")
    (again,) = [other for other in path.parent.iterdir() if other != path]
    assert [(one.step, one.session_log.status) for one in records(again)] == [(0, 0), (300, 1), (300, 0)]


class Server:
    """MLflow's REST API, what of it is asked here."""

    def __init__(self) -> None:
        self.experiment, self.runs, self.broken = "", list[dict[str, Any]](), False

    async def answer(self, request: web.Request) -> web.Response:
        route = request.path.removeprefix("/api/2.0/mlflow/")
        body = await request.json() if request.method == "POST" else dict(request.query)
        if self.broken:
            return web.Response(status=503)
        return getattr(self, route.replace("/", "_").replace("-", "_"))(body)

    def experiments_get_by_name(self, body: Any) -> web.Response:
        if not self.experiment:
            return web.json_response({"error_code": "RESOURCE_DOES_NOT_EXIST"}, status=404)
        return web.json_response({"experiment": {"experiment_id": "7", "name": self.experiment}})

    def experiments_create(self, body: Any) -> web.Response:
        self.experiment = body["name"]
        return web.json_response({"experiment_id": "7"})

    def runs_search(self, body: Any) -> web.Response:
        assert body["experiment_ids"] == ["7"]
        found = [
            run
            for run in self.runs
            if body["filter"] == f"tags.`tailorbird.job` = '{run['tags']['tailorbird.job']}'"
        ]
        last = [{**one, "step": str(one["step"])} for run in found for one in run["metrics"]]
        return web.json_response(
            {"runs": [{"info": {"run_id": "r"}, "data": {"metrics": last}}]} if found else {}
        )

    def runs_create(self, body: Any) -> web.Response:
        tags = {one["key"]: one["value"] for one in body["tags"]}
        self.runs.append({"tags": tags, "metrics": [], "params": {}, "status": "RUNNING"})
        return web.json_response({"run": {"info": {"run_id": "r"}, "data": {}}})

    def runs_log_batch(self, body: Any) -> web.Response:
        assert len(body.get("metrics", [])) <= 1000
        self.runs[0]["metrics"] += body.get("metrics", [])
        self.runs[0]["params"] |= {one["key"]: one["value"] for one in body.get("params", [])}
        return web.json_response({})

    def runs_update(self, body: Any) -> web.Response:
        self.runs[0]["status"] = body["status"]
        return web.json_response({})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_job_is_one_run_at_mlflow_however_often_it_goes_on(
    server: tuple[Server, str], tmp_path: Path
):
    there, url = server
    settings = Settings.model_validate({"mlflow": url})
    says(tmp_path, step(0, valid_loss=3.0), step(1, train_loss=2.0), step(2, train_loss=1.5))
    await Curves(settings, job(), tmp_path).end("killed")
    (run,) = there.runs
    assert there.experiment == "tailorbird"
    assert run["tags"] == {
        "tailorbird.job": "ftjob-1", "tailorbird.kind": "sft", "tailorbird.model": "base",
        "tailorbird.training_file": "file-1",
    }  # fmt: skip
    assert run["params"] == {"n_epochs": "2", "learning_rate": "0.0002"}
    assert run["status"] == "KILLED"
    assert run["metrics"][0] == {"key": "held_out/loss", "value": 3.0, "timestamp": 100_000, "step": 0}
    (tmp_path / folder.PROGRESS).unlink()
    says(tmp_path, step(2, train_loss=1.5), step(3, train_loss=1.25))
    again = Curves(settings, job(), tmp_path)
    await again._tell()
    assert run["status"] == "RUNNING"
    await again.end("done")
    assert (len(there.runs), run["status"]) == (1, "FINISHED")
    losses = [(one["step"], one["value"]) for one in run["metrics"] if one["key"] == "train/loss"]
    assert losses == [(1, 2.0), (2, 1.5), (3, 1.25)]


async def test_what_a_server_does_not_take_is_told_later_and_the_file_gets_it_once(
    server: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    there, url = server
    there.broken = True
    told = Curves(
        Settings.model_validate({"mlflow": url, "tensorboard": tmp_path / "curves"}), job(), tmp_path
    )
    says(tmp_path, step(1, train_loss=2.0))
    assert not await told._tell()
    there.broken = False
    says(tmp_path, step(2, train_loss=1.5))
    assert await told._tell()
    assert [one["step"] for one in there.runs[0]["metrics"] if one["key"] == "train/loss"] == [1, 2]
    (path,) = (tmp_path / "curves" / "ftjob-1").iterdir()
    assert [one.step for one in records(path)][2:] == [1, 2]
    there.broken = True
    monkeypatch.setattr(curves, "PATIENCE", 0.1)
    await told.end("done")  # raises nothing


async def test_without_a_setting_and_for_an_evaluation_nobody_is_told(tmp_path: Path):
    says(tmp_path, step(1, train_loss=2.0))
    for settings, kind in ((Settings(), "sft"), (Settings(tensorboard=tmp_path / "curves"), "evaluation")):
        await Curves(settings, job(kind), tmp_path).end("done")
    assert not (tmp_path / "curves").exists()
