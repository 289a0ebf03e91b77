"""T3: rounds of corrections on MedQuAD, and what one preference in five the wrong way round costs.

Round 0 learns the openings of real answers. In each later round the model answers questions that are new to it, the
real opening is the correction of its answer, and a job learns those pairs from the adapter of the round before, with
the numbers that a job has when none is given. Owns what is counted on held-out questions: answers won, and preferences
told rightly.
"""

import itertools
import multiprocessing
import random
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np

from evals.metrics import chrf
from evals.statistics import Interval, Values, bootstrap, interval_of
from service.contract import folder
from service.contract.chat import Message
from tests.bench import answers, real_data, runs
from tests.bench.figures import Figure
from tests.bench.runs import Row


@dataclass(frozen=True)
class Size:
    taught: int
    """Examples of round 0."""
    pairs: int
    """Of each later round, those included that a job holds out."""
    held_out: int
    """Questions on which everything is judged."""
    draws: int
    """How often the pairs that are turned round are drawn anew."""
    second: bool
    """Whether there is a second round, and beside it one that is told of the flips."""


WHOLE, SHORT = Size(128, 64, 100, 3, True), Size(24, 15, 24, 1, False)
LONGEST, TOKENS, BATCH = 240, 64, 25
"""Characters of an opening, tokens of an answer, and questions asked at once."""
FLIPPED = 0.2
HELD_OUT_SHARE = 5
"""A job's own held-out pairs are one in so many, as in a dataset of feedback."""
PLAIN = {"loss_type": "sigmoid", "beta": 0.1, "sft_weight": 0, "replay": 0, "early_stopping_patience": 0}
"""The loss of `DPOConfig()`, and nothing beside it; passes, batches and rate are a job's."""
TOLD = {"loss_type": "robust", "label_smoothing": FLIPPED}
ZERO, FIRST, SECOND = "round 0", "round 1", "round 2"
NOISY, DPO, NOISY_DPO, ROBUST = "round 1, flipped", "plain DPO", "plain DPO, flipped", "robust, flipped"
Asked = tuple[str, str]
"""A question and its real opening."""
Said = tuple[str, bool]
"""An answer, and whether it came to an end."""


@dataclass(frozen=True)
class Way:
    """How a round is trained."""

    name: str
    start: str
    """The round whose adapter it goes on from."""
    pairs: list[Row]
    noisy: int | None = None
    """By which draw some of its pairs are turned round."""
    given: dict[str, Any] = field(default_factory=dict)
    """What is asked for; everything else is the job's own choice."""


@dataclass(frozen=True)
class Look:
    """What a round's model does on the held-out questions."""

    answers: list[str]
    scores: Values
    """Each answer's chrF against the real opening."""
    margins: Values
    """By how many nats it finds the real opening likelier than what round 0 answered."""

    @property
    def told(self) -> str:
        return f"chrF {100 * np.mean(self.scores):.1f} in {np.mean([len(a.split()) for a in self.answers]):.0f} words"


def measure(home: Path, *, short: bool) -> list[Figure]:
    """Train all rounds in `home` and look at each."""
    size, rows = SHORT if short else WHOLE, iter(real_data.openings(LONGEST))
    asked = size.pairs * 5 // 4  # more than are needed: answers that were cut off make none
    taught, held, first, second = (
        [next(rows) for _ in range(count)] for count in (size.taught, size.held_out, asked, asked)
    )
    runs.write(home / ZERO, "sft", [real_data.example(*row) for row in taught])
    runs.train(home / ZERO, f"T3 {ZERO}")
    with multiprocessing.get_context("spawn").Pool(2, _alone) as pool:  # torch stays out of this process

        def say(round_: str, questions: list[Asked]) -> list[Said]:
            return _shared(pool, answer, home / round_, [question for question, _ in questions])

        own = say(ZERO, held)
        against = [(*row, said) for row, (said, _) in zip(held, own, strict=True)]
        pairs = corrected(first, say(ZERO, first))[: size.pairs]
        ways = [Way(FIRST, ZERO, pairs), Way(DPO, ZERO, pairs, given=PLAIN)]
        for draw in range(size.draws):
            ways.append(Way(drawn(NOISY, draw), ZERO, pairs, noisy=draw))
            ways.append(Way(drawn(NOISY_DPO, draw), ZERO, pairs, noisy=draw, given=PLAIN))
        _train(home, ways)
        if size.second:
            new = corrected(second, say(FIRST, second))[: size.pairs]
            later = [Way(SECOND, FIRST, new), Way(ROBUST, ZERO, pairs, noisy=0, given=TOLD)]
            _train(home, later)
            ways += later
        looks = {name: _look(pool, home / name, against) for name in (ZERO, *(way.name for way in ways))}
    return figures(looks)


