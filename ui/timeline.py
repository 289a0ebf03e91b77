"""What happened to an assistant, as people read it: newest first, a page at a time.

Owns how a moment becomes a sentence. Who did it and when stand beside it.
"""

from dataclasses import dataclass

from service.contract.timeline import Given, Moment
from ui.client import Gateway, Refused
from ui.pages import render
from ui.words import Words


@dataclass(frozen=True)
class Page:
    """Which page is open: the one behind a moment, or the newest; `once` is new for each press."""

    after: str = ""
    once: str = ""


@dataclass(frozen=True)
class Told:
    """A moment as it is drawn."""

    moment: Moment
    sentence: str
    more: str
    chip: str
    """The name of what stands beside it, and of its colour; empty for nothing."""
    chip_text: str


async def listing(gateway: Gateway, token: str, w: Words, assistant: str, page: Page) -> str:
    """The page as HTML. One whose moment is gone is the newest."""
    try:
        found, more = await gateway.timeline(token, assistant, page.after)
    except Refused as refused:
        if not page.after or refused.status != 400:
            raise
        page = Page(once=page.once)
        found, more = await gateway.timeline(token, assistant, "")
    return render("timeline", w, told=[told(w, one) for one in found], more=more, page=page)


def told(w: Words, one: Moment) -> Told:
    """A moment in the reader's language."""
    chip = one.verdict or one.status or ""
    text = ""
    if one.what == "evaluation":
        text = w(f"gate_{one.verdict}") if one.verdict else w(f"evaluation_{one.status}")
    elif one.what == "training":
        text = w(f"job_{one.status}")
    return Told(one, _sentence(w, one), _more(w, one), chip, text)


def _sentence(w: Words, one: Moment) -> str:
    if one.feedback is not None:
        n = _all(one.feedback)
        return w("timeline_feedback", n=n, people=w("timeline_people", n=one.feedback.people))
    if one.what == "training":
        return w(f"timeline_training_{one.method}")
    if one.what == "staging":
        name = "timeline_staged" if one.share else "timeline_stage_ended"
        return w(name, number=one.release, share=one.share)
    if one.what in ("promotion", "rollback"):
        return w(f"timeline_{one.what}", now=_release(w, one.release), before=_release(w, one.from_release))
    return w(f"timeline_{one.what}", number=one.release)


def _more(w: Words, one: Moment) -> str:
    """What there is to say beside the sentence."""
    if one.feedback is not None:
        counts = one.feedback.model_dump(exclude={"people"})
        return ", ".join(w(f"timeline_given_{name}", n=n) for name, n in counts.items() if n)
    named = (w(f"timeline_field_{name}") if w.has(f"timeline_field_{name}") else name for name in one.fields)
    return ", ".join(named)


def _all(given: Given) -> int:
    return given.up + given.down + given.corrections + given.preferences


def _release(w: Words, number: int | None) -> str:
    return w("timeline_the_release", number=number) if number else w("gate_of_base")
