import pytest
from sqlalchemy import select

from service.contract.adapters import UNKNOWN
from service.contract.jobs import Manifest, TrainingSettings
from service.contract.releases import ServingProof
from service.contract.replay import Forgetting
from service.db import tables
from service.domain import model_cards, releases
from service.domain.keys import Caller
from tests.service.domain.conftest import World
from tests.service.domain.test_lineage import trained

PROOF = ServingProof(
    cases=6, tokens=120, same_prompt_tokens=True, distance_to_trainer=0.0123, distance_to_base=1.5, noise=0.01,
    tolerance=0.15, outputs_changed=5, engine="vllm 1",
)  # fmt: skip


USAGE = {
    "machine": "m", "peak_bytes": 2_340_000_000, "expected_bytes": 2_000_000_000, "step_seconds": 25.0,
    "tokens_per_second": 123.4,
}  # fmt: skip


async def describe(world: World, digest: str, parent: str | None = None) -> None:
    """Give the adapter a manifest and a proof."""
    manifest = Manifest(
        kind="dpo", base_model="base", base_sha256="b5" * 32, template_sha256="7e" * 32, train_sha256="da" * 32,
        parent=parent, job="ftjob-x", settings=TrainingSettings(n_epochs=2, batch_size=4, learning_rate=1e-4),
        versions={"peft": "0.21.2"}, created_at=1, replay_rows=96, replay_sha256="4e" * 32, cases=40,
        cases_sha256="ca" * 32,
    )  # fmt: skip
    forgetting = Forgetting(
        questions=16, tokens=700, distance=0.25, distance_before=0.03, same=0.91, same_before=0.97
    )
    async with world.database.writing() as session:
        row = await session.get_one(tables.Adapter, digest)
        row.manifest, row.proof = manifest.model_dump(), PROOF.model_dump()
        row.report = {**row.report, "forgetting": forgetting.model_dump(), "usage": USAGE, "seconds": 40.0}


async def evaluate(world: World, digest: str, name: str, verdict: str, at: int) -> None:
    score = {"metric": "chrf", "contestant": "candidate", "mean": 0.5 + at / 100, "low": 0.4, "high": 0.6, "cases": 9,
             "failed": 0}  # fmt: skip
    report = {
        "cases": 9, "languages": {"en": 5, "fr": 4}, "contestants": {}, "primary": "chrf", "scores": [score],
        "differences": [], "gate": {"verdict": verdict, "reasons": [f"Reason of {name}."]}, "seconds": 1,
    }  # fmt: skip
    async with world.database.writing() as session:
        release = (
            await session.scalars(select(tables.Release).where(tables.Release.adapter == digest))
        ).one()
        job = tables.Job(
            id=f"job-{name}", kind="evaluation", status="succeeded", user_id=world.admin.user_id, request={},
            settings={}, model="desk", attempts=1, cancel_requested=False, created_at=at,
        )  # fmt: skip
        session.add(job)
        await session.flush()
        file = (await session.scalars(select(tables.File.id))).first()
        session.add(
            tables.Evaluation(
                id=name, job_id=job.id, assistant="desk", release_id=release.id, cases_file=file, report=report,
                created_at=at, finished_at=at,
            )
        )  # fmt: skip


async def card(world: World, digest: str, who: Caller | None = None, *, embedded: bool = False) -> str:
    who = who or world.admin
    async with world.database.reading() as session:
        adapter = await releases.adapter_to_take(session, who, digest)
        return await model_cards.of_adapter(session, who, adapter, embedded=embedded)


async def tuned_by_the_user(world: World) -> tuple[str, list[str]]:
    """An adapter of the user's, measured, which learnt from a file of the user's and went on from one that learnt from
    feedback, which went on from one that learnt from somebody else's file; and what is for reviewers alone."""
    elses, own = await world.add_file(b"{}\n", "sft"), await world.add_file(b"{}\n{}\n", "sft")
    await world.correct(range(6), world.user)
    dataset = await world.freeze("dpo")
    first = await trained(world, 1, elses)
    second = await trained(world, 2, dataset.training_file, start=first)
    third = await trained(world, 3, own, start=second)
    await describe(world, third, parent=second)
    await evaluate(world, third, "eval_secret", "hold", at=9)
    async with world.database.writing() as session:
        (await session.get_one(tables.File, own)).user_id = world.user.user_id
        (await session.get_one(tables.Adapter, third)).user_id = world.user.user_id
        kept = [(await session.get_one(tables.File, elses)).sha256, dataset.sha256]
    kept += [
        elses,
        dataset.id,
        "version 1",
        "eval_secret",
        "Reason of",
        "**hold**",
        "9 held-out",
        "chrf",
        "9 questions",
    ]
    return third, kept


async def test_who_is_no_reviewer_is_told_of_their_own_data_and_of_no_evaluation(world: World):
    digest, kept = await tuned_by_the_user(world)
    said = await card(world, digest, world.user)
    for secret in kept:
        assert secret not in said, secret
    assert "| 2 |  |  | `" in said, "a file of their own"
    assert said.count("| file `") == 1
    assert "among these" not in said
    assert "not measured" not in said
    assert "was not evaluated" not in said


