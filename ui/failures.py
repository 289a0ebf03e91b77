"""Why a job or an evaluation failed, in the reader's language.

Owns how a failure's code becomes a sentence, and where its row stands. What has no sentence is said as it was sent.
"""

import re

from service.contract.jobs import JobError
from ui.words import Words

PLACE = re.compile(r"(?:(.+) )?line (\d+)")
"""How a refusal names a row, as `holiday rules.jsonl line 12`."""


def failure(w: Words, error: JobError) -> tuple[str, bool]:
    """The fact and the next step, and whether it is in the reader's language; else it is in English."""
    if not w.has(f"failed_{error.code}"):
        return error.message, False
    sentence = w(f"failed_{error.code}")
    if error.param is None or (place := PLACE.fullmatch(error.param)) is None:
        return sentence, True
    file, line = place.groups()
    where = w("failure_line_of", file=file, line=line) if file else w("failure_line", line=line)
    return f"{sentence} {where}", True
