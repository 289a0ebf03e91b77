"""What a release learned from, as people read it: its own training, what it inherited, and whose feedback that was.

Owns the order and the wording; the gateway finds the way back. People are the pseudonyms that the API gives.
"""

from dataclasses import dataclass

from markupsafe import Markup

from service.contract.lineage import AdapterUse, DatasetUse, JobUse, Lineage
from service.contract.releases import Release
from ui.pages import render
from ui.words import Words

NAMED = 100
"""The API names at most so many people."""


@dataclass(frozen=True)
class Step:
    """One training on the way from the base model to the release."""

    title: str
    inherited: bool
    job: JobUse
    datasets: list[DatasetUse]
    adapter: AdapterUse | None


def drawn(w: Words, release: Release, lineage: Lineage) -> Markup:
    """What the release's adapter learned from as HTML, its own training first."""
    steps, rest = _way(w, release, lineage)
    return Markup(
        render(
            "lineage", w, release=release, steps=steps, rest=rest, people=lineage.people,
            documents=lineage.documents,
            many=len(lineage.people) >= NAMED,
        )
    )  # fmt: skip


def _way(w: Words, release: Release, lineage: Lineage) -> tuple[list[Step], str | None]:
    """Each training, the latest first, and the adapter below the first of them when no training made it."""
    made = {job.adapter: job for job in lineage.jobs if job.adapter is not None}
    known = {dataset.id: dataset for dataset in lineage.datasets}
    adapters = {adapter.digest: adapter for adapter in lineage.adapters}
    steps: list[Step] = []
    at: str | None = release.adapter
    while at is not None and (job := made.pop(at, None)) is not None:
        steps.append(
            Step(
                title=_title(w, release, lineage, at),
                inherited=adapters[at].inherited if at in adapters else at != release.adapter,
                job=job,
                datasets=[known[id_] for id_ in job.datasets if id_ in known],
                adapter=adapters.get(at),
            )
        )
        at = job.start_adapter
    return steps, at


def _title(w: Words, release: Release, lineage: Lineage, digest: str) -> str:
    if digest == release.adapter:
        return w("lineage_this")
    numbers = [
        use.number for use in lineage.releases
        if use.adapter == digest and use.assistant == release.assistant
    ]  # fmt: skip
    name = w("release_number", number=min(numbers)) if numbers else w("lineage_earlier")
    return w("lineage_inherited_from", name=name)
