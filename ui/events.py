"""What a job said of itself, in the reader's language.

Owns how a message's code and values become a sentence. What has no code, or one without a sentence, is said as it
was sent.
"""

from typing import Any

from service.contract.jobs import JobEvent
from ui.words import Words


def said(w: Words, event: JobEvent) -> tuple[str, bool]:
    """The message, and whether it is in the reader's language; else it is in English."""
    values = {name: _value(w, value) for name, value in event.data.items() if name != "code"}
    name = f"event_{event.data.get('code')}"
    if not w.has(name):
        return event.message, False
    try:
        return w(name, **values), True
    except KeyError:  # a value that the sentence needs and an older service did not send
        return event.message, False


def _value(w: Words, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    text = f"{value:.3g}"
    return text.replace(".", ",") if w.language == "fr" else text
