"""What the engine computes with an adapter is what PEFT computes: one, eight and 32 of them, in both precisions.

The adapters have PEFT's own layouts and weights drawn by chance: ranks 1 to 16, plain and rank-stabilised, on all
linear layers or on two. All are asked at once, with the base model among them, each with a question of its own. Of each
answer the prompt is what was prefilled and the rest what was decoded; PEFT computes both in one pass over the same
tokens, in fp32, so nothing depends on whether two greedy answers part.

Measured with SmolLM2-135M-Instruct on a processor without bf16, in nats, mean over the tokens of one adapter: 32
adapters in the fp32 engine are 0.00001 from PEFT at most, in the bf16 engine 0.05 on average and 0.12 at most, which is
its rounding (`service.engine.proof` found as much without an adapter).
"""

import asyncio
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from service.engine import server
from service.engine.client import TEXT
from service.engine.server import LINEAR
from tests.service.engine.conftest import RealEngine

pytestmark = pytest.mark.heavy

COUNT, DECODED = 32, 8
WHO = ("the ferryman", "a lighthouse", "the tailorbird", "my neighbour", "the old captain", "this harbour")
LAYOUTS = {
    f"rank-{rank}-{kind}": LoraConfig(
        r=rank, lora_alpha=round(2 * rank**power), use_rslora=power == 0.5, task_type="CAUSAL_LM",
        target_modules=layers,
    )
    for rank, kind, power, layers in (
        (16, "all", 1, list(LINEAR)), (8, "all", 1, list(LINEAR)), (4, "two", 1, ["q_proj", "down_proj"]),
        (4, "stabilised", 0.5, list(LINEAR)), (1, "all", 1, list(LINEAR)), (16, "two", 0.5, ["v_proj", "up_proj"]),
    )
}  # fmt: skip
MEAN = {"float32": 0.0005, "bfloat16": 0.15}
"""Nats between engine and PEFT, on average over the tokens of one adapter; bf16's is the proof's tolerance."""
BEST = {"float32": 0.005, "bfloat16": 0.5}
"""Nats by which PEFT may hold another token for more likely than the one that the engine chose greedily."""


