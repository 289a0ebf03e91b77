"""How many held-out questions the candidate was taught, itself or by what it went on from.

The trainer refuses such rows, but only of the questions that its assistant has then: an adapter may go on for another
assistant, and questions may be chosen later. Knows no gate.
"""

from pathlib import Path

from service.contract import folder as run_folder
from service.contract.blocklist import Blocklist
from service.contract.datasets import asked_in
from service.contract.evaluations import Case, EvaluationSpec


def learned(folder: Path, spec: EvaluationSpec, cases: list[Case]) -> int:
    """Of these questions, those that a row of the files in `folder` repeats."""
    blocklist, found = Blocklist(cases), set[str]()
    for number in range(len(spec.learned)):
        with open(folder / run_folder.LEARNED.format(number=number), "rb") as lines:
            texts = (text for asked in asked_in(lines) for text in asked)
            found |= {match.name for text in texts if (match := blocklist.match(text)) is not None}
    return len(found)
