"""One report of a training job: the rules by which its figures become findings, and the records they are read from.

Nothing is computed anew: curves are the job's events, the rest its adapter's report and its release's evaluation. What
was not measured is said to be so. Who is no reviewer is told nothing of evaluations and releases. Never commits.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.evaluations import Contestant, Evaluation, EvaluationReport
from service.contract.jobs import ENDED, Chosen, TrainingReport
from service.contract.reports import Before, Check, DataUse, Finding, FindingCode, JobReport, Use
from service.db import tables
from service.domain import evaluations, jobs, lineage, releases, result_files
from service.domain.keys import Caller

TOLERANCE = 0.02
"""A held-out loss, or a log-probability, that moved by a smaller share than this has not moved."""
GAP = 0.5
"""A loss of the training rows below this share of the held-out rows' is learning by heart."""
FORGOTTEN = 0.05
"""Of the base model's own words the share that may be lost in one job without a warning."""
DRIFT = 1.5
"""Answers so many times as long as before, or as short, have changed in length."""

SAID: dict[FindingCode, str] = {
    "done": "The training is done: it made {step} steps on {n} rows, in {passes} passes.",
    "brought": "The model was brought from elsewhere: how it was trained is not known here.",
    "under_way": "The training is not done yet: {step} of {total} steps are made.",
    "failed": "The training failed after {step} of {total} steps, so there is no finished model.",
    "cancelled": "The training was cancelled after {step} of {total} steps, so there is no finished model.",
    "under_way_early": "The training has not made its first step yet.",
    "failed_early": "The training failed before its first step, so there is no model to use.",
    "cancelled_early": "The training was cancelled before its first step, so there is no model to use.",
    "better_pass": "It passed its evaluation on {n} questions: {better} are answered better, {worse} worse.",
    "better_hold": "Its evaluation on {n} questions holds it back: {better} are answered better, {worse} worse.",
    "better_unmeasured": "Whether it answers better was not measured.",
    "better_later": "Whether it answers better is measured after the training.",
    "better_hidden": "Whether it answers better is for reviewers to read.",
    "watch_nothing": "None of the checks below found a warning sign.",
    "watch_unknown": "No warning sign was found, but of the checks below {n} could not be made.",
    "watch_so_far": "No warning sign so far; some of the checks below come after the training.",
    "check_later": "This can be told once the training is done.",
    "overfit_none": "It did not learn its rows by heart: rows kept aside came nearer too, from {before} to {kept}.",
    "overfit_avoided": "It began to learn its rows by heart after step {best}, but what is kept is from that step.",
    "overfit_kept": "It learnt its rows by heart: rows kept aside were nearest after step {best} ({lowest}), and "
    "stand at {kept} now. Fewer passes would do.",
    "overfit_useless": "What it learnt does not carry over: rows kept aside are no nearer than before "
    "({before} before, {kept} now). More or other rows are needed.",
    "overfit_gap": "It knows its own rows far better than rows kept aside ({train} against {kept}): it may be "
    "learning them by heart.",
    "overfit_no_rows": "Whether it learnt its rows by heart cannot be told, because no rows were kept aside.",
    "overfit_unmeasured": "Whether it learnt its rows by heart cannot be told, because rows kept aside were not "
    "measured after a pass.",
    "forgot_little": "It forgot little: of 100 words of general answers it would say {now} as the base model does; "
    "before this job {earlier}.",
    "forgot_much": "It forgot general things: of 100 words of general answers it would say {now} as the base model "
    "does; before this job {earlier}.",
    "forgot_unmeasured": "What it forgot was not measured.",
    "chosen_held": "It finds the preferred answers no less likely than before.",
    "chosen_fell": "It finds the preferred answers of rows kept aside less likely than before (log-probability "
    "{before} before, {kept} now): it learnt what not to say more than what to say.",
    "chosen_fell_training": "It finds the preferred answers it was taught less likely than before (reward {kept}): it "
    "learnt what not to say more than what to say.",
    "chosen_unmeasured": "Whether the preferred answers became less likely was not measured.",
    "good_held": "It finds the good answers no less likely than before.",
    "good_fell": "It finds the good answers of rows kept aside less likely than before (log-probability {before} "
    "before, {kept} now): it learnt what not to say more than what to say.",
    "good_fell_training": "It finds the good answers it was taught less likely than before (reward {kept}): it learnt "
    "what not to say more than what to say.",
    "good_unmeasured": "Whether the good answers became less likely was not measured.",
    "length_same": "Its answers are about as long as before: {before} words before, {now} now (median).",
    "length_longer": "Its answers are much longer than before: {before} words before, {now} now (median).",
    "length_shorter": "Its answers are much shorter than before: {before} words before, {now} now (median).",
    "length_unmeasured": "How long its answers are was not measured.",
}  # fmt: skip
WARNS = (
    "failed", "failed_early", "better_hold", "overfit_kept", "overfit_useless", "overfit_gap", "forgot_much",
    "chosen_fell", "chosen_fell_training", "good_fell", "good_fell_training", "length_longer", "length_shorter",
)  # fmt: skip
UNKNOWN = (
    "brought", "under_way", "under_way_early", "cancelled", "cancelled_early", "better_later", "better_hidden",
    "watch_unknown", "watch_so_far", "check_later", "overfit_no_rows",
)  # fmt: skip


