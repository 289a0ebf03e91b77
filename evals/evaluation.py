"""One evaluation from its run folder to its report: the order of the steps, and their progress.

Owns which file is written when; `report.json` is the last. Knows no metric's inside and no rule of
the gate.
"""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from pydantic import ValidationError

from evals import answers as asking
from evals.cases import read_cases
from evals.comparison import all_differences, all_scores, changed, paired, rival_of, told
from evals.gate import Evidence, decide
from evals.learned import learned
from evals.metrics import Metric
from evals.phrases import NAMES
from evals.ragas_metrics import RagasMetrics
from evals.refusal import Refused
from evals.report import page
from evals.scoring import Scoreboard, plan, primary_of, score_all
from evals.statistics import spread
from service.contract import folder as run_folder
from service.contract.evaluations import (
    Answer,
    Case,
    Contestant,
    Difference,
    EvaluationReport,
    EvaluationSpec,
    Score,
)
from service.contract.jobs import EventCode, Progress


async def evaluate(folder: Path, key: str | None, judge_key: str | None) -> EvaluationReport:
    """Run the evaluation that `folder` describes and write its answers, its page and its report.

    Raises `Refused` when it cannot be run as it is; then no report is written.
    """
    started = time.monotonic()
    spec = _spec(folder)
    if not key:
        raise Refused(
            "no_key",
            "The gateway's API key is missing. Set TAILORBIRD_EVALUATION_KEY in the environment.",
            "TAILORBIRD_EVALUATION_KEY",
        )
    cases = read_cases(folder / run_folder.CASES, spec.cases_sha256)
    ragas = RagasMetrics(spec.judge, judge_key, spec.timeout)
    metrics = plan(cases, ragas.metrics)
    primary = primary_of(spec.primary, metrics)

    known = asking.known(spec, cases, run_folder.read_lines(folder / run_folder.KNOWN))
    asked = asking.asked(spec)
    steps = _Steps(folder, len(cases) * len(asked))
    steps.say(
        f"Read {len(cases)} cases; '{primary.title}' decides.",
        "evaluation_read",
        n=len(cases),
        metric=primary.name,
    )
    if any(metric.score is None for metric in metrics):
        ragas.load()  # before the asking: if it does not load, nobody has waited for answers in vain
    for who, earlier in spec.known.items():
        said = f"The answers of {NAMES[who]} are those of evaluation {earlier}: nothing has changed since."
        steps.say(said, "evaluation_known", who=who, evaluation=earlier)
    said = f"Asking {_listed(asked)} the same {len(cases)} questions."
    steps.say(said, "evaluation_asking", n=len(cases), who=" ".join(asked))
    answers = await asking.ask_all(spec, cases, key, steps.one_more, known)
    _refuse_silence(answers, spec)

    said = f"Scoring {len(cases) * len(answers)} answers on {len(metrics)} metrics{_judged(spec)}."
    steps.say(said, "evaluation_scoring", n=len(cases) * len(answers), metrics=len(metrics))
    board = await score_all(cases, answers, metrics, ragas, spec.at_once)
    lines = (answer.model_dump_json() for theirs in answers.values() for answer in theirs)
    run_folder.write_atomic(folder / run_folder.ANSWERS, "".join(line + "\n" for line in lines))

    report = _report(spec, cases, board, primary, learned(folder, spec, cases), started)
    steps.say("Drawing the report.", "evaluation_drawing")
    for language, name in run_folder.REPORT_PAGES.items():
        run_folder.write_atomic(folder / name, page(spec, board, report, language))
    passes = report.gate.verdict == "pass"
    outcome = "The candidate passes." if passes else "The candidate is held."
    steps.say(f"{outcome} {report.gate.reasons[0]}", "evaluation_pass" if passes else "evaluation_hold")
    run_folder.write_json(folder / run_folder.REPORT, report.model_dump(mode="json"))
    return report


class _Steps:
    """Progress lines: words for people, and a count of answers with the time left."""

    def __init__(self, folder: Path, total: int) -> None:
        self.path = folder / run_folder.PROGRESS
        self.total = total
        self.done = 0
        self.started = time.monotonic()

    def say(self, message: str, code: EventCode, **values: str | int) -> None:
        self._write(Progress(at=time.time(), message=message, code=code, values=values or None))

    def one_more(self) -> None:
        self.done += 1
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        step = Progress(at=time.time(), step=self.done, total_steps=self.total, seconds_left=round(left, 1))
        self._write(step)

    def _write(self, line: Progress) -> None:
        run_folder.append_line(self.path, line.model_dump(exclude_defaults=True))


