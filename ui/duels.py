"""A duel as people see it: two answers, the form of a choice, and the names after it.

Owns how a form becomes a vote. Keeps nothing.
"""

from typing import cast, get_args

from pydantic import ValidationError

from service.contract.duels import Choice, Duel, Vote
from service.contract.feedback import Reason
from ui.acts import Act
from ui.client import Refused
from ui.feedback import BLAME, PRAISE
from ui.pages import render
from ui.words import Words


def drawn(w: Words, duel: Duel) -> str:
    """Two complete answers, to be chosen from or with their names, as HTML."""
    return render("duel", w, duel=duel, praise=PRAISE, blame=BLAME)


def vote_of(act: Act) -> Vote:
    """The choice in a form; what belongs to another choice, and was hidden, is left out. Raises `Refused`."""
    choice = act.text("choice")
    if choice not in get_args(Choice):
        raise Refused(400, "duel_no_choice", "Choose an answer first.")
    wins = choice in ("a", "b")
    fitting = BLAME if choice == "both_bad" else PRAISE
    given = act.fields.get("blame" if choice == "both_bad" else "praise", [])
    reasons: list[Reason] = [reason for reason in given if reason in fitting]
    strength = act.text("strength")
    try:
        return Vote(
            choice=cast(Choice, choice), reasons=reasons, comment=act.text("comment") or None,
            strength=int(strength) if wins and strength.isdecimal() else None,
        )  # fmt: skip
    except ValidationError:
        raise Refused(400, "not_understood", "This could not be understood. Reload the page.") from None
