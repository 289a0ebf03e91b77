"""What goes along with an adapter that is taken away: where it is from, what was measured of it, how to use it.

Written from the manifest, the proof, the lineage and the newest evaluation, in Markdown, with the head that model hubs
read. People are counted, never named. Who is no reviewer is told nothing of others' data and of evaluations: no more
than the API tells them. Never commits.
"""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.adapters import UNKNOWN
from service.contract.evaluations import EvaluationReport
from service.contract.jobs import Manifest, Usage
from service.contract.lineage import Lineage
from service.contract.releases import Adapter, ServingProof
from service.contract.replay import Forgetting
from service.db import tables
from service.domain import lineage
from service.domain.keys import Caller

UNKNOWN_LICENCE = (
    "Its licence is not known here: read it where the base model was got. It may bind what is derived from the model, "
    "this adapter and merged weights among it."
)
EMBEDDED_LICENCE = (
    "It is SmolLM2-135M-Instruct, under the Apache License 2.0, which goes along with what is derived from the model, "
    "merged weights among it."
)


NOT_SAID = "not said"
FOR_REVIEWERS = "What was measured of it is for reviewers to read."


async def of_adapter(session: AsyncSession, caller: Caller, adapter: Adapter, *, embedded: bool) -> str:
    """The card for the caller. `embedded` says that the base model is the one that Tailorbird brings."""
    licence = EMBEDDED_LICENCE if embedded else UNKNOWN_LICENCE
    made_of = await lineage.of_adapter(session, adapter.digest, after=None, limit=1)
    if caller.may("reviewer"):
        evaluation, report = await _newest_evaluation(session, adapter.digest)
        measured, known = _measured(evaluation, report), _known(report)
    else:
        measured = known = FOR_REVIEWERS
    settings = adapter.manifest.settings
    trained = (await session.get_one(tables.Adapter, adapter.digest)).report
    brought = any(job.kind == "import" and job.adapter == adapter.digest for job in made_of.jobs)
    sections = [
        _head(adapter, brought=brought),
        *("## Data", UNKNOWN if brought else await _data(session, caller, adapter.manifest, made_of)),
        *(
            "## Settings",
            _table(("setting", "value"), settings.model_dump().items()) if settings else "Not known here.",
        ),
        *("## Training", _learnt(trained) + _taken(trained)),
        *("## Evaluation", "\n\n".join(filter(None, (measured, _forgotten(trained))))),
        *("## Proof of serving", _proved(adapter.proof)),
        *("## Limits", _limits(adapter.manifest, known)),
        *("## Licence of the base model", f"The base model is `{adapter.manifest.base_model}`. {licence}"),
        *("## Use", _use(adapter)),
    ]
    return "\n\n".join(sections) + "\n"


def _head(adapter: Adapter, *, brought: bool) -> str:
    manifest = adapter.manifest
    hub = {"base_model": manifest.base_model, "library_name": "peft", "tags": ["lora", manifest.kind]}
    facts = [
        ("model", f"`{adapter.model}`"),
        ("digest", f"`{adapter.digest}`"),
        ("base model", f"`{manifest.base_model}`"),
        ("fingerprint of the base model", f"`{manifest.base_sha256}`"),
        ("fingerprint of its chat template", f"`{manifest.template_sha256}`"),
    ]
    if manifest.kind == "import":
        facts.append(("method", "not known here"))
    else:
        facts += [
            ("method", manifest.kind),
            ("went on from", f"`{manifest.parent}`" if manifest.parent else "the base model"),
            ("job", f"`{manifest.job}`"),
            *([("checkpoint of step", str(manifest.step))] if manifest.step is not None else []),
            *([("trained by", f"{manifest.processes} processes together")] if manifest.processes > 1 else []),
            ("made with", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
        ]
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in hub.items()]
    said = f"A LoRA adapter for `{manifest.base_model}`, " + (
        "brought from outside. What its manifest says of its training was not checked here."
        if brought
        else "tuned with Tailorbird."
    )
    return (
        "\n".join(["---", *lines, "---"]) + f"\n\n# {adapter.model}\n\n{said}\n\n" + _table(("", ""), facts)
    )


