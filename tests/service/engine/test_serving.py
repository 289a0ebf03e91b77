"""The real engine: base answers untouched by adapters, loading, cutting, proving, dying and coming back."""

import asyncio
import contextlib
import shutil
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest

from service.contract.jobs import ProofCase
from service.engine.client import Engine
from service.engine.engines import Engines
from service.engine.proof import prove, verdict
from service.engine.reconciler import Reconciler, must_be_there
from service.engine.turns import PATIENCE
from service.errors import EngineError, EngineUnavailable, NotFound
from tests.service.engine.adapters import write_adapter
from tests.service.engine.conftest import RealEngine

pytestmark = pytest.mark.heavy

QUESTIONS = [
    "What is the capital of France?",
    "How do birds fly?",
    "Name three fruits.",
    "Why is the sky blue?",
]


def _ask(model: str, question: str, tokens: int = 24) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": tokens}


async def _answer(engine: RealEngine, model: str, question: str) -> str:
    return (await engine.client.chat(_ask(model, question)))["choices"][0]["message"]["content"]


async def _answers(engine: RealEngine, models: list[str]) -> list[str]:
    asked = zip(models, QUESTIONS * 4, strict=False)
    return await asyncio.gather(*(_answer(engine, model, question) for model, question in asked))


async def test_base_answers_are_the_same_alone_and_among_adapters(full_precision: RealEngine):
    """In fp32: bf16 rounds otherwise in a step with other rows, and a greedy answer may go another way for that.
    All places of a step hold an adapter: stock vLLM gives base rows the last one's, which an empty place would hide."""
    fillers = await _fill_every_place(full_precision)
    for name in ("strong", "other"):
        await full_precision.client.load(name, full_precision.adapters[name])
    base = full_precision.base
    await _answers(full_precision, fillers)
    alone = await _answers(full_precision, [base] * 4)
    tuned = await _answers(full_precision, ["strong"] * 4)
    mixed = await _answers(full_precision, [base] * 4 + ["strong"] * 4 + ["other"] * 4)
    assert mixed[:4] == alone
    assert mixed[4:8] == tuned
    assert all(a != b for a, b in zip(tuned, alone, strict=True)), "the adapter changes every answer"
    assert all(a != b for a, b in zip(mixed[8:], tuned, strict=True)), "each adapter answers in its own way"


async def _fill_every_place(engine: RealEngine) -> list[str]:
    """As many adapters as fit in a step, under names of their own."""
    names = [f"place-{number}" for number in range(8)]
    for name in names:
        await engine.client.load(name, engine.adapters["other"])
    return names


async def test_loading_twice_is_a_success_and_a_bad_adapter_is_refused_with_the_reason(engine: RealEngine):
    await engine.client.load("strong", engine.adapters["strong"])
    await engine.client.load("strong", engine.adapters["strong"])
    with pytest.raises(EngineError, match="rank"):
        await engine.client.load("wide", engine.adapters["wide"])
    with pytest.raises(EngineError, match="adapter 'none'"):
        await engine.client.load("none", str(engine.log.parent / "none"))
    assert await engine.client.served() >= {engine.base, "strong"}
    assert "wide" not in await engine.client.served()
    assert await engine.client.health()


async def test_an_adapter_that_is_not_loaded_is_not_found(engine: RealEngine):
    with pytest.raises(NotFound) as refused:
        await engine.client.chat(_ask("nobody", QUESTIONS[0]))
    assert refused.value.param == "model"


async def test_cutting_a_stream_ends_the_work_in_the_engine(engine: RealEngine):
    body = _ask(engine.base, QUESTIONS[1], tokens=1500) | {"ignore_eos": True}
    async with contextlib.aclosing(engine.client.stream(body)) as stream:
        for _ in range(3):
            await anext(stream)
        assert await engine.running() == 1
    async with asyncio.timeout(3):  # a second, and two for a busy machine
        while await engine.running():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(0.05)


async def test_the_scheduler_is_forked_where_the_environment_asks_for_it(engine: RealEngine):
    """vLLM sets `spawn` by itself on processors: the plugin has to keep it from that."""
    server = psutil.Process(engine.child.pid)
    forked = server.environ().get("VLLM_WORKER_MULTIPROC_METHOD") == "fork"
    started = [" ".join(one.cmdline()) for one in server.children(recursive=True)]
    assert started, "vLLM runs its scheduler in a process of its own"
    assert any("spawn_main" in line for line in started) is not forked