def corrected(asked: Sequence[Asked], said: Sequence[Said]) -> list[Row]:
    """The pairs that corrections make: the real opening is preferred. As in the service, an answer that was cut off
    makes none, nor does one that needs no correction."""
    return [
        real_data.pair(question, opening, own)
        for (question, opening), (own, ended) in zip(asked, said, strict=True)
        if own and ended and own != opening
    ]


def drawn(name: str, draw: int) -> str:
    """What a round is called whose pairs were turned round by a draw."""
    return f"{name}, draw {draw + 1}"


def flipped(pairs: Sequence[Row], draw: int) -> list[Row]:
    """The same with so large a share of them the wrong way round."""
    wrong = set(random.Random(draw).sample(range(len(pairs)), round(FLIPPED * len(pairs))))
    turned = {"preferred_output": "non_preferred_output", "non_preferred_output": "preferred_output"}
    return [
        {turned.get(name, name): value for name, value in pair.items()} if at in wrong else pair
        for at, pair in enumerate(pairs)
    ]


def figures(looks: dict[str, Look]) -> list[Figure]:
    """What the looks say, with 95% intervals over the held-out questions; of several draws each question's mean."""

    def of(name: str) -> list[Look]:
        return (
            [looks[name]]
            if name in looks
            else [one for key, one in looks.items() if key.startswith(name + ", draw")]
        )

    def mean(name: str, before: str, what: Callable[[Look, Look], Values]) -> Values:
        pairs = (
            itertools.product(of(name), of(before))
            if before in looks
            else zip(of(name), of(before), strict=True)
        )
        return np.mean([what(one, other) for one, other in pairs], axis=0)

    def won(name: str, before: str) -> Values:
        return mean(name, before, lambda one, other: np.sign(one.scores - other.scores) / 2 + 0.5)

    def lost(name: str, before: str) -> Values:
        return mean(name, before, lambda one, other: other.margins - one.margins)

    def said(name: str) -> str:
        right = mean(name, ZERO, lambda one, zero: np.asarray(one.margins > zero.margins, float)).mean()
        return f"{-lost(name, ZERO).mean():.2f} nats and {100 * right:.0f} %"

    def told(name: str) -> str:
        return " and ".join(one.told for one in of(name))

    found = [
        _figure(
            f"{name}, held-out answers won against {before}", interval_of(won(name, before)), looks[name], "%",
            f"{told(name)} / {told(before)}", at_least=50,
        )
        for name, before in ((FIRST, ZERO), (SECOND, FIRST)) if name in looks
    ]  # fmt: skip
    cost = bootstrap(lost(NOISY, FIRST) - lost(NOISY_DPO, DPO))
    ours, theirs = won(NOISY, FIRST), won(NOISY_DPO, DPO)
    found += [
        Figure(
            "T3", "flipped, by how many nats less held-out preferences are told, ours less plain DPO's",
            cost.mean, cost.low, cost.high, len(ours), unit="nats", at_most=-0.01,
            detail=f"told by and rightly: {said(FIRST)} to {said(NOISY)} / {said(DPO)} to {said(NOISY_DPO)}",
        ),
        _figure(
            "flipped, held-out answers won against the unflipped round, ours less plain DPO's",
            bootstrap(ours - theirs), looks[FIRST], "points",
            f"{100 * ours.mean():.0f} / {100 * theirs.mean():.0f} %", at_least=0.1,
        ),
    ]  # fmt: skip
    beside = [(DPO, ZERO), (NOISY, ZERO), (NOISY_DPO, ZERO), (NOISY, NOISY_DPO)]
    if ROBUST in looks:
        beside.append((ROBUST, drawn(NOISY, 0)))
    return found + [
        _figure(
            f"{name}, held-out answers won against {before}", interval_of(won(name, before)), looks[FIRST], "%",
            f"{told(name)} / {told(before)}; told by and rightly: {said(name)} / {said(before)}",
        )
        for name, before in beside
    ]  # fmt: skip


