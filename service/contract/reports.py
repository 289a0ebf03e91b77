"""What came of a training job, for a manager and for a specialist: a verdict in three sentences, and what it rests on.

Owns the shape of the report and the codes of its findings. Knows no rule by which one is found.
"""

from typing import Literal

from service.contract.base import Strict
from service.contract.evaluations import Evaluation
from service.contract.jobs import Chosen, Job, TrainingReport, Values
from service.contract.lineage import Lineage
from service.contract.releases import Release

FindingCode = Literal[
    "done", "brought", "under_way", "failed", "cancelled", "under_way_early", "failed_early", "cancelled_early",
    "better_pass", "better_hold", "better_unmeasured", "better_later", "better_hidden",
    "watch_nothing", "watch_unknown", "watch_so_far", "check_later",
    "overfit_none", "overfit_avoided", "overfit_kept", "overfit_useless", "overfit_gap", "overfit_no_rows",
    "overfit_unmeasured",
    "forgot_little", "forgot_much", "forgot_unmeasured",
    "chosen_held", "chosen_fell", "chosen_fell_training", "chosen_unmeasured",
    "good_held", "good_fell", "good_fell_training", "good_unmeasured",
    "length_same", "length_longer", "length_shorter", "length_unmeasured",
]  # fmt: skip
"""`overfit_no_rows` and everything that ends in `unmeasured` cannot be told, and what ends in `later` not yet; the
sentence says why."""


Check = Literal["overfitting", "forgetting", "chosen", "length"]
Before = Literal["base", "live", "adapter"]
Use = Literal["training", "held_out"]


class Finding(Strict):
    """One thing that was looked at: in a sentence, and by a code with its values for who says it in other words."""

    code: FindingCode
    mark: Literal["good", "warn", "unknown"]
    because: str
    values: Values = {}


class DataUse(Strict):
    """A file that the job was given. Of a file that is not the reader's to see only the id is told."""

    use: Use
    file: str
    name: str | None = None
    rows: int | None = None
    sha256: str | None = None


class JobReport(Strict):
    """`GET /api/jobs/{id}/report`. Every figure is one that the job or its evaluation has recorded."""

    job: Job
    verdict: list[Finding]
    """Three: how the job ended, whether its model answers better, and what to look at first."""
    checks: dict[Check, Finding]
    """`chosen` is looked at for preference pairs, and for rated completions of the good ones."""
    step: int = 0
    """The last step that it told of."""
    total_steps: int | None = None
    curves: dict[str, list[tuple[int, float]]] = {}
    """Each figure by its name in the job's events: steps and values, oldest first."""
    training: TrainingReport | None = None
    """None while there is no adapter, and of those made by an early version."""
    before: Before
    """What "before this job" means in `training`: the base model, the adapter of the release that is live now, or
    another adapter. What was forgotten is measured against the base model, and told for both."""
    live_same: float | None = None
    """Of the base model's own words the share that the release that is live now would say, by the same questions as in
    `training`. None where that is this adapter, is not known, or is not the reader's to know."""
    data: list[DataUse]
    reasons: dict[str, Chosen] = {}
    """Why each setting that was left to the service is what it is, by a code as well."""
    adapter: str | None = None
    """Its digest; the model card is at `/api/adapters/{digest}/card`."""
    card: bool = False
    """Whether it has one still: a deleted model is given out no more."""
    release: Release | None = None
    evaluation: Evaluation | None = None
    lineage: Lineage | None = None
    """All three for reviewers alone, and none while there are none."""