async def _data(session: AsyncSession, caller: Caller, manifest: Manifest, made_of: Lineage) -> str:
    """Every version and file that it or the adapters before it learnt from, with hashes: for who is no reviewer, the
    files of their own."""
    all_of_it = caller.may("reviewer")
    ids = {use.id for use in made_of.datasets if all_of_it}
    files = {use.file for use in made_of.jobs if use.file and use.kind != "import"}
    query = select(tables.Dataset).where(tables.Dataset.id.in_(ids)).order_by(tables.Dataset.created_at)
    datasets = list(await session.scalars(query))
    kept = select(tables.Sheet).where(
        tables.Sheet.file_id.in_(files | {one.training_file for one in datasets})
    )
    sheets = {one.file_id: one.sheet for one in await session.scalars(kept)}
    rows: list[tuple[object, ...]] = [
        (
            f"{one.assistant}, {one.kind}, version {one.number} (`{one.id}`)", one.rows, one.held_out, one.people,
            f"`{one.sha256}`", *_said(sheets.get(one.training_file), "feedback"),
        )
        for one in datasets
    ]  # fmt: skip
    uploaded = await session.scalars(
        select(tables.File).where(tables.File.id.in_(files)).order_by(tables.File.created_at)
    )
    rows += [
        (f"file `{one.id}`", one.rows, "", "", f"`{one.sha256}`", *_said(sheets.get(one.id)))
        for one in uploaded if caller.may_see(one.user_id)
    ]  # fmt: skip
    said = f"The rows of the last job have the SHA-256 `{manifest.train_sha256}`. {_held_against(manifest)}"
    if not all_of_it:
        said += " Files of others and what came of feedback are for reviewers to read."
    if any(use.kind == "import" for use in made_of.jobs):
        said += " It went on from an adapter that was brought from outside: what that learnt is not known."
    if manifest.replay_rows:
        rows.append(
            ("general questions of Tailorbird, answered by the base model (replay of the last job)",
             manifest.replay_rows, "", "", f"`{manifest.replay_sha256}`", "written for Tailorbird", "")
        )  # fmt: skip
    if not rows:
        return said
    inherited = (
        " What the adapters before it learnt from is among these." if manifest.parent and all_of_it else ""
    )
    names = ("data", "rows", "held out", "people", "SHA-256", "source", "licence")
    return f"{_table(names, rows)}\n\n{said}{inherited}"


def _said(sheet: dict[str, Any] | None, source: str = NOT_SAID) -> tuple[str, str]:
    """Where rows are from and under which licence, as a person said; `source` where nobody did."""
    found = [
        " ".join(((sheet or {}).get(name) or "").replace("|", "/").split()) for name in ("source", "licence")
    ]
    return found[0] or source, found[1] or NOT_SAID


def _held_against(manifest: Manifest) -> str:
    if manifest.cases_sha256 is None:
        return "No held-out questions to hold them against are on record."
    return (
        f"Before it began, the trainer held them against the {manifest.cases} held-out questions of the list with the "
        f"SHA-256 `{manifest.cases_sha256}`: none of the rows asks one of them, nor nearly."
    )


async def _newest_evaluation(
    session: AsyncSession, digest: str
) -> tuple[tables.Evaluation | None, EvaluationReport | None]:
    row, release = tables.Evaluation, tables.Release
    query = select(row).join(release, release.id == row.release_id).where(release.adapter == digest)
    ended = query.where(row.finished_at.is_not(None)).order_by(row.finished_at.desc(), row.created_at.desc())
    for found in await session.scalars(ended):
        if found.report:
            return found, EvaluationReport.model_validate(found.report)
    return None, None


def _measured(evaluation: tables.Evaluation | None, report: EvaluationReport | None) -> str:
    if evaluation is None or report is None:
        return "It was not evaluated."
    scores = [
        (score.metric, score.contestant, f"{score.mean:.3f}", f"{score.low:.3f} to {score.high:.3f}")
        for score in report.scores
        if score.slice == "all"
    ]
    languages = ", ".join(f"{count} in {name}" for name, count in report.languages.items())
    said = [
        f"`{evaluation.id}`, on {report.cases} held-out questions of the assistant `{evaluation.assistant}` "
        f"({languages}). The gate says **{report.gate.verdict}**:",
        "\n".join(f"- {reason}" for reason in report.gate.reasons),
    ]
    if scores:
        said.append(_table(("metric", "who", "mean", "95 % interval"), scores))
    return "\n\n".join(said)


