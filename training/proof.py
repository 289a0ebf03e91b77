"""What an adapter computes, by PEFT: the figures that the running engine is held against before it is published.

Computed as the engine does: base and adapter in the precision this machine is fast at, one case at a time, nothing
padded. Of an adapter that was trained here the answers are those of its rows. One that was trained elsewhere has no
rows here: the answers are its own, greedy ones, where it is surest and the base model is least sure. Knows no trainer.
"""

import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from service.contract import folder
from service.contract.adapters import AdapterSpec
from service.contract.chat import Message
from service.contract.jobs import ProofCase, TrainingReport
from training.data import Chat, last_answer
from training.model import load_base, load_chat, multiplies_bf16, precision
from training.progress import Says
from training.refusal import Refused
from training.rows import Rows, plain, prompt_messages

CASES = 6
WHILE_TRAINING = 3
"""Cases of a finished pass: the run waits for their figures, and the engine has people to answer."""
TOKENS = 64
"""Of each answer, at most."""


def of_rows(base: Path, adapter: Path, chat: Chat, rows: Rows) -> list[ProofCase]:
    """Cases spread over the held-out rows, or over the training rows when none are held out."""
    return _of_rows(_load(base, adapter), chat, rows, CASES)


def of_trained(model: Any, chat: Chat, rows: Rows) -> list[ProofCase]:
    """Fewer of them, by the model that is being trained. Draws no random number and leaves its weights alone."""
    model.eval()  # a trainer turns it back before each step
    with precision(model):
        return _of_rows(model, chat, rows, WHILE_TRAINING)


def prove(run: Path, spec: AdapterSpec) -> None:
    """The figures of an adapter that was trained elsewhere, and the report, written last. Raises `Refused`."""
    says, started = Says(run), time.monotonic()
    says("Loading the base model and the adapter.", code="loading_adapter")
    base = Path(spec.base_model)
    chat, model = load_chat(base), _load(base, Path(spec.adapter))
    says("Asking the adapter, and the base model without it.", code="asking_adapter")
    conversations = [[Message.model_validate(message) for message in prompt] for prompt in spec.prompts]
    asked = [_fitting(chat, messages, spec.max_length) for messages in conversations]
    answers = greedy(model, chat, [ids for _, ids in asked], TOKENS)
    cases = [
        _case(model, messages, ids, answer) for (messages, ids), answer in zip(asked, answers, strict=True)
    ]
    mend = "Bring the files that training left, or send questions of its own field as 'prompts'."
    write(run, cases, mend=mend)
    report = TrainingReport(
        adapter=spec.adapter, steps=0, epochs=0, rows=0, held_out=0, trained_tokens=0,
        seconds=time.monotonic() - started, metrics={},
    )  # fmt: skip
    folder.write_json(run / folder.REPORT, report.model_dump())


def write(run: Path, cases: list[ProofCase], *, mend: str) -> None:
    """Keep the cases. Raises `Refused` with code `adapter_changes_nothing` when the adapter equals the base model."""
    if all(case.adapter_logprobs == case.base_logprobs for case in cases):
        raise Refused(
            "adapter_changes_nothing", f"The adapter computes what the base model does. {mend}", "adapter"
        )
    keep(run, cases)


def keep(run: Path, cases: list[ProofCase]) -> None:
    """Keep the cases, whatever they say."""
    folder.write_atomic(run / folder.PROOF, "".join(case.model_dump_json() + "\n" for case in cases))


def logprobs(model: Any, prompt: list[int], completion: list[int]) -> list[float]:
    """The log-probability of each completion token given all before it; the softmax is taken in fp32."""
    with torch.no_grad():
        ids = torch.tensor([prompt + completion], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        chosen = logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :, None])
        return [round(value, 6) for value in chosen.squeeze(-1).tolist()]


def greedy(model: Any, chat: Chat, prompts: list[list[int]], tokens: int) -> list[list[int]]:
    """What a model says to each, all at once, up to and with the token that ends it, or so many tokens."""
    stops, width = sorted(chat.stops), max(map(len, prompts))
    ids = [[stops[0]] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    with torch.no_grad():
        said = model.generate(
            input_ids=torch.tensor(ids, device=model.device), do_sample=False, eos_token_id=stops,
            attention_mask=torch.tensor(mask, device=model.device), max_new_tokens=tokens, pad_token_id=stops[0],
        )  # fmt: skip
    return [_ended(row, chat.stops) for row in said[:, width:].tolist()]


def _of_rows(model: Any, chat: Chat, rows: Rows, cases: int) -> list[ProofCase]:
    pool = rows.held_out or rows.train
    chosen = pool[:: -(-len(pool) // cases)]
    return [_case(model, prompt_messages(named.row), *last_answer(chat, named)) for named in chosen]


def _load(base: Path, adapter: Path) -> Any:
    dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
    model = PeftModel.from_pretrained(load_base(base, dtype), adapter, autocast_adapter_dtype=False)
    return model.to(dtype).eval()


def _case(model: Any, messages: list[Message], prompt: list[int], completion: list[int]) -> ProofCase:
    completion = completion[:TOKENS]
    with_adapter = logprobs(model, prompt, completion)
    with model.disable_adapter():
        without = logprobs(model, prompt, completion)
    return ProofCase(
        messages=plain(messages), prompt_tokens=prompt, completion_tokens=completion,
        adapter_logprobs=with_adapter, base_logprobs=without,
    )  # fmt: skip


def _fitting(chat: Chat, messages: list[Message], max_length: int) -> tuple[list[Message], list[int]]:
    """The prompt, without its instructions where they leave no room for an answer."""
    for some in (messages, messages[-1:]):
        ids = chat.ids(some, answer_next=True)
        if len(ids) + TOKENS <= max_length:
            return some, ids
    raise Refused(
        "prompt_too_long",
        f"A question has {len(ids)} tokens; {max_length - TOKENS} leave room for an answer. Send a shorter one.",
        "prompts",
    )


def _ended(answer: list[int], stops: frozenset[int]) -> list[int]:
    end = next((at for at, token in enumerate(answer) if token in stops), len(answer))
    return answer[: end + 1]