@pytest.mark.parametrize("role", ["reviewer", "administrator"])
async def test_reviewers_and_administrators_are_told_all_that_there_is(world: World, role: str):
    digest, kept = await tuned_by_the_user(world)
    said = await card(world, digest, await world.reviewer("Rita") if role == "reviewer" else world.admin)
    for fact in kept:
        assert fact in said, fact


async def test_a_card_names_the_base_every_version_with_its_hash_the_settings_and_no_person(world: World):
    await world.correct(range(6), world.user)
    dataset = await world.freeze("dpo")
    one = await trained(world, 1, dataset.training_file)
    uploaded = await world.add_file(b"{}\n", "sft")
    two = await trained(world, 2, uploaded, start=one)
    await describe(world, two, parent=one)
    said = await card(world, two)
    assert said.startswith('---\nbase_model: "base"\nlibrary_name: "peft"\n')
    async with world.database.reading() as session:
        file = await session.get_one(tables.File, uploaded)
    inherited = f"(`{dataset.id}`) | {dataset.rows} | {dataset.held_out} | 1 | `{dataset.sha256}` |"
    assert f"| desk, dpo, version 1 {inherited}" in said
    assert f"| file `{uploaded}` | 1 |  |  | `{file.sha256}` | not said | not said |" in said
    for fact in (
        two,
        one,
        "answered by the base model (replay of the last job) | 96 |  |  | `" + "4e" * 32,
        "for 91% of them (97% before the last job), and 0.250 nats from it in the mean (0.030 before",
        "It took 40 seconds, 25 of them for its steps at 123 tokens a second, and 2.3 GB of memory at its peak.",
        "b5" * 32,
        "da" * 32,
        "the 40 held-out questions of the list with the SHA-256 `" + "ca" * 32,
        "| learning_rate | 0.0001 |",
        "peft 0.21.2",
        "0.0123",
        "vllm 1",
    ):
        assert fact in said, fact
    assert "It was not evaluated." in said
    assert "Apache" not in said
    assert "Apache License 2.0" in await card(world, two, embedded=True)
    assert world.user.name not in said
    assert world.user.user_id not in said


async def test_a_card_tells_the_newest_evaluation_of_this_adapter(world: World):
    one = await trained(world, 1, await world.add_file(b"{}\n", "sft"))
    two = await trained(world, 2, await world.add_file(b"{}\n{}\n", "sft"))
    await describe(world, one)
    await evaluate(world, one, "eval_newer", "pass", at=9)
    await evaluate(world, one, "eval_older", "hold", at=5)
    await evaluate(world, two, "eval_other", "hold", at=20)
    said = await card(world, one)
    assert "`eval_newer`, on 9 held-out questions of the assistant `desk` (5 in en, 4 in fr)" in said
    assert "**pass**" in said
    assert "- Reason of eval_newer." in said
    assert "| chrf | candidate | 0.590 | 0.400 to 0.600 |" in said
    assert "eval_older" not in said
    assert "eval_other" not in said


async def brought(world: World, number: int) -> str:
    """An adapter that was brought in a ZIP; its digest."""
    digest = await trained(world, number, await world.add_file(b"PK", "adapter"))
    manifest = Manifest(
        kind="import", base_model="base", base_sha256="b5" * 32, template_sha256="7e" * 32, train_sha256=None,
        parent=None, job=None, settings=None, versions={}, created_at=None, note=UNKNOWN,
    )  # fmt: skip
    async with world.database.writing() as session:
        row = await session.get_one(tables.Adapter, digest)
        row.manifest, row.proof = manifest.model_dump(), PROOF.model_dump()
        (await session.get_one(tables.Job, row.job_id)).kind = "import"
    return digest


async def test_a_card_of_an_adapter_from_elsewhere_says_what_is_not_known(world: World):
    said = await card(world, await brought(world, 1))
    assert "brought from outside" in said
    assert "tuned with Tailorbird" not in said
    assert UNKNOWN in said
    assert "file-" not in said, "the ZIP is not what it learnt from"
    assert "None" not in said
    assert "0.0123" in said


async def test_what_went_on_from_an_adapter_from_elsewhere_says_so_too(world: World):
    one = await brought(world, 1)
    two = await trained(world, 2, await world.add_file(b"{}\n", "sft"), start=one)
    await describe(world, two, parent=one)
    said = await card(world, two)
    assert "tuned with Tailorbird" in said
    assert "went on from an adapter that was brought from outside" in said


async def test_an_adapter_that_was_trained_here_and_brought_back_is_known_by_its_training(world: World):
    file = await world.add_file(b"{}\n", "sft")
    one = await trained(world, 1, file)
    await describe(world, one)
    async with world.database.writing() as session:
        back = tables.Job(
            id="ftjob-back", kind="import", status="succeeded", user_id=world.admin.user_id, request={}, settings={},
            model="base", adapter=one, attempts=1, cancel_requested=False, created_at=99,
        )  # fmt: skip
        session.add(back)
    said = await card(world, one)
    assert "tuned with Tailorbird" in said
    assert file in said