def _learnt(report: dict[str, Any]) -> str:
    """What the trainer measured while it learnt; nothing of an early version or of an adapter from elsewhere."""
    if not report.get("metrics"):
        return "What was measured while it learnt is not known here."
    figures = [(name, f"{value:.4f}") for name, value in report["metrics"].items()]
    said = (
        f"{report['steps']} steps on {report['rows']} rows ({report['epochs']:.1f} passes), with {report['held_out']} "
        f"rows held out; the adapter is that of step {report.get('kept_step') or report['steps']}. What begins with "
        "`train_` is the mean of the last pass, the rest of held-out rows: `_before` before the first step, and "
        "otherwise after the step that was kept."
    )
    return f"{said}\n\n{_table(('figure', 'value'), figures)}"


def _taken(report: dict[str, Any]) -> str:
    """What it took of the machine; nothing of an early version."""
    if not report.get("usage"):
        return ""
    usage = Usage.model_validate(report["usage"])
    memory = f", and {usage.peak_bytes / 1e9:.1f} GB of memory at its peak" if usage.peak_bytes else ""
    return (
        f"\n\nIt took {report['seconds']:.0f} seconds, {usage.step_seconds:.0f} of them for its steps at "
        f"{usage.tokens_per_second:.0f} tokens a second{memory}."
    )


def _forgotten(report: dict[str, Any]) -> str:
    """What the trainer measured on general questions, which are nobody's data."""
    if not report.get("forgetting"):
        return ""
    found = Forgetting.model_validate(report["forgetting"])
    return (
        f"Forgetting, on the base model's own answers to {found.questions} general questions that it never learnt from "
        f"({found.tokens} tokens): the same next token as the base model's for {found.same:.0%} of them "
        f"({found.same_before:.0%} before the last job), and {found.distance:.3f} nats from it in the mean "
        f"({found.distance_before:.3f} before; Kullback-Leibler divergence)."
    )


def _proved(proof: ServingProof) -> str:
    return (
        f"Before it was published, {proof.engine} was asked {proof.cases} prompts ({proof.tokens} tokens) with it: its "
        f"log-probabilities differ from the trainer's by {proof.distance_to_trainer:.4f} a token in the mean (allowed "
        f"{proof.tolerance:g}; {proof.noise:.4f} without the adapter) and from the base model's by "
        f"{proof.distance_to_base:.4f}. {proof.outputs_changed} of the {proof.cases} greedy answers changed."
    )


def _known(report: EvaluationReport | None) -> str:
    if report is None:
        return "How well it answers was not measured."
    return f"What was measured holds for the {report.cases} questions above and others like them."


def _limits(manifest: Manifest, known: str) -> str:
    return "\n".join(
        f"- {limit}"
        for limit in (
            known,
            "It fits this base model and this chat template. On another it answers without an error, and wrongly.",
            f"It learnt from conversations of {manifest.settings.max_length} tokens at most."
            if manifest.settings
            else "How long the conversations were that it learnt from is not known.",
            "It may repeat what stands in its training data, people's words among it, and it may be wrong with "
            "confidence, as its base model may.",
        )
    )


def _use(adapter: Adapter) -> str:
    return f"""With [PEFT](https://github.com/huggingface/peft), where `BASE` is the folder of the base model and
`HERE` the folder of this file:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("BASE")
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("BASE"), "HERE")
asked = [{{"role": "user", "content": "..."}}]
prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=200)[0]))
```

An assistant of Tailorbird also has instructions, which are its first message. `python -m training.merge HERE BASE OUT`
of Tailorbird makes one checkpoint of the two. These are the files that were published if

```
sha256sum adapter_config.json adapter_model.safetensors manifest.json | sha256sum
```

says `{adapter.digest}`."""


def _table(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    titles = list(names)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