async def of_job(session: AsyncSession, caller: Caller, job: tables.Job) -> JobReport:
    """The report of a training job that the caller may see, however far it came."""
    steps = await result_files.steps_of(session, job.id)
    curves: dict[str, list[tuple[int, float]]] = {}
    for step in sorted(steps):
        for name, value in steps[step].items():
            if isinstance(value, float) and name != "seconds_left":
                curves.setdefault(name, []).append((step, value))
    adapter = await session.get(tables.Adapter, job.adapter) if job.adapter else None
    trained = TrainingReport.model_validate(adapter.report) if adapter and adapter.report else None
    release = await _release(session, job) if caller.may("reviewer") else None
    evaluation = await _evaluation(session, release) if release else None
    measured = evaluation.report if evaluation else None
    total = next((steps[step]["total_steps"] for step in sorted(steps) if "total_steps" in steps[step]), None)
    checks: dict[Check, Finding] = {
        "overfitting": overfitting(curves, trained, held_out=bool(job.validation_file)),
        "forgetting": forgetting(trained),
        **({"chosen": chosen(curves, trained)} if job.kind == "dpo" else {}),
        **({"chosen": desirable(curves, trained)} if job.kind == "kto" else {}),
        "length": length(measured),
    }
    better = gate(measured)
    if job.status not in ENDED:
        checks = {name: _later(one, "check_later") for name, one in checks.items()}
        better = _later(better, "better_later")
    if not caller.may("reviewer"):
        better = found("better_hidden")
    return JobReport(
        job=jobs.shown(job), checks=checks,
        verdict=[how_it_ended(job, max(steps, default=0), total, trained), better, watch(list(checks.values()))],
        step=max(steps, default=0), total_steps=total, curves=curves, training=trained,
        before=await _before(session, job),
        live_same=await _live_same(session, job, trained) if caller.may("reviewer") else None,
        data=await _data(session, caller, job), adapter=job.adapter,
        reasons=await _reasons(session, job),
        card=adapter is not None and adapter.deleted_at is None, evaluation=evaluation,
        release=await releases.shown(session, release) if release else None,
        lineage=await lineage.of_adapter(session, job.adapter, after=None, limit=1)
        if adapter and job.adapter and caller.may("reviewer") else None,
    )  # fmt: skip


def overfitting(
    curves: dict[str, list[tuple[int, float]]], trained: TrainingReport | None, *, held_out: bool
) -> Finding:
    """By the held-out loss of the step that is kept: against the lowest, against none of the training, against the
    last, and against the training rows' own loss, in this order."""
    losses = dict(curves.get("valid_loss", []))
    after = {step: loss for step, loss in losses.items() if step}
    if not after:
        return found("overfit_unmeasured" if held_out else "overfit_no_rows")
    best, last = min(after, key=lambda step: after[step]), max(after)
    kept = trained.kept_step if trained and trained.kept_step in after else last
    values = {
        "best": best,
        "lowest": after[best],
        "kept_step": kept,
        "kept": after[kept],
        "last": after[last],
    }
    if 0 in losses:
        values["before"] = losses[0]
        if after[kept] >= losses[0]:
            return found("overfit_useless", **values)
    # A loss may be negative: that of preferences told to be wrong now and then (`robust`) has no lower bound.
    if after[kept] - after[best] > TOLERANCE * abs(after[best]):
        return found("overfit_kept", **values)
    if after[last] - after[kept] > TOLERANCE * abs(after[kept]):
        return found("overfit_avoided", **values)
    train = trained.metrics.get("train_loss") if trained else None
    if train is not None and 0 < train < GAP * after[kept]:
        return found("overfit_gap", train=train, **values)
    values.setdefault("before", after[min(after)])
    return found("overfit_none", **values)


