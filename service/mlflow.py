"""A training job as a run of an MLflow tracking server, over its REST API: figures, settings and ids, no texts.

MLflow itself is not needed here. A job is found again by its id, so that one which goes on is the same run. Knows
nothing of where the figures come from.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

EXPERIMENT = "tailorbird"
TAG = "tailorbird.job"
AT_ONCE = 900
"""Figures in one request: MLflow takes a thousand, settings and tags counted in."""


class Run:
    """The run of one job, made with the first figures. Every call may raise `httpx.HTTPError`."""

    def __init__(self, server: str, job: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self._server, self._job, self._settings, self._tags = server.rstrip("/"), job, settings, tags
        self._id = ""
        self._told: dict[str, int] = {}
        """The last step that the server has of each figure: one that was made again is not told twice."""

    async def add(self, figures: Iterable[tuple[float, int, Mapping[str, float]]]) -> None:
        """Send `(seconds since 1970, step, figures by name)`."""
        async with self._client() as http:
            await self._find(http)
            fresh = [
                {"key": name, "value": value, "timestamp": round(at * 1000), "step": step}
                for at, step, named in figures
                for name, value in named.items()
                if step > self._told.get(name, -1)
            ]
            for begin in range(0, len(fresh), AT_ONCE):
                part = fresh[begin : begin + AT_ONCE]
                await _post(http, "runs/log-batch", run_id=self._id, metrics=part)
                self._told |= {one["key"]: one["step"] for one in part}

    async def end(self, status: str) -> None:
        """`status` is MLflow's: FINISHED, FAILED or KILLED."""
        async with self._client() as http:
            await self._find(http)
            await _post(http, "runs/update", run_id=self._id, status=status, end_time=_now())

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"{self._server}/api/2.0/mlflow/", timeout=5.0)

    async def _find(self, http: httpx.AsyncClient) -> None:
        if self._id:
            return
        experiment = await _experiment(http)
        wanted = f"tags.`{TAG}` = '{self._job}'"
        found = await _post(http, "runs/search", experiment_ids=[experiment], filter=wanted, max_results=1)
        runs = found.get("runs", [])
        if not runs:
            tags = {TAG: self._job, **self._tags}
            made = await _post(
                http, "runs/create", experiment_id=experiment, start_time=_now(), run_name=self._job,
                tags=[{"key": key, "value": value} for key, value in tags.items()],
            )  # fmt: skip
            runs = [made["run"]]
            params = [{"key": key, "value": str(value)} for key, value in self._settings.items()]
            await _post(http, "runs/log-batch", run_id=runs[0]["info"]["run_id"], params=params)
        else:
            await _post(http, "runs/update", run_id=runs[0]["info"]["run_id"], status="RUNNING")
        told = runs[0].get("data", {}).get("metrics", [])
        self._told = {one["key"]: int(one.get("step", 0)) for one in told}
        self._id = runs[0]["info"]["run_id"]


async def _experiment(http: httpx.AsyncClient) -> str:
    found = await http.get("experiments/get-by-name", params={"experiment_name": EXPERIMENT})
    if found.status_code == httpx.codes.NOT_FOUND:
        return (await _post(http, "experiments/create", name=EXPERIMENT))["experiment_id"]
    return found.raise_for_status().json()["experiment"]["experiment_id"]


async def _post(http: httpx.AsyncClient, route: str, **body: Any) -> dict[str, Any]:
    return (await http.post(route, json=body)).raise_for_status().json()


def _now() -> int:
    return round(time.time() * 1000)