@dataclass
class Drawn:
    """The adapters on disk, and PEFT to compute with them: one model, whose weights are changed for each."""

    model: Any
    folders: dict[str, str] = field(default_factory=dict)
    layouts: dict[str, str] = field(default_factory=dict)
    known: dict[tuple[str, tuple[int, ...]], torch.Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def logprobs(self, name: str, tokens: list[int]) -> torch.Tensor:
        """Of every token of the vocabulary after each of `tokens`: float32 [tokens, vocabulary]."""
        key = (name, tuple(tokens))
        if key in self.known:
            return self.known[key]
        ids = torch.tensor([tokens])
        if name in self.folders:
            weights = load_file(Path(self.folders[name]) / "adapter_model.safetensors")
            set_peft_model_state_dict(self.model, weights, adapter_name=self.layouts[name])
            self.model.set_adapter(self.layouts[name])
            logits = self.model(input_ids=ids).logits[0]
        else:
            with self.model.disable_adapter():
                logits = self.model(input_ids=ids).logits[0]
        self.known[key] = logits.log_softmax(-1)
        return self.known[key]


@pytest.fixture(scope="module")
def drawn(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    home, layouts = tmp_path_factory.mktemp("peft"), list(LAYOUTS)
    base = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    model = get_peft_model(base, LAYOUTS[layouts[0]], adapter_name=layouts[0])
    for layout in layouts[1:]:
        model.add_adapter(layout, LAYOUTS[layout])
    model.save_pretrained(str(home), selected_adapters=layouts)
    made = Drawn(model.eval())
    for number in range(COUNT):
        name, layout = f"drawn-{number}", layouts[number % len(layouts)]
        random, strength = torch.Generator().manual_seed(number), 0.3 / LAYOUTS[layout].r ** 0.5
        weights = {
            key: torch.randn(like.shape, generator=random) * (strength if "lora_B" in key else like.std())
            for key, like in get_peft_model_state_dict(model, adapter_name=layout).items()
        }
        (home / name).mkdir()
        save_file(weights, home / name / "adapter_model.safetensors")
        shutil.copy(home / layout / "adapter_config.json", home / name)
        made.folders[name], made.layouts[name] = str(home / name), layout
    return made


@dataclass(frozen=True)
class Heard:
    """One request: log-probabilities of the prompt's tokens but the first, and of the answer's."""

    name: str
    prompt: list[int]
    answer: list[int]
    prefilled: list[float]
    decoded: list[float]


@pytest.mark.parametrize("count", [1, 8, COUNT])
async def test_in_fp32_the_engine_computes_what_peft_does(
    full_precision: RealEngine, drawn: Drawn, count: int
):
    await _agree(full_precision, drawn, count, "float32")


@pytest.mark.parametrize("count", [1, 8, COUNT])
async def test_in_bf16_the_engine_computes_what_peft_does_but_for_rounding(
    engine: RealEngine, drawn: Drawn, count: int
):
    if server.is_cpu_build() and server.fast_dtype() == "float32":
        pytest.skip("this processor only emulates bf16, so the engine serves in fp32")
    await _agree(engine, drawn, count, "bfloat16")


async def _agree(engine: RealEngine, drawn: Drawn, count: int, dtype: str) -> None:
    names = list(drawn.folders)[:count]
    for name in names:
        await engine.client.load(name, drawn.folders[name])
    heard = await _all_at_once(engine, [*names, *[engine.base] * (1 + count // 4)])
    gaps: dict[str, list[float]] = {"prefill": [], "decode": []}
    for one in heard:
        found = drawn.logprobs(one.name, one.prompt + one.answer)
        expected = _of_tokens(found, one)
        apart = (torch.tensor(one.prefilled + one.decoded) - expected).abs()
        for part, gap in zip(gaps, apart.split([len(one.prefilled), DECODED]), strict=True):
            gaps[part].append(gap.mean().item())
        best = found[len(one.prompt) - 1 : -1].max(-1).values
        assert (best - expected[len(one.prefilled) :]).max() <= BEST[dtype], one.name
    print(dtype, count, {part: f"mean {sum(g) / len(g):.6f}, worst {max(g):.6f}" for part, g in gaps.items()})
    assert max(gaps["prefill"] + gaps["decode"]) <= MEAN[dtype], gaps
    for one in heard[: min(count, 4)]:
        _told_apart(one, drawn, engine.base, dtype)


def _told_apart(one: Heard, drawn: Drawn, base: str, dtype: str) -> None:
    """An adapter whose weights were left out, or were another's, would not have passed."""
    own = _of_tokens(drawn.logprobs(one.name, one.prompt + one.answer), one)
    for wrong in (base, "drawn-6"):
        other = _of_tokens(drawn.logprobs(wrong, one.prompt + one.answer), one)
        assert wrong == one.name or (own - other).abs().mean() > 2 * MEAN[dtype]


def _of_tokens(found: torch.Tensor, one: Heard) -> torch.Tensor:
    """The log-probability of each token but the first."""
    ids = torch.tensor(one.prompt[1:] + one.answer)
    return found[:-1].gather(-1, ids[:, None]).squeeze(-1)


async def _all_at_once(engine: RealEngine, names: list[str]) -> list[Heard]:

    tokenizer = AutoTokenizer.from_pretrained(engine.model)
    prompts = [
        tokenizer(
            f"Question {n}: what does {WHO[n % len(WHO)]} say of the sea and of the {n} bridges?"
        ).input_ids
        for n in range(len(names))
    ]
    return await asyncio.gather(
        *(_ask(engine, name, prompt) for name, prompt in zip(names, prompts, strict=True))
    )


async def _ask(engine: RealEngine, name: str, prompt: list[int]) -> Heard:
    body = {
        "model": name, "prompt": prompt, "max_tokens": DECODED, "temperature": 0, "ignore_eos": True,
        "logprobs": 0, "prompt_logprobs": 0, "return_token_ids": True,
    }  # fmt: skip
    choice = (await engine.client.chat(body, TEXT))["choices"][0]
    said = [
        entry[str(token)]["logprob"]
        for entry, token in zip(choice["prompt_logprobs"][1:], prompt[1:], strict=True)
    ]
    return Heard(name, prompt, choice["token_ids"], said, choice["logprobs"]["token_logprobs"])
