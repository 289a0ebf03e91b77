"""Why an answer or a score does not count: a code with its values, said in the language of who reads.

Owns these sentences. Knows no rule, and not who is asked.
"""

from evals.phrases import Phrases, phrases
from service.contract.evaluations import Answer, Fault, FaultCode

SENTENCES: dict[FaultCode, str] = {
    "slow": "no answer within {seconds} seconds",
    "status": "the gateway answered {status}: {words}",
    "unreached": "the gateway could not be reached",
    "unread": "the gateway's answer could not be read: {words}",
    "unnamed": "the gateway did not say which adapter answered (no x-tailorbird-adapter header)",
    "not_base": "an adapter ({adapter}) answered in place of the base model",
    "only_base": "the base model answered in place of the candidate",
    "other": "adapter {adapter} answered, it should have been {expected}",
    "changed": "adapter {adapter} of release {release} answered, "
    "the answers before came from adapter {earlier} of release {before}",
    "broken": "the metric '{metric}' failed on the answer",
}


def fault(code: FaultCode, **values: str | int) -> Fault:
    return Fault(code=code, values=values)


def english(found: Fault) -> str:
    """As the row keeps it."""
    return told(phrases("en"), found)


def told(say: Phrases, found: Fault) -> str:
    """The fault in the language of who reads; what the gateway itself said stands in it as it was sent."""
    return say(SENTENCES[found.code], **found.values)


def why(say: Phrases, answer: Answer) -> str:
    """Why an answer does not count; in English where its row, of an earlier version, has no code."""
    return told(say, answer.fault) if answer.fault else answer.error or ""