def forgetting(trained: TrainingReport | None) -> Finding:
    """By how much of what the base model says it would say less than before this job."""
    known = trained.forgetting if trained else None
    if known is None:
        return found("forgot_unmeasured")
    lost = known.same_before - known.same
    return found(
        "forgot_much" if lost > FORGOTTEN else "forgot_little", now=round(known.same * 100),
        earlier=round(known.same_before * 100), distance=known.distance, distance_before=known.distance_before,
        questions=known.questions,
    )  # fmt: skip


def chosen(curves: dict[str, list[tuple[int, float]]], trained: TrainingReport | None) -> Finding:
    """A known way for DPO to fail: both answers become less likely, the rejected one only more so."""
    return _less_likely(
        curves, trained, "chosen", "chosen_held", "chosen_fell", "chosen_fell_training"
    ) or found("chosen_unmeasured")


def desirable(curves: dict[str, list[tuple[int, float]]], trained: TrainingReport | None) -> Finding:
    """KTO may fail alike: what makes bad answers less likely takes good ones along, and its loss, which looks at the
    distance of each from the KL estimate, falls all the same."""
    return _less_likely(
        curves, trained, "desirable", "good_held", "good_fell", "good_fell_training"
    ) or found("good_unmeasured")


def _less_likely(
    curves: dict[str, list[tuple[int, float]]], trained: TrainingReport | None, side: str, held: FindingCode,
    fell: FindingCode, fell_training: FindingCode,
) -> Finding | None:  # fmt: skip
    """Told by the same held-out answers before and after; without any by the rewards of the last pass, which compare
    with the reference."""
    held_out = dict(curves.get(f"valid_logp_{side}", []))
    kept = trained.kept_step if trained and trained.kept_step in held_out else max(held_out, default=0)
    if 0 in held_out and kept:
        values = {"before": held_out[0], "kept": held_out[kept]}
        lost = held_out[0] - held_out[kept]
        return found(fell if lost > TOLERANCE * abs(held_out[0]) else held, **values)
    rewards = [value for step, value in curves.get(f"reward_{side}", []) if not kept or step <= kept]
    if not rewards or trained is None:
        return None
    last = rewards[-max(1, round(len(rewards) / max(1.0, trained.epochs))) :]
    mean = sum(last) / len(last)
    return found(fell_training if mean < 0 else held, kept=mean)


def length(measured: EvaluationReport | None) -> Finding:
    """By the median words of the candidate's answers and of those of what answered before, the live release first."""
    words: dict[Contestant, int] = measured.words if measured else {}
    rivals: tuple[Contestant, ...] = ("live", "base")
    rival: Contestant | None = next((who for who in rivals if who in words), None)
    if rival is None or "candidate" not in words:
        return found("length_unmeasured")
    before, now = words[rival], words["candidate"]
    grown = now > DRIFT * before
    code: FindingCode = (
        "length_longer" if grown else "length_shorter" if now * DRIFT < before else "length_same"
    )
    return found(code, before=before, now=now, against=rival)


def gate(measured: EvaluationReport | None) -> Finding:
    """What the evaluation of its release says."""
    if measured is None:
        return found("better_unmeasured")
    code: FindingCode = "better_pass" if measured.gate.verdict == "pass" else "better_hold"
    return found(code, n=measured.cases, better=measured.better, worse=measured.worse)


