"""T4: 77 intents of a bank's customers, named by the tuned model and by the base model that is given the list.

The tuned model is what a job makes of balanced rows, with the numbers that a job has when none is given. Both are asked
alike: greedy decoding in batches by transformers, which may only spell one of the 77 names, so every answer of either
is an intent. Owns the metric: the F1 of each intent, averaged without weights.
"""

import multiprocessing
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from service.contract import folder
from service.contract.chat import Message
from tests.bench import real_data, runs
from tests.bench.answers import in_batches, load
from tests.bench.figures import Figure, percentile

LEARNED, ASKED = 3080, 500
"""Messages to learn from (about 40 of each intent) and messages to be judged on."""
SHORT = 5
"""The short form takes so many times fewer of both."""
TARGET, DRAWS, BATCH = 40.0, 1000, 10
WITH_LIST = "You sort the messages of a bank's customers. Answer with the one of these intents that fits:\n"


def measure(home: Path, *, short: bool) -> list[Figure]:
    """Train in `home`, ask both, and compare them on held-out messages of which each intent has as many as others."""
    part = SHORT if short else 1
    rows, asked = (
        real_data.bank()[: LEARNED // part],
        real_data.bank(real_data.BANK_HELD_OUT)[: ASKED // part],
    )
    intents = sorted({intent for _, intent in rows})
    examples = [real_data.example(*row, real_data.ASKED) for row in rows]
    runs.write(home / "run", "sft", examples)
    seconds = runs.train(home / "run", "T4")
    ways = {
        "tuned": (home / "run" / folder.ADAPTER, real_data.ASKED),
        "base": (None, WITH_LIST + "\n".join(intents)),
    }
    found, truth = {}, [intent for _, intent in asked]
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # torch stays out of this process
        for who, (adapter, told) in ways.items():
            found[who] = pool.apply(answers, (adapter, told, [text for text, _ in asked], intents))
            share = 100 * macro_f1(truth, found[who])
            print(f"T4 {who}: macro-F1 {share:.1f}", file=sys.stderr, flush=True)
    return _figures(truth, found, len(rows), seconds)


def macro_f1(truth: Sequence[str], found: Sequence[str]) -> float:
    """The mean of the F1 of each label that `truth` holds."""
    right = Counter(true for true, told in zip(truth, found, strict=True) if true == told)
    are, said = Counter(truth), Counter(found)
    return sum(2 * right[label] / (count + said[label]) for label, count in are.items()) / len(are)


def interval(truth: Sequence[str], one: Sequence[str], other: Sequence[str]) -> tuple[float, float]:
    """The 95% percentile bootstrap of `one`'s macro-F1 less `other`'s, the messages drawn again (Efron 1979)."""
    draw, rows = Random(0), list(zip(truth, one, other, strict=True))
    gains = []
    for _ in range(DRAWS):
        true, first, second = zip(*draw.choices(rows, k=len(rows)), strict=True)
        gains.append(macro_f1(true, first) - macro_f1(true, second))
    return percentile(gains, 0.025), percentile(gains, 0.975)


def answers(adapter: Path | None, told: str, messages: list[str], intents: list[str]) -> list[str]:
    """The intent that the base model, with the adapter if there is one, names for each message."""
    chat, model = load(adapter)
    system = Message(role="system", content=told)
    prompts = [
        chat.ids([system, Message(role="user", content=text)], answer_next=True) for text in messages
    ]  # fmt: skip
    end = chat.tokenizer.eos_token_id
    names = [chat.tokenizer.encode(intent, add_special_tokens=False) for intent in intents]
    follows: dict[tuple[int, ...], set[int]] = {}
    for ids in names:
        for at, token in enumerate([*ids, end]):
            follows.setdefault(tuple(ids[:at]), set()).add(token)
    found = in_batches(prompts, BATCH, lambda some: _named(model, some, follows, end))
    return [chat.tokenizer.decode(ids) for ids in found]


def _named(
    model: Any, prompts: list[list[int]], follows: dict[tuple[int, ...], set[int]], end: int
) -> list[list[int]]:
    """What the model spells after each prompt, when it may only go on as `follows` says."""
    import torch

    longest = max(map(len, prompts))
    ids = torch.tensor([[end] * (longest - len(prompt)) + prompt for prompt in prompts])
    seen = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])

    def allowed(_: int, so_far: Any) -> list[int]:
        return sorted(follows.get(tuple(so_far[longest:].tolist()), {end}))

    with torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=seen, max_new_tokens=max(map(len, follows)) + 1, do_sample=False,
            prefix_allowed_tokens_fn=allowed, eos_token_id=end, pad_token_id=end,
        )  # fmt: skip
    return [[token for token in row if token != end] for row in out[:, longest:].tolist()]


def _figures(truth: list[str], found: dict[str, list[str]], rows: int, seconds: float) -> list[Figure]:
    tuned, base = (100 * macro_f1(truth, found[who]) for who in ("tuned", "base"))
    low, high = interval(truth, found["tuned"], found["base"])
    job = f"{rows} rows learned"
    return [
        Figure(
            "T4", "macro-F1 of 77 intents, tuned less base with the list", tuned - base, 100 * low, 100 * high,
            len(truth), unit="points", at_least=TARGET, detail=f"{tuned:.1f} / {base:.1f}",
        ),
        Figure("T4", "the job, from start to adapter", seconds, seconds, seconds, 1, unit="s", detail=job),
    ]  # fmt: skip
