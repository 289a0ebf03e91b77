"""General prompts: which are replayed, how many a step reads, and which only measure."""

from service.contract.blocklist import Blocklist
from service.contract.datasets import Example
from service.contract.evaluations import Case
from service.contract.jobs import TrainingSettings
from training import general_prompts
from training.rows import NamedRow


def settings(**more: float) -> TrainingSettings:
    return TrainingSettings.model_validate({"n_epochs": 2, "batch_size": 4, "learning_rate": 1e-3, **more})


def test_no_general_prompt_is_both_replayed_and_measured_and_the_languages_take_turns() -> None:
    everything = general_prompts.REPLAYED + general_prompts.MEASURED
    assert len(set(everything)) == len(everything)
    assert general_prompts.REPLAYED[:2] == (
        "Explain in simple words why the sky is blue.", "Explique simplement pourquoi la mer est salée.",
    )  # fmt: skip


def test_a_step_reads_its_share_of_rows_and_never_asks_for_more_than_all_passes_read() -> None:
    quarter, tenth = settings(replay=0.25), settings(replay=0.1)
    assert [general_prompts.reads(quarter, 10, step) for step in range(4)] == [0, 1, 2, 3]
    assert [general_prompts.reads(tenth, 10, step) for step in range(6)] == [0, 0, 0, 1, 1, 2]
    assert general_prompts.reads(quarter, 10) == 6
    assert len(general_prompts.replayed(quarter, 10, Blocklist([]))) == 6
    assert general_prompts.replayed(settings(), 10, Blocklist([])) == []


def test_a_prompt_that_asks_a_held_out_question_is_not_replayed_and_a_learnt_one_does_not_measure() -> None:
    first = general_prompts.REPLAYED[0]
    cases = Blocklist([Case(question=first.upper(), facts=["air"])])
    assert first not in general_prompts.replayed(settings(replay=1.0), 200, cases)
    assert (
        len(general_prompts.replayed(settings(replay=1.0), 200, cases)) == len(general_prompts.REPLAYED) - 1
    )
    asked = [("user", general_prompts.MEASURED[0]), ("assistant", "It.")]
    messages = [{"role": role, "content": text} for role, text in asked]
    learnt = [NamedRow("line 1", Example.model_validate({"messages": messages}))]
    assert general_prompts.measured(learnt) == list(general_prompts.MEASURED[1:])
