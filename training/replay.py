"""Replay against forgetting: general questions, answered by the base model itself, beside a run's own rows.

A row of replay counts what a training row counts. Its loss is the divergence of the tuned model from the base model,
token by token along the base model's own answer: in expectation that is to learn answers that the base model would
draw, without their chance (learning without forgetting, arXiv 1606.09282; self-generated replay, arXiv 2605.26097;
InstructGPT mixes such a term into preference tuning, arXiv 2203.02155). The same figure, on questions that are never
replayed, says how much was forgotten. Which rows a step reads follows from its number alone, so a run that goes on
reads the same. Owns `replay.jsonl`. Knows no method.
"""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from service.contract import fingerprint, folder
from service.contract.chat import Message
from service.contract.jobs import TrainingSpec
from service.contract.replay import Forgetting, Replayed, ReplayRow
from training import general_prompts, processes
from training.data import Chat
from training.model import precision
from training.progress import StepLines
from training.proof import greedy
from training.rows import Rows, held_out_cases

TOGETHER = 32
"""Questions that are answered at once."""
PART = 8
"""Rows that are compared at once: their logits take memory."""
ANSWER = 32
"""Tokens of an answer at most. One that is broken off teaches nothing of its end."""


def prepare(model: Any, run: Path, spec: TrainingSpec, chat: Chat, found: Rows, lines: StepLines) -> "Replay":
    """The base model's answers, made or found again, and how far from it the adapter is that the run starts from."""
    settings, count = spec.settings, len(found.train)
    questions = {
        "replayed": general_prompts.replayed(settings, count, held_out_cases(run, spec)),
        "measured": general_prompts.measured(found.train),
    }
    wanted = [(use, question) for use, asked in questions.items() for question in asked]
    base = fingerprint.base_sha256(Path(spec.base_model))
    rows = [ReplayRow.model_validate(line) for line in folder.read_lines(run / folder.REPLAY)]
    if [(row.use, row.question) for row in rows] != wanted or any(row.base_sha256 != base for row in rows):
        told = f"The base model answers {len(wanted)} general questions, so that what it could do is not forgotten."
        lines(told, "replaying", n=len(wanted))
        rows = _answered(model, chat, wanted, base)
        folder.write_atomic(run / folder.REPLAY, "".join(row.model_dump_json() + "\n" for row in rows))
    sha256 = hashlib.sha256((run / folder.REPLAY).read_bytes()).hexdigest()
    replay = Replay(spec, count, rows, sha256)
    if spec.start_adapter is not None and questions["measured"]:
        replay.before = replay.measure(model)
    return replay


def compare(model: Any, rows: Sequence[ReplayRow]) -> list["Figures"]:
    """Of each row: the tuned model beside the base model, which it is without its adapter, along the base's answer."""
    with torch.no_grad(), model.disable_adapter():
        base = _logprobs(model, rows)
    return [
        Figures((one.exp() * (one - other)).sum(-1), one.argmax(-1) == other.argmax(-1))
        for one, other in zip(base, _logprobs(model, rows), strict=True)
    ]


class Figures(NamedTuple):
    """Of each token of an answer."""

    distance: torch.Tensor
    """The divergence of the tuned model from the base model, in nats."""
    same: torch.Tensor
    """Whether the same token is the likeliest to both."""