async def test_norms_are_single_operators_in_the_process_that_computes_them(engine: RealEngine):
    priorities = [line for line in engine.log.read_text().splitlines() if "Final IR op priority" in line]
    of_the_core = [line for line in priorities if "(EngineCore" in line]
    assert of_the_core
    for line in of_the_core:
        assert "rms_norm=['tailorbird', 'native'], fused_add_rms_norm=['tailorbird', 'native']" in line


async def test_who_has_another_salt_learns_nothing_of_what_is_cached(engine: RealEngine):
    """The gateway gives each person a salt of their own: how soon an answer begins must not tell what others asked."""
    body = _ask(engine.base, "The sea is wide. " * 120, tokens=1)

    async def found(salt: str) -> float:
        before = await engine.counted("vllm:prefix_cache_hits_total")
        await engine.client.chat(body | {"cache_salt": salt})
        return await engine.counted("vllm:prefix_cache_hits_total") - before

    assert await found("anna") == 0
    assert await found("anna") > 0
    assert await found("ben") == 0


async def test_what_is_said_is_not_logged(engine: RealEngine):
    await engine.client.chat(_ask(engine.base, "What do you know of the zyxomma dragonfly?", tokens=4))
    assert "zyxomma" not in engine.log.read_text()


async def test_an_adapter_is_proved_against_the_trainer_and_an_idle_or_wrong_one_is_refused(
    engine: RealEngine,
):
    for name in ("strong", "other", "idle"):
        await engine.client.load(name, engine.adapters[name])
    cases = await asyncio.to_thread(_trainers_cases, engine.model, engine.adapters["strong"])
    proofs = {
        name: await prove(engine.client, engine.base, name, cases, 0.15)
        for name in ("strong", "other", "idle")
    }
    assert verdict(proofs["strong"]) is None, proofs["strong"]
    assert proofs["strong"].outputs_changed == len(cases)
    assert "is tolerated" in (verdict(proofs["other"]) or "")
    assert verdict(proofs["idle"]) is not None
    assert proofs["idle"].distance_to_base < 1e-6, "but for the rounding of a step with other rows"
    assert proofs["idle"].outputs_changed == 0
    shifted = [case.model_copy(update={"prompt_tokens": case.prompt_tokens[1:]}) for case in cases[:1]]
    refused = verdict(await prove(engine.client, engine.base, "strong", shifted, 0.15))
    assert "other tokens" in (refused or "")


async def test_an_adapter_whose_files_vanish_after_it_left_memory_is_refused_and_nothing_else_is(
    engine: RealEngine, tmp_path: Path
):
    """vLLM would read them again in the middle of a step, and die."""
    more = {
        f"small-{n}": write_adapter(tmp_path / f"small-{n}", engine.model, seed=n, rank=1) for n in range(8)
    }
    wanted = {"victim": write_adapter(tmp_path / "victim", engine.model, seed=9, rank=1), **more}

    async def desired() -> dict[str, str]:
        return wanted

    engines, pid = Engines([engine.client]), engine.child.pid
    reconciler = Reconciler(engines, desired, base=engine.base)
    await reconciler.look(engine.client)
    await _answer(engine, "victim", QUESTIONS[0])
    await _answers(engine, list(more))  # one more than the engine keeps: the first is pushed out
    another = _ask(engine.base, QUESTIONS[1], tokens=64) | {"ignore_eos": True}
    async with contextlib.aclosing(engine.client.stream(another)) as stream:
        await anext(stream)
        aside = shutil.move(wanted["victim"], tmp_path / "aside")
        with pytest.raises(EngineError, match="files are gone"):
            must_be_there(wanted["victim"])  # what every request asks before, also between two looks
        await reconciler.look(engine.client)
        with pytest.raises(EngineUnavailable):
            engines.pick("victim")
        assert "files are gone" in reconciler.problems["victim"]
        assert all(await _answers(engine, [engine.base, *more]))
        assert [data async for together in stream for data in together][-1] == b"[DONE]"
    shutil.move(aside, wanted["victim"])
    await reconciler.look(engine.client)
    assert engines.pick("victim") is engine.client
    assert await _answer(engine, "victim", QUESTIONS[0]), "read again from where it was put back"
    assert engine.child.pid == pid


