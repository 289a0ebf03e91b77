"""T5: what a later round keeps of the base model's general answers, with replay and without, and what it learns.

Round 0 learns openings of MedQuAD's answers; round 1 learns others from there, once with the numbers of a job that is
given none, once without replay. Owns what is counted: on general questions that nothing is trained on, the tokens of
the base model's own answers that the tuned model would say too; on held-out openings, how likely it finds them.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evals.statistics import Interval, Values, bootstrap
from service.contract import folder
from service.contract.chat import Message
from service.contract.replay import ReplayRow
from tests.bench import answers, real_data, runs
from tests.bench.figures import Figure


@dataclass(frozen=True)
class Size:
    taught: int
    """Examples of each of the two rounds."""
    held_out: int


WHOLE, SHORT = Size(128, 100), Size(24, 24)
LONGEST = 240
"""Characters of an opening."""
ZERO, WITH, WITHOUT = "round 0", "round 1, with replay", "round 1, without"
WAYS: dict[str, dict[str, Any]] = {WITH: {}, WITHOUT: {"replay": 0}}


@dataclass(frozen=True)
class Look:
    """What a round's model is, one value for each question."""

    same: Values
    """Of the base model's own answer to a general question, the share of tokens that it finds likeliest too."""
    distance: Values
    """Its divergence from the base model along that answer, in nats a token."""
    learnt: Values
    """How likely it finds a held-out opening, in nats a token."""


def measure(home: Path, *, short: bool) -> list[Figure]:
    """Train the rounds in `home` and look at each."""
    size, rows = SHORT if short else WHOLE, iter(real_data.openings(LONGEST))
    first, second, held = ([next(rows) for _ in range(n)] for n in (size.taught, size.taught, size.held_out))
    train(home, first, second)
    with multiprocessing.get_context("spawn").Pool(2) as pool:  # torch stays out of this process
        names = (ZERO, *WAYS)
        looks = pool.starmap(look, [(home / name, held) for name in names])
    return figures(dict(zip(names, looks, strict=True)))


def train(home: Path, first: Sequence[tuple[str, str]], second: Sequence[tuple[str, str]]) -> None:
    """Round 0, then both ways of the round after it at once, each on a core of its own."""
    runs.write(home / ZERO, "sft", [real_data.example(*row) for row in first])
    runs.train(home / ZERO, f"T5 {ZERO}")
    for way, given in WAYS.items():
        later = [real_data.example(*row) for row in second]
        runs.write(home / way, "sft", later, start=home / ZERO, threads=1, **given)
    with ThreadPoolExecutor(2) as two:
        list(two.map(lambda way: runs.train(home / way, f"T5 {way}"), WAYS))


def look(run: Path, held: list[tuple[str, str]]) -> Look:
    """What the run's adapter keeps and knows."""
    import torch

    from training.proof import logprobs
    from training.replay import compare

    torch.set_num_threads(1)
    chat, model = answers.load(run / folder.ADAPTER)
    rows = [ReplayRow.model_validate(line) for line in folder.read_lines(run / folder.REPLAY)]
    with torch.no_grad():
        kept = [figures for row in rows if row.use == "measured" for figures in compare(model, [row])]

    def likely(question: str, opening: str) -> float:
        asked, said = (
            Message(role=role, content=text) for role, text in (("user", question), ("assistant", opening))
        )
        return float(np.mean(logprobs(model, *chat.answer("held out", [asked], said))))

    return Look(
        np.array([one.same.float().mean().item() for one in kept]),
        np.array([one.distance.mean().item() for one in kept]),
        np.array([likely(*row) for row in held]),
    )


def figures(looks: dict[str, Look]) -> list[Figure]:
    """What the looks say, with 95% intervals over the questions."""
    zero, ours, theirs = looks[ZERO], looks[WITH], looks[WITHOUT]
    same = " / ".join(f"{100 * one.same.mean():.0f}" for one in (ours, theirs, zero))
    learnt = " / ".join(f"{one.learnt.mean():.2f}" for one in (ours, theirs, zero))
    return [
        _figure(
            "tokens of general answers said as by the base model, with replay less without",
            bootstrap(100 * (ours.same - theirs.same)), len(ours.same), "points",
            f"{same} %, the last of the round before", at_least=0.1,
        ),
        _figure(
            "distance from the base model on them, without replay less with",
            bootstrap(theirs.distance - ours.distance), len(ours.distance), "nats a token",
            f"{ours.distance.mean():.2f} / {theirs.distance.mean():.2f}", at_least=0.01,
        ),
        _figure(
            "held-out openings of the round's own field, likelier with replay than without",
            bootstrap(ours.learnt - theirs.learnt), len(ours.learnt), "nats a token", learnt, at_least=-0.1,
        ),
    ]  # fmt: skip


def _figure(what: str, found: Interval, samples: int, unit: str, detail: str, at_least: float) -> Figure:
    return Figure(
        "T5", what, found.mean, found.low, found.high, samples, unit=unit, detail=detail, at_least=at_least
    )