class Replay:
    """What a run replays and measures; `before` is the figure of the adapter that it starts from."""

    def __init__(self, spec: TrainingSpec, count: int, rows: Sequence[ReplayRow], sha256: str) -> None:
        self._settings, self._count, self._sha256 = spec.settings, count, sha256
        self.batch_size = spec.settings.batch_size
        self._replayed = [row for row in rows if row.use == "replayed"]
        self._measured = [row for row in rows if row.use == "measured"]
        random.Random(spec.settings.seed).shuffle(self._replayed)
        self.before: tuple[float, float] = (0.0, 1.0)

    def of_step(self, step: int) -> list[list[ReplayRow]]:
        """What this process reads in the step after `step` steps, beside its own rows; in parts."""
        begin, end = (general_prompts.reads(self._settings, self._count, at) for at in (step, step + 1))
        count = len(self._replayed)
        reads = processes.share(range(begin, end if count else begin), begin)
        return _parts([self._replayed[at % count] for at in reads])

    def measure(self, model: Any) -> tuple[float, float]:
        """The mean distance from the base model on questions that are never replayed, and the share it says alike."""
        model.eval()
        with torch.no_grad():
            found = [figures for rows in _parts(self._measured) for figures in compare(model, rows)]
        distance, same = (torch.cat(part).float().mean().item() for part in zip(*found, strict=True))
        return distance, same

    def replayed(self, steps: int) -> Replayed | None:
        reads = general_prompts.reads(self._settings, self._count, steps)
        if not self._replayed or not reads:
            return None
        return Replayed(rows=min(len(self._replayed), reads), reads=reads, sha256=self._sha256)

    def forgetting(self, model: Any) -> Forgetting | None:
        """None where every question to measure it is one that the run learnt from."""
        if not self._measured:
            return None
        after = self.measure(model)
        return Forgetting(
            questions=len(self._measured), tokens=sum(len(row.answer_tokens) for row in self._measured),
            distance=after[0], distance_before=self.before[0], same=after[1], same_before=self.before[1],
        )  # fmt: skip


class Replaying:
    """A trainer of transformers that replays: stands before it as a parent."""

    replay: Replay | None = None
    """Every run gives one (`training.steps`); a single step, computed apart, has none."""
    _replayed_at = -1

    def training_step(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Before the first batch of a step, while no other gradient is there that the base model's turn could touch."""
        step = self.state.global_step
        if self.replay is not None and step != self._replayed_at:
            self._replayed_at = step
            self.model.train()
            for rows in self.replay.of_step(step):
                distances = torch.stack([row.distance.mean() for row in compare(self.model, rows)])
                (distances.sum() / self.replay.batch_size).backward()
                self._metrics["train"]["replay_distance"] += distances.tolist()
        return super().training_step(*args, **kwargs)  # pyrefly: ignore[missing-attribute]


@torch.no_grad()
def _answered(model: Any, chat: Chat, wanted: Sequence[tuple[Any, str]], base: str) -> list[ReplayRow]:
    """Greedily, so that the same base model gives the same rows again."""
    model.eval()
    prompts = [chat.ids([Message(role="user", content=asked)], answer_next=True) for _, asked in wanted]
    answers: list[list[int]] = []
    with model.disable_adapter(), precision(model):
        for at in range(0, len(prompts), TOGETHER):
            answers += greedy(model, chat, prompts[at : at + TOGETHER], ANSWER)
    return [
        ReplayRow(
            use=use, question=question, answer=chat.tokenizer.decode(answer, skip_special_tokens=True),
            prompt_tokens=prompt, answer_tokens=answer, base_sha256=base,
        )
        for (use, question), prompt, answer in zip(wanted, prompts, answers, strict=True)
    ]  # fmt: skip


def _parts(rows: list[ReplayRow]) -> list[list[ReplayRow]]:
    return [rows[at : at + PART] for at in range(0, len(rows), PART)]


def _logprobs(model: Any, rows: Sequence[ReplayRow]) -> list[torch.Tensor]:
    """For each token of each answer, of the whole vocabulary in its place."""
    starts = [len(row.prompt_tokens) for row in rows]
    whole = [row.prompt_tokens + row.answer_tokens for row in rows]
    width, first = max(map(len, whole)), min(starts) - 1
    ids = torch.tensor([row + [0] * (width - len(row)) for row in whole], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in whole], device=model.device)
    with precision(model):
        found = model(
            input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=width - first
        ).logits
    return [
        logits[start - 1 - first : len(row) - 1 - first].float().log_softmax(-1)
        for logits, start, row in zip(found, starts, whole, strict=True)
    ]