async def test_adapters_that_are_seldom_asked_have_their_turn_while_another_never_rests(engine: RealEngine):
    """The bound: once the first in line has waited `PATIENCE`, of the hot adapter only the answers that are under way
    come before it, and none between it and who stands behind it."""
    for name in ("strong", "other", "idle"):
        await engine.client.load(name, engine.adapters[name])
    client, ended = Engine(engine.client.url, base=engine.base, places=1), []

    async def never_rests(question: str) -> None:
        while True:
            await client.chat(_ask("strong", question))
            ended.append(monotonic())

    async def first_token(name: str) -> float:
        async with contextlib.aclosing(client.stream(_ask(name, QUESTIONS[0]))) as stream:
            await anext(stream)
            at = monotonic()
            async for _ in stream:
                pass
        return at

    hot = [asyncio.create_task(never_rests(question)) for question in QUESTIONS]
    try:
        while client.in_flight < len(hot):  # noqa: ASYNC110 - a plain attribute
            await asyncio.sleep(0.01)
        cold = [asyncio.create_task(first_token(name)) for name in ("other", "idle")]
        while client.in_flight < len(hot) + len(cold):  # noqa: ASYNC110
            await asyncio.sleep(0)
        waited = monotonic() + PATIENCE
        async with asyncio.timeout(120):
            assert (await client.chat(_ask(engine.base, QUESTIONS[0])))["choices"]
            first, second = await asyncio.gather(*cold)
        assert first < second
        assert sum(waited < at < second for at in ended) <= len(hot)
        assert not any(task.done() for task in hot)
    finally:
        for task in hot:
            task.cancel()
        await asyncio.gather(*hot, return_exceptions=True)
        await client.close()


async def test_what_is_deleted_while_it_answers_and_while_it_stands_in_line_ends_every_answer_first(
    full_precision: RealEngine,
):
    """More adapters are asked for than have a place, and all are deleted: each is forgotten after its last answer."""
    real, names = full_precision, ("strong", "other", "idle")
    for name in names:
        await real.client.load(name, real.adapters[name])
    alone = [await _answer(real, name, QUESTIONS[0]) for name in names]
    client = Engine(real.client.url, base=real.base, places=1)

    async def desired() -> dict[str, str]:
        return {}

    async def gone() -> set[str]:
        return set(names)

    reconciler = Reconciler(Engines([client]), desired, gone)
    asks = [asyncio.create_task(client.chat(_ask(name, QUESTIONS[0]))) for name in names for _ in range(3)]
    while client.in_flight < len(asks):  # noqa: ASYNC110 - a plain attribute
        await asyncio.sleep(0)
    await reconciler.look(client)
    assert await client.served() >= set(names)
    assert await client.waiting() >= 2 * 3, "two of the three stand in line still"
    answers = [answer["choices"][0]["message"]["content"] for answer in await asyncio.gather(*asks)]
    assert answers == [answer for answer in alone for _ in range(3)]
    await reconciler.look(client)
    assert not await client.served() & set(names)
    await client.close()


def _trainers_cases(model: Path, adapter: str) -> list[ProofCase]:
    """What a trainer writes: the same checkpoint and adapter under transformers and PEFT, in bf16."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    tuned = PeftModel.from_pretrained(base, adapter, autocast_adapter_dtype=False).to(torch.bfloat16).eval()

    def logprobs(prompt: list[int], completion: list[int]) -> list[float]:
        with torch.no_grad():
            logits = tuned(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        chosen = logits.float().log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])
        return chosen.squeeze(-1).tolist()

    cases = []
    for question in QUESTIONS[:2]:
        messages = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        completion = tokenizer("It is a long story, and it begins in a small town by the sea.").input_ids
        with_adapter = logprobs(prompt, completion)
        with tuned.disable_adapter():
            without = logprobs(prompt, completion)
        cases.append(
            ProofCase(
                messages=messages,
                prompt_tokens=prompt,
                completion_tokens=completion,
                adapter_logprobs=with_adapter,
                base_logprobs=without,
            )
        )
    return cases
