"""What changed from one text to another, word by word, as HTML. Knows no screen."""

import re
from difflib import SequenceMatcher

from markupsafe import Markup

from ui.words import Words

LONGEST = 4000
"""Words of both texts together above which nothing is compared: it would take seconds, and nobody reads it."""


def difference(w: Words, before: str, after: str) -> Markup:
    """`after` with what was taken out and what came in marked, also for those who hear it; empty for long texts."""
    old, new = _words(before), _words(after)
    if len(old) + len(new) > LONGEST:
        return Markup("")
    parts: list[Markup] = []
    for what, old_from, old_to, new_from, new_to in SequenceMatcher(None, old, new, False).get_opcodes():
        if what == "equal":
            parts.append(Markup("{}").format("".join(new[new_from:new_to])))
            continue
        parts.append(_marked("del", w("review_removed"), "".join(old[old_from:old_to])))
        parts.append(_marked("ins", w("review_added"), "".join(new[new_from:new_to])))
    return Markup("").join(parts)


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)


def _marked(tag: str, said: str, text: str) -> Markup:
    if not text:
        return Markup("")
    marked = Markup('<{0}><span class="hidden">{1} </span>{2}</{0}>')
    return marked.format(Markup(tag), said, text)
