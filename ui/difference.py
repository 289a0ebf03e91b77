"""What changed between an answer and the better one, word by word."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from ui.words import Words

LONGEST = 6_000
"""Words and spaces of both texts together, beyond which comparing them would keep others waiting."""


def difference(w: Words, before: str, after: str) -> Markup | None:
    """`after` as HTML, with what was struck out of `before` and what was put in marked, also for those who hear it;
    none for texts too long to compare or that have hardly a word in common."""
    old, new = _words(before), _words(after)
    if len(old) + len(new) > LONGEST:
        return None
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < 0.2:
        return None
    parts: list[Markup] = []
    for kind, gone, come in _joined(matcher.get_opcodes(), old, new):
        if kind == "equal":
            parts.append(escape(come))
            continue
        parts += [_marked("del", w("removed"), gone)] if gone else []
        parts += [_marked("ins", w("added"), come)] if come else []
    return Markup("").join(parts)


def _marked(tag: str, said: str, text: str) -> Markup:
    marked = Markup('<{0}><span class="hidden">{1} </span>{2}</{0}>')
    return marked.format(Markup(tag), said, text)


def _joined(
    steps: Sequence[tuple[str, int, int, int, int]], old: list[str], new: list[str]
) -> list[list[str]]:
    """The steps as texts; two changes with nothing but a space between them are one, as a reader sees them."""
    joined: list[list[str]] = []
    for kind, a, b, c, d in steps:
        gone, come = "".join(old[a:b]), "".join(new[c:d])
        space = len(joined) > 1 and joined[-1][0] == "equal" and joined[-1][2] == " "
        if kind != "equal" and space:
            joined.pop()
            joined[-1][1:] = [f"{joined[-1][1]} {gone}", f"{joined[-1][2]} {come}"]
        else:
            joined.append([kind, gone, come])
    return joined


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)