def _spec(folder: Path) -> EvaluationSpec:
    path = folder / run_folder.JOB
    if not path.exists():
        raise Refused(
            "no_job", f"There is no '{path.name}' in the run folder. Put the evaluation's spec there."
        )
    try:
        spec = EvaluationSpec.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Refused(
            "invalid_job", f"'{path.name}' is no evaluation: {place}: {first['msg']}. Correct it.", place
        ) from error
    if "candidate" not in spec.models:
        raise Refused("invalid_job", f"'{path.name}' names no candidate to evaluate. Name one.", "models")
    return spec


def _listed(asked: list[Contestant]) -> str:
    who = [NAMES[contestant] for contestant in asked]
    return who[0] if len(who) == 1 else ", ".join(who[:-1]) + " and " + who[-1]


def _judged(spec: EvaluationSpec) -> str:
    return f", two of them by the judge '{spec.judge.model}'" if spec.judge else ""


def _refuse_silence(answers: asking.Answers, spec: EvaluationSpec) -> None:
    """Nothing was answered by anyone: that says nothing about the candidate."""
    everyone = [answer for theirs in answers.values() for answer in theirs]
    if all(answer.adapter is None for answer in everyone):
        raise Refused(
            "gateway_unreachable",
            f"Not one question was answered through {spec.gateway}: {everyone[0].error}. "
            "Check that the gateway and its engine are ready, and start again.",
            "gateway",
        )


def _report(
    spec: EvaluationSpec, cases: list[Case], board: Scoreboard, primary: Metric, taught: int, started: float
) -> EvaluationReport:
    scores = all_scores(board, primary, spec.seed)
    differences = all_differences(board, primary, spec.seed)
    rival = rival_of(board)
    better, worse = changed(board, rival, primary) if rival else ([], [])
    change = paired(board, rival, primary) if rival else np.zeros(0)
    return EvaluationReport(
        cases=len(cases),
        languages=_counted(case.language for case in cases),
        contestants={who: spec.models[who] for who in board.answers},
        primary=primary.name,
        scores=scores,
        differences=differences,
        gate=decide(replace(_evidence(spec, board, primary, rival, scores, differences), learned=taught)),
        better=int((change > 0).sum()),
        worse=int((change < 0).sum()),
        examples_better=better,
        examples_worse=worse,
        changes=told(board, rival, primary, better, worse) if rival else [],
        words={
            who: found
            for who, theirs in board.answers.items()
            if (found := _median_words(theirs)) is not None
        },
        judge=spec.judge.model if spec.judge else None,
        taken_over=spec.known,
        seconds=round(time.monotonic() - started, 2),
    )


def _median_words(answers: Iterable[Answer]) -> int | None:
    lengths = [len(answer.text.split()) for answer in answers if answer.error is None]
    return round(median(lengths)) if lengths else None


def _evidence(
    spec: EvaluationSpec,
    board: Scoreboard,
    primary: Metric,
    rival: Contestant | None,
    scores: list[Score],
    differences: list[Difference],
) -> Evidence:
    planned = len(board.cases)
    failed = {who: _failed(board, who, primary) for who in board.answers}
    if rival is None:
        return Evidence(primary.title, spec.margin, planned, failed["candidate"])
    means = {one.contestant: one.mean for one in scores if one.metric == primary.name and one.slice == "all"}
    ours = [one for one in differences if one.metric == primary.name and one.against == rival]
    return Evidence(
        title=primary.title,
        margin=spec.margin,
        planned=planned,
        failed=failed["candidate"],
        rival_failed=failed[rival],
        candidate=means["candidate"],
        rival=means[rival],
        deviation=spread(paired(board, rival, primary)),
        overall=next(one for one in ours if one.slice == "all"),
        languages=tuple(one for one in ours if one.slice.startswith("language:")),
    )


def _failed(board: Scoreboard, who: Contestant, primary: Metric) -> int:
    """Unanswered questions, also those the primary metric does not look at, and scores of it that broke."""
    unanswered = sum(answer.error is not None for answer in board.answers[who])
    broken = sum(whose == who and metric == primary.name for whose, _, metric in board.broken)
    return unanswered + broken


def _counted(values) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