def answer(adapter: Path, questions: list[str]) -> list[Said]:
    """What the model says to each, greedily."""
    return _said(*answers.load(adapter), questions)


def look(adapter: Path, rows: list[tuple[str, str, str]]) -> list[tuple[str, float]]:
    """The answer to each row's question, and by how many nats the model finds the row's second text likelier than its
    third."""
    from training.proof import logprobs

    chat, model = answers.load(adapter)

    def likely(question: str, text: str) -> float:
        said = Message(role="assistant", content=text)
        return sum(logprobs(model, *chat.answer("held out", [_message(question)], said)))

    margins = [likely(question, one) - likely(question, other) for question, one, other in rows]
    said = _said(chat, model, [question for question, _, _ in rows])
    return [(text, margin) for (text, _), margin in zip(said, margins, strict=True)]


def _said(chat: Any, model: Any, questions: list[str]) -> list[Said]:
    from training.proof import greedy

    prompts = [chat.ids([_message(question)], answer_next=True) for question in questions]
    found = answers.in_batches(prompts, BATCH, lambda some: greedy(model, chat, some, TOKENS))
    return [
        (chat.tokenizer.decode(ids, skip_special_tokens=True).strip(), ids[-1] in chat.stops) for ids in found
    ]


def _message(question: str) -> Message:
    return Message(role="user", content=question)


def _train(home: Path, ways: Sequence[Way]) -> None:
    """Two at a time, each on a core of its own."""
    for way in ways:
        held_out = [pair for at, pair in enumerate(way.pairs) if at % HELD_OUT_SHARE == 0]
        learned = [pair for at, pair in enumerate(way.pairs) if at % HELD_OUT_SHARE]
        if way.noisy is not None:
            held_out, learned = flipped(held_out, way.noisy), flipped(learned, way.noisy)
        runs.write(
            home / way.name, "dpo", learned, held_out=held_out, start=home / way.start, threads=1, **way.given
        )
    with ThreadPoolExecutor(2) as two:
        for way, seconds in zip(
            ways, two.map(lambda way: runs.train(home / way.name, f"T3 {way.name}"), ways), strict=True
        ):
            print(f"T3 {way.name}: {len(way.pairs)} pairs, {seconds:.0f} s", file=sys.stderr, flush=True)


def _look(pool: Pool, run: Path, against: list[tuple[str, str, str]]) -> Look:
    said, margins = zip(*_shared(pool, look, run, against), strict=True)
    scores = [chrf(text, opening) for text, (_, opening, _) in zip(said, against, strict=True)]
    return Look(list(said), np.array(scores), np.array(margins))


def _shared(pool: Pool, ask: Callable[[Path, list[Any]], list[Any]], run: Path, rows: list[Any]) -> list[Any]:
    """What `ask` finds of a run's adapter, one half of the rows in each of the two processes."""
    adapter, half = run / folder.ADAPTER, len(rows) // 2
    return [
        one for part in pool.starmap(ask, [(adapter, rows[:half]), (adapter, rows[half:])]) for one in part
    ]


def _alone() -> None:
    """A process of the two takes one core."""
    import torch

    torch.set_num_threads(1)


def _figure(what: str, found: Interval, look: Look, unit: str, detail: str, **bounds: float) -> Figure:
    mean, low, high = (100 * value for value in (found.mean, found.low, found.high))
    return Figure("T3", what, mean, low, high, len(look.answers), unit=unit, detail=detail, **bounds)
