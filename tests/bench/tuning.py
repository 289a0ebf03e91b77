"""T1 and T2: our trainer beside TRL's with TRL's defaults, on real rows, in turns, to the same held-out loss.

Each is a process that stays: it makes a pass over the same rows when it is its turn and rests while the other works,
so both are timed from first to last pass on one machine, and each one's peak of memory is its own.
"""

import multiprocessing
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from service.contract.jobs import TrainingKind, TrainingSpec
from tests.bench import real_data, runs, trainers
from tests.bench.figures import Figure, of_rounds
from tests.bench.matrices import Sizes, operations, speed
from tests.bench.places import base_model
from tests.bench.trainers import Ended, Pass

BATCH, PASSES = 8, 3
"""TRL's own batch and passes, for both."""
HELD_OUT: dict[TrainingKind, int] = {"sft": 128, "dpo": 64}
"""Rows on which both end."""
SHORT = 4
"""The short form learns from so many times fewer rows."""
LONGEST = 2500
"""Characters of an answer of MedQuAD at most: the row then fits into 1024 tokens, where TRL would cut it."""
Side = Literal["ours", "trl"]


@dataclass(frozen=True)
class Race:
    """What both did on the same rows."""

    spec: TrainingSpec
    passes: dict[Side, list[Pass]]
    ended: dict[Side, Ended]

    def seconds(self, side: Side) -> float:
        return sum(one.seconds for one in self.passes[side]) + self.ended[side].reference

    def pace(self, side: Side) -> float:
        return len(self.passes[side]) * self.ended[side].read / self.seconds(side)


def supervised(home: Path, *, short: bool) -> list[Figure]:
    """T1, on MedQuAD's answers and on BANKING77's intents."""
    health = [real_data.example(*row) for row in real_data.health(LONGEST)]
    bank = [real_data.example(*row, real_data.ASKED) for row in real_data.bank()]
    return [
        *_measure("T1", "MedQuAD", home / "health", "sft", health, 64, 4.0, short),
        *_measure("T1", "BANKING77", home / "bank", "sft", bank, 256, 4.0, short),
    ]


def preferences(home: Path, *, short: bool) -> list[Figure]:
    """T2: MedQuAD's answer is preferred to the answer to another of its questions."""
    rows = real_data.health(LONGEST // 2)
    pairs = [
        real_data.pair(asked, answer, other)
        for (asked, answer), (_, other) in zip(rows, rows[1:] + rows[:1], strict=True)
    ]
    return _measure("T2", "MedQuAD, pairs", home / "pairs", "dpo", pairs, 32, 3.0, short)


def _measure(
    story: str, name: str, home: Path, kind: TrainingKind, rows: list[Any], count: int, target: float, short: bool
) -> list[Figure]:  # fmt: skip
    count = count // SHORT if short else count
    held = rows[count : count + (HELD_OUT[kind] // SHORT if short else HELD_OUT[kind])]
    runs.write(home / "held-out", kind, held)
    spec = runs.write(home / "ours", kind, rows[:count], batch_size=BATCH, n_epochs=PASSES)
    runs.write(home / "trl", kind, rows[:count], batch_size=BATCH, n_epochs=PASSES)
    return _figures(story, name, target, race(home, spec))


def race(home: Path, spec: TrainingSpec) -> Race:
    """Both over the run folders `ours` and `trl` in `home`, pass by pass in turn; who begins changes too."""
    sides: tuple[Side, ...] = ("ours", "trl")
    passes: dict[Side, list[Pass]] = {side: [] for side in sides}
    with ExitStack() as stack:
        ways = {side: _started(stack, home, side) for side in sides}
        for number in range(spec.settings.n_epochs):
            for side in sides[:: 1 if number % 2 == 0 else -1]:
                ways[side].send(trainers.GO)
                passes[side].append(ways[side].recv())
                print(f"{home.name} {side}: {passes[side][-1].seconds:.1f} s", file=sys.stderr, flush=True)
        for way in ways.values():
            way.send(trainers.GO)
        return Race(spec, passes, {side: ways[side].recv() for side in sides})


def _started(stack: ExitStack, home: Path, side: Side) -> Connection:
    """A trainer that has all but its passes behind it; it ends with `stack`."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    log = home / f"{side}.log"
    process = spawn.Process(target=trainers.run, args=(side, home / side, home / "held-out", log, there))
    process.start()
    stack.callback(process.join)
    stack.callback(process.terminate)
    there.close()
    try:
        assert here.recv() == trainers.READY
    except EOFError:
        raise RuntimeError(f"{side} ended before its first pass:\n{log.read_text()[-2000:]}") from None
    return here


def _figures(story: str, name: str, target: float, race: Race) -> list[Figure]:
    ours, trl = race.ended["ours"], race.ended["trl"]

    def ratio(what: str, value: float, rounds: list[float], detail: str, **bounds: Any) -> Figure:
        low, high = min([value, *rounds]), max([value, *rounds])
        return Figure(story, f"{name}: {what}", value, low, high, len(rounds) or 1, detail=detail, **bounds)

    pairs = list(zip(race.passes["ours"], race.passes["trl"], strict=True))
    spent = {
        side: sum(one.processor for one in passes) / len(passes) / race.ended[side].read * 1000
        for side, passes in race.passes.items()
    }
    found = [
        ratio(
            "tokens a second, ours / TRL's defaults",
            race.pace("ours") / race.pace("trl"), [b.seconds / a.seconds for a, b in pairs],
            f"{race.pace('ours'):.0f} / {race.pace('trl'):.0f}", at_least=target,
        ),
        ratio(
            "processor time for a token", spent["ours"] / spent["trl"],
            [a.processor / b.processor for a, b in pairs],
            f"{spent['ours']:.2f} / {spent['trl']:.2f} ms",
        ),
        ratio(
            "peak of memory", ours.peak / trl.peak, [],
            f"{ours.peak / 1e9:.2f} / {trl.peak / 1e9:.2f} GB", at_most=1.0,
        ),
        ratio(
            "held-out loss at the end", ours.loss / trl.loss, [],
            f"{ours.loss:.4f} / {trl.loss:.4f}, untuned {ours.before:.4f}", at_most=1.02,
        ),
    ]  # fmt: skip
    return found + _of_the_machine(story, name, race)


def _of_the_machine(story: str, name: str, race: Race) -> list[Figure]:
    """How far ours is from what the machine's own matrix product would allow."""
    sizes, ended = Sizes.read(base_model()), race.ended["ours"]
    rates = {number: speed(sizes, number) for number in ("bfloat16", "float32")}
    asked = operations(sizes, ended.read, ended.learned, race.spec.settings.lora_rank)
    done = [asked / one.seconds for one in race.passes["ours"]]
    detail = f"torch.mm {rates['bfloat16'] / 1e9:.0f} in bf16, {rates['float32'] / 1e9:.0f} in fp32 GFLOP/s"
    best = max(rates.values())
    return [
        of_rounds(story, f"{name}: ours / the machine's matrix product", [one / best for one in done], detail=detail)
    ]  # fmt: skip
