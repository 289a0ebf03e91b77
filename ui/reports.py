"""What came of a training job, as a page of its own: the verdict for a manager, the figures one click deeper.

Owns the order and the wording; the gateway finds and judges. A plain page for whoever may see the job, and the model
card to take along.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from service.contract.reports import Finding, JobReport
from ui import evaluations, jobs, lineage
from ui.client import Refused
from ui.events import reason, told
from ui.failures import failure
from ui.login import problem
from ui.pages import alone, render
from ui.plots import curves
from ui.screens import Parts
from ui.sessions import language_of, token_of
from ui.words import Words, figure, words

FIGURES = (
    ("report_loss", "train_loss", "valid_loss"),
    ("report_tokens_right", "train_mean_token_accuracy", "valid_mean_token_accuracy"),
    ("report_accuracy", "reward_accuracy", "valid_reward_accuracy"),
    ("report_margin", "reward_margin", "valid_reward_margin"),
    ("report_logp_chosen", "logp_chosen", "valid_logp_chosen"),
    ("report_logp_rejected", "logp_rejected", "valid_logp_rejected"),
    ("report_logp_desirable", "logp_desirable", "valid_logp_desirable"),
    ("report_logp_undesirable", "logp_undesirable", "valid_logp_undesirable"),
    ("report_replay", "replay_distance", ""),
)
"""A figure's name, and what it is called of the training rows and of the held-out ones."""


@dataclass(frozen=True)
class Row:
    """One figure: the first step's and the kept step's, of the training rows and of those kept aside."""

    name: str
    training: str
    held_out: str


def routes(parts: Parts) -> APIRouter:
    """`/studio/training/{job_id}` and `/studio/cards/{digest}.md`."""
    router = APIRouter()

    @router.get("/studio/training/{job_id}")
    async def read(job_id: str, request: Request) -> Response:
        w, token = words(language_of(request)), token_of(request)
        try:
            if await parts.people.who(token) is None:
                return RedirectResponse(f"/login?next={quote(request.url.path, safe='/')}", 303)
            found = await parts.gateway.job_report(token, job_id)
            card = await parts.gateway.card(token, found.adapter) if found.card and found.adapter else ""
        except Refused as refused:
            return problem(w, refused)
        return Response(drawn(w, found, card), media_type="text/html")

    @router.get("/studio/cards/{digest}.md")
    async def card(digest: str, request: Request) -> Response:
        try:
            content = await parts.gateway.card(token_of(request), digest)
        except Refused as refused:
            return problem(words(language_of(request)), refused)
        headers = {"content-disposition": f'attachment; filename="{digest[:12]}.md"'}
        return Response(content, media_type="text/markdown; charset=utf-8", headers=headers)

    return router


def drawn(w: Words, found: JobReport, card: str) -> str:
    """The whole page as HTML."""
    job, measured = found.job, found.evaluation
    colours = jobs.colours(w)
    held, learned = w("curve_held_out"), w("curve_train")
    plots = [
        curves(
            w, w(title), {learned: found.curves.get(ours, []), held: found.curves.get(theirs, [])}, colours
        )
        for title, ours, theirs in (
            ("loss_title", "train_loss", "valid_loss"),
            ("ranking_title", "reward_accuracy", "valid_reward_accuracy"),
        )
    ]
    close: dict[str, Any] = {}
    if measured and measured.report:
        close = {
            "one": measured,
            "near": evaluations.close(w, measured, measured.report),
            "names": {measured.id: evaluations.names(w, measured)},
        }
    origin = lineage.drawn(w, found.release, found.lineage) if found.release and found.lineage else ""
    return render(
        "report", w, found=found, job=job, plots=plots, rows=_rows(w, found), settings=_settings(w, found), close=close,
        said=lambda one: said(w, one), origin=origin, card=card.split("\n---\n", 1)[-1], page=alone(),
        why=failure(w, job.error) if job.error else None,
    )  # fmt: skip


def said(w: Words, one: Finding) -> tuple[str, bool]:
    """A finding's sentence, and whether it is in the reader's language; else it is in English."""
    try:
        return w(f"found_{one.code}", **{name: told(w, value) for name, value in one.values.items()}), True
    except KeyError:  # of another version
        return one.because, False


def _rows(w: Words, found: JobReport) -> list[Row]:
    kept = found.training.kept_step if found.training else None

    def moved(name: str) -> str:
        points = found.curves.get(name, [])
        ends = [value for step, value in points if kept is None or step <= kept]
        return w("runs_from_to", first=figure(w, ends[0], 3), last=figure(w, ends[-1], 3)) if ends else ""

    rows = [Row(w(name), moved(ours), moved(theirs)) for name, ours, theirs in FIGURES]
    return [row for row in rows if row.training or row.held_out]


def _settings(w: Words, found: JobReport) -> list[tuple[str, str, str, bool]]:
    """Each setting: its name, its value, why it is so where the service chose it, and whether that is translated."""
    shown = []
    for name, value in found.job.hyperparameters.items():
        sent = found.job.hyperparameter_reasons.get(name, "")
        why, ours = reason(w, found.reasons.get(name), sent)
        named = w(f"setting_{name}") if w.has(f"setting_{name}") else name
        shown.append((named, figure(w, value), why, ours))
    return shown
