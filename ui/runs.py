"""Two training runs side by side: the settings that differ, how far each got, and how long it took.

Owns what is set against what; every figure is one that the runs reported. Says no winner: an evaluation does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from service.contract.jobs import ENDED, Job, JobEvent
from ui import datasets, jobs
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.pages import render
from ui.words import Words, figure

METHOD, FILE, HELD_OUT, START = "method", "file", "held_out_file", "started_from"
LOSS = ("loss_type", "beta", "label_smoothing", "sft_weight")
"""Settings by which the figure itself is another."""


@dataclass(frozen=True)
class Row:
    """One line of the table; empty where a run has nothing to say."""

    name: str
    one: str
    two: str


async def compared(gateway: Gateway, token: str, w: Words, act: Act) -> str:
    """The two jobs that were chosen, as HTML. Raises `Refused` when they are not two."""
    ids = act.text("one"), act.text("two")
    if not all(ids) or ids[0] == ids[1]:
        raise Refused(400, "two_runs", "Choose two different training runs.")
    chosen = [(await gateway.job(token, id_), await gateway.job_events(token, id_)) for id_ in ids]
    assistant = (chosen[0][0].metadata or {}).get("assistant", "")
    known = await gateway.releases(token, assistant) if assistant else []
    names = {one.adapter: w("release_number", number=one.number) for one in known}
    files = await datasets.files(gateway, token)
    names |= {one.id: f"{one.filename} ({one.id[-6:]})" for one in files}  # others may have the same name
    return drawn(w, *chosen, names=names, once=act.once)


def drawn(
    w: Words, one: tuple[Job, list[JobEvent]], two: tuple[Job, list[JobEvent]], *,
    names: Mapping[str, str] = {}, once: str = "",
) -> str:  # fmt: skip
    """Two jobs with their events, newest first, as HTML. `names` are the releases' by adapter, and the files' by id;
    `once` is new for each time it was asked for."""
    left, right = _settings(w, one[0], names), _settings(w, two[0], names)
    chosen = dict.fromkeys([*left, *right])
    differing = [
        Row(_name(w, name), left.get(name, ""), right.get(name, "")) for name in chosen
        if left.get(name) != right.get(name)
    ]  # fmt: skip
    unlike = any(left.get(name) != right.get(name) for name in (METHOD, FILE, HELD_OUT, START, *LOSS))
    results, others = _results(w, *one), _results(w, *two)
    reached = [
        Row(w(name), results.get(name, ""), others.get(name, "")) for name in dict.fromkeys([*results, *others])
    ]  # fmt: skip
    return render(
        "runs", w, one=one[0], two=two[0], differing=differing, reached=reached, unlike=unlike, once=once
    )


def _settings(w: Words, job: Job, names: Mapping[str, str]) -> dict[str, str]:
    """Everything that was chosen for a run, by name."""
    method = w(f"method_{(job.method or {}).get('type', 'supervised')}")
    start = names.get(job.start_adapter, job.start_adapter[:12]) if job.start_adapter else w("base_model")
    chosen = {METHOD: method, START: start, FILE: names.get(job.training_file, job.training_file)}
    chosen[HELD_OUT] = names.get(job.validation_file, job.validation_file) if job.validation_file else "–"
    return (
        chosen
        | {name: figure(w, value) for name, value in job.hyperparameters.items()}
        | {"seed": str(job.seed)}
    )


def _name(w: Words, name: str) -> str:
    if name == METHOD:
        return w("runs_method")
    if name in (START, FILE, HELD_OUT):
        return w(name)
    return w(f"setting_{name}") if w.has(f"setting_{name}") else name


def _results(w: Words, job: Job, events: list[JobEvent]) -> dict[str, str]:
    """What a run reported, by the name of its sentence; what it did not report is left out."""
    found = jobs.figures(events)
    said: dict[str, str] = {}
    said["runs_status"] = w(f"job_{job.status}")
    for name, loss in (("runs_train_loss", "train_loss"), ("runs_valid_loss", "valid_loss")):
        if loss in found:
            first, last = (figure(w, value, 3) for value in found[loss])
            said[name] = w("runs_from_to", first=first, last=last)
    if "valid_reward_accuracy" in found:
        first, last = (round(share * 100) for share in found["valid_reward_accuracy"])
        ranking = "runs_ranking_kto" if (job.method or {}).get("type") == "kto" else "runs_ranking"
        said[ranking] = w("runs_from_to", first=w("percent", n=first), last=w("percent", n=last))
    steps = [event for event in events if event.type == "metrics" and event.data.get("step")]
    if steps:
        said["runs_steps"] = str(max(event.data["step"] for event in steps))
    if steps and job.finished_at and job.status in ENDED:
        said["runs_duration"] = jobs.in_words(w, job.finished_at - min(event.created_at for event in steps))
    if job.trained_tokens:
        said["trained_tokens"] = figure(w, job.trained_tokens)
    return said