def how_it_ended(job: tables.Job, step: int, total: int | None, trained: TrainingReport | None) -> Finding:
    if job.kind == "import" and job.status == "succeeded":
        return found("brought")
    if job.status == "succeeded" and trained is not None:
        return found("done", n=trained.rows, step=trained.steps, passes=round(trained.epochs, 1))
    codes: dict[str, tuple[FindingCode, FindingCode]] = {
        "failed": ("failed", "failed_early"), "cancelled": ("cancelled", "cancelled_early"),
    }  # fmt: skip
    made, none = codes.get(job.status, ("under_way", "under_way_early"))
    return found(made, step=step, total=total or step) if step else found(none)


def watch(checks: list[Finding]) -> Finding:
    """The first warning of the checks; where there is none, whether all of them could be made."""
    warning = next((check for check in checks if check.mark == "warn"), None)
    if warning is None and any(check.code == "check_later" for check in checks):
        return found("watch_so_far")
    unknown = sum(check.mark == "unknown" for check in checks)
    return warning or (found("watch_unknown", n=unknown) if unknown else found("watch_nothing"))


def found(code: FindingCode, **values: str | int | float) -> Finding:
    plain = {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
    mark = (
        "warn" if code in WARNS else "unknown" if code in UNKNOWN or code.endswith("unmeasured") else "good"
    )
    return Finding(code=code, mark=mark, because=SAID[code].format(**plain), values=plain)


def _later(one: Finding, code: FindingCode) -> Finding:
    """Of a training under way, what was not measured may be still."""
    return found(code) if one.code.endswith("unmeasured") else one


async def _release(session: AsyncSession, job: tables.Job) -> tables.Release | None:
    row = tables.Release
    return await session.scalar(select(row).where(row.job_id == job.id).order_by(row.number.desc()).limit(1))


async def _evaluation(session: AsyncSession, release: tables.Release) -> Evaluation | None:
    """The newest that ended with a report; before there is one the newest of all."""
    row = tables.Evaluation
    newest = select(row).where(row.release_id == release.id).order_by(row.created_at.desc()).limit(1)
    if release.evaluation_id:
        newest = select(row).where(row.id == release.evaluation_id)
    evaluation = await session.scalar(newest)
    return await evaluations.shown(session, evaluation) if evaluation else None


async def _before(session: AsyncSession, job: tables.Job) -> Before:
    if job.start_adapter is None:
        return "base"
    return "live" if await _live(session, job) == job.start_adapter else "adapter"


async def _live_same(session: AsyncSession, job: tables.Job, trained: TrainingReport | None) -> float | None:
    """Comparable where both were asked the same: as many words of the base model's own, of as many questions."""
    digest, known = await _live(session, job), trained.forgetting if trained else None
    adapter = await session.get(tables.Adapter, digest) if digest and digest != job.adapter else None
    if known is None or adapter is None or not adapter.report:
        return None
    theirs = TrainingReport.model_validate(adapter.report).forgetting
    if theirs is None or (theirs.questions, theirs.tokens) != (known.questions, known.tokens):
        return None
    return theirs.same


async def _live(session: AsyncSession, job: tables.Job) -> str | None:
    """Digest of the adapter that is live now for the job's assistant."""
    assistant, release = tables.Assistant, tables.Release
    live = select(release.adapter).join(assistant, assistant.live_release_id == release.id)
    return await session.scalar(live.where(assistant.name == job.assistant))


async def _reasons(session: AsyncSession, job: tables.Job) -> dict[str, Chosen]:
    event = tables.JobEvent
    of_it = select(event.data).where(event.job_id == job.id, event.data["code"].as_string() == "chosen")
    told = await session.scalar(of_it.order_by(event.id).limit(1)) or {}
    names = Chosen.model_fields
    return {
        setting: Chosen.model_validate({name: value for name, value in one.items() if name in names})
        for setting, one in told.get("chosen", {}).items()
    }


async def _data(session: AsyncSession, caller: Caller, job: tables.Job) -> list[DataUse]:
    given: list[DataUse] = []
    files: list[tuple[Use, str | None]] = [("training", job.training_file), ("held_out", job.validation_file)]
    for use, id_ in files:
        file = await session.get(tables.File, id_) if id_ else None
        if file is not None and caller.may_see(file.user_id):
            given.append(
                DataUse(use=use, file=file.id, name=file.filename, rows=file.rows, sha256=file.sha256)
            )
        elif id_:
            given.append(DataUse(use=use, file=id_))
    return given
