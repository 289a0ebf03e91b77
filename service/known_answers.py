"""Answers that an earlier evaluation has already: a release that has not changed is not asked again.

At temperature 0 an answer follows from the question, the adapter and what is hashed here; where all of it
is the same, so is the answer, but for the last bits of a sum. Owns what has to be the same. Reads the run
folders of earlier evaluations; one whose folder is gone is asked again.
"""

import hashlib
import json
from pathlib import Path

from service.contract import folder
from service.contract.evaluations import Answer, Contestant, EvaluationSpec


def served_sha256(
    *, base_sha256: str, instructions: str, engines: list[str], cases_sha256: str, max_tokens: int, seed: int
) -> str:
    """The hash of all that makes the answers to a set of questions, but the adapter. `engines` are versions."""
    parts = [base_sha256, instructions, sorted(set(engines)), cases_sha256, max_tokens, seed]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def take_over(spec: EvaluationSpec, earlier: list[Path]) -> tuple[dict[Contestant, str], list[Answer]]:
    """`(whose answers are known and from which evaluation, those answers)`.

    `earlier` are run folders of finished evaluations, newest first. The candidate is always asked.
    """
    known: dict[Contestant, str] = {}
    answers: list[Answer] = []
    wanted: dict[Contestant, str] = {who: its for who, its in spec.adapters.items() if who != "candidate"}
    for place in earlier:
        before = _spec(place)
        if before is None or before.served_sha256 is None or before.served_sha256 != spec.served_sha256:
            continue
        for who, adapter in wanted.items():
            same: Contestant | None = next(
                (other for other, theirs in before.adapters.items() if theirs == adapter), None
            )
            if same is None or who in known:
                continue
            given = _answers(place, same)
            if given and all(answer.error is None and answer.adapter == adapter for answer in given):
                known[who] = before.known.get(same, before.id)
                answers += [answer.model_copy(update={"contestant": who, "scores": {}}) for answer in given]
    return known, answers


def _spec(place: Path) -> EvaluationSpec | None:
    try:
        return EvaluationSpec.model_validate(folder.read_json(place / folder.JOB))
    except (OSError, ValueError):
        return None


def _answers(place: Path, who: Contestant) -> list[Answer]:
    answers = [Answer.model_validate(line) for line in folder.read_lines(place / folder.ANSWERS)]
    return [answer for answer in answers if answer.contestant == who]
