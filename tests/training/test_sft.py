"""A batch computed in parts of so many tokens is the batch."""

import functools

import pytest
import torch

from tests.training.conftest import MakeRun, examples
from training import data, model, rows, sft
from training.progress import StepLines

pytestmark = pytest.mark.heavy


def test_parts_hold_so_many_tokens_and_every_row_once() -> None:
    lengths = [7, 5, 4, 4, 2, 9]
    mask = torch.tensor([[1] * length + [0] * (9 - length) for length in lengths])
    batch = {"input_ids": torch.arange(54).view(6, 9), "attention_mask": mask}
    found = sft.parts(batch, 10)
    assert [tuple(part["input_ids"].shape) for part in found] == [(2, 4), (2, 5), (1, 7), (1, 9)]
    assert torch.cat([part["input_ids"][:, 0] for part in found]).tolist() == [
        9 * at for at in (4, 2, 3, 1, 0, 5)
    ]
    assert sum(int(part["attention_mask"].sum()) for part in found) == sum(lengths)


def test_the_held_out_loss_is_a_mean_over_tokens_however_long_the_rows_are(
    make_run: MakeRun, tiny_base: str
) -> None:
    held_out = examples(3, start=50)
    held_out[0]["messages"][-1]["content"] *= 12
    run, spec = make_run("held", "sft", tiny_base, examples(8), held_out, batch_size=4)
    chat = model.load_chat(tiny_base)
    found = rows.read(run, spec)
    learned, kept = (
        data.examples(chat, part, spec.settings.max_length) for part in (found.train, found.held_out)
    )
    trainer = sft.make_trainer(run, spec, chat, learned, kept, StepLines(run))
    said = []
    for at_once in (1, 2, 3):
        trainer.args.per_device_eval_batch_size = at_once
        said.append(trainer.evaluate()["eval_loss"])
    lost, counted = 0.0, 0
    for row in kept:
        ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
        with torch.no_grad():
            logits = trainer.model(input_ids=ids).logits[0, :-1].float()
        lost += torch.nn.functional.cross_entropy(
            logits, labels[0, 1:], ignore_index=data.IGNORED, reduction="sum"
        ).item()
        counted += int((labels[0, 1:] != data.IGNORED).sum())
    assert said == pytest.approx([lost / counted] * 3, rel=0.005)


def test_loss_and_gradient_do_not_depend_on_the_parts(
    make_run: MakeRun, tiny_base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, spec = make_run("parts", "sft", tiny_base, examples(8), batch_size=8)
    chat = model.load_chat(tiny_base)
    learned = data.examples(chat, rows.read(run, spec).train, spec.settings.max_length)
    trainer = sft.make_trainer(run, spec, chat, learned, [], StepLines(run))
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    trainer.create_optimizer_and_scheduler(1)
    batch = trainer.data_collator([trainer.train_dataset[at] for at in range(8)])
    counted = (batch["labels"] != data.IGNORED).sum()
    seen = []
    whole = sft.parts
    for most in (10_000, 60):
        monkeypatch.setattr(sft, "parts", functools.partial(whole, most=most))
        trainer.model.zero_grad()
        loss = trainer.training_step(trainer.model, dict(batch), counted)
        seen.append((loss, [w.grad for w in trainer.model.parameters() if w.grad is not None]))
    assert len(whole(batch, 60)) > 2
    torch.testing.assert_close(seen[0][0], seen[1][0], rtol=1e-2, atol=1e-3)
    for one, other in zip(seen[0][1], seen[1][1], strict=True):
        assert (one - other).norm() <= 0.05 * one.norm()
