"""A training job's figures for who collects curves: TensorBoard's files, an MLflow server, or nobody (the default).

Reads the run's progress by itself, beside the worker, so that a full disk or a server that hangs costs the job nothing:
what could not be told is told later. Owns the names of the figures there. Only figures, settings and ids are told.
"""

import asyncio
from pathlib import Path
from typing import get_args

import httpx

from service.contract import folder
from service.contract.jobs import Progress, TrainingKind
from service.db import tables
from service.logs import log
from service.mlflow import Run
from service.progress import Follower
from service.settings import Settings
from service.tensorboard import EventFile

EVERY = 2.0
LATER = 30.0
"""Seconds until a server that did not take the figures is tried again."""
PATIENCE = 5.0
"""Seconds that the end of a job waits for it."""
ENDS = {"done": "FINISHED", "failed": "FAILED"}
"""MLflow's word for how a training ended. Any other end is KILLED, until it goes on."""
FAULTS = (OSError, httpx.HTTPError, ValueError, KeyError)
"""A disk or a server that did not take something, or a server that is not MLflow's."""

Point = tuple[float, int, dict[str, float]]
"""When, of which step, and the figures by their names."""


class Curves:
    def __init__(self, settings: Settings, job: tables.Job, place: Path) -> None:
        self._follower = Follower(place / folder.PROGRESS)
        self._untold: list[Point] = []
        self._written = 0
        self._file = self._run = None
        if job.kind not in get_args(TrainingKind):
            return
        if settings.tensorboard:
            self._file = EventFile(settings.tensorboard / job.id)
        tags = {"kind": job.kind, "model": job.model, "training_file": job.training_file}
        named = {f"tailorbird.{name}": value for name, value in tags.items() if value}
        if settings.mlflow:
            self._run = Run(str(settings.mlflow), job.id, job.settings, named)

    async def follow(self) -> None:
        """Tell what a run says until cancelled."""
        while True:
            told = await self._tell()
            await asyncio.sleep(EVERY if told else LATER)

    async def end(self, how: str) -> None:
        """Tell the rest, and how the training ended, in the worker's words."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._tell()
                if self._run and how != "lost":
                    await self._run.end(ENDS.get(how, "KILLED"))
        except (TimeoutError, *FAULTS) as error:
            log.warning("the end of the curves was not told", extra={"fields": {"why": type(error).__name__}})

    async def _tell(self) -> bool:
        """False when somebody did not take it; then it is told again later."""
        if not (self._file or self._run):
            return True
        self._untold += [
            _point(line) for line in self._follower.news() if line.step is not None and line.metrics
        ]
        try:
            for at, step, figures in self._untold[self._written :]:
                if self._file:
                    self._file.add(at, step, figures)
                self._written += 1
            if self._run and self._untold:
                await self._run.add(self._untold)
        except FAULTS as error:
            log.warning("the curves were not told", extra={"fields": {"why": type(error).__name__}})
            return False
        self._untold, self._written = [], 0
        return True


def _point(line: Progress) -> Point:
    figures = {_name(name): value for name, value in line.metrics.items()}
    if line.tokens is not None and "train/loss" in figures:
        figures["train/tokens"] = line.tokens
    return line.at, line.step or 0, figures


def _name(name: str) -> str:
    """`held_out/loss` and `train/loss`: both tools show what stands before the stroke as a group."""
    if name.startswith("valid_"):
        return f"held_out/{name.removeprefix('valid_')}"
    return f"train/{name.removeprefix('train_')}"
