"""Why an answer or a score does not count: said in English when it happens, and again in the language of who reads.

Owns these sentences. What is none of them is told as it was sent.
"""

import re
import string

from evals.phrases import Phrases

SLOW = "no answer within {seconds} seconds"
STATUS = "the gateway answered {status}: {words}"
UNREACHED = "the gateway could not be reached"
UNREAD = "the gateway's answer could not be read: {words}"
UNNAMED = "the gateway did not say which adapter answered (no x-tailorbird-adapter header)"
NOT_BASE = "an adapter ({adapter}) answered in place of the base model"
ONLY_BASE = "the base model answered in place of the candidate"
OTHER = "adapter {adapter} answered, it should have been {expected}"
CHANGED = (
    "adapter {adapter} of release {release} answered, "
    "the answers before came from adapter {earlier} of release {before}"
)
BROKEN = "the metric '{metric}' failed on the answer"
FAULTS = (SLOW, STATUS, UNREACHED, UNREAD, UNNAMED, NOT_BASE, ONLY_BASE, OTHER, CHANGED, BROKEN)


def retold(say: Phrases, error: str) -> str:
    """The fault in the language of who reads; what the gateway itself said stands in it as it was sent."""
    for sentence in FAULTS:
        if found := re.fullmatch(_form(sentence), error, flags=re.DOTALL):
            return say(sentence, **found.groupdict())
    return error


def _form(sentence: str) -> str:
    """What every fault of this sentence looks like."""
    parts = string.Formatter().parse(sentence)
    return "".join(re.escape(text) + (f"(?P<{name}>.*?)" if name else "") for text, name, _, _ in parts)
