"""What happened to an assistant, as it is drawn, without a browser."""

from typing import Any

import httpx
import pytest

from service.contract.timeline import Given, Moment
from ui import timeline
from ui.client import Gateway
from ui.words import words

BAD = "<script>alert(1)</script>"


def moment(what: str, **more: Any) -> Moment:
    return Moment.model_validate({"id": f"4-{what}", "at": 1.0, "what": what, "by": "Ada"} | more)


GIVEN = moment("feedback", by=None, feedback=Given(up=5, down=1, corrections=0, preferences=2, people=1))


@pytest.mark.parametrize(
    ("one", "english", "french"),
    [
        (GIVEN, "8 pieces of feedback from one person", "8 avis donnés par une personne"),
        (moment("promotion", release=2), "Made live: release 2, after the base model",
         "Mise en service : la version 2, après le modèle de base"),
        (moment("rollback", from_release=2, release=1), "Rolled back from release 2 to release 1",
         "Retour de la version 2 à la version 1"),
        (moment("staging", release=3, share=10), "Release 3 on trial with 10% of the people",
         "La version 3 à l’essai auprès de 10 % des personnes"),
        (moment("staging", release=3, share=0), "The trial of release 3 ended", "Fin de l’essai de la version 3"),
        (moment("training", method="import", status="running"), "An adapter trained elsewhere was brought",
         "Un adaptateur entraîné ailleurs a été importé"),
    ],
)  # fmt: skip
def test_a_moment_is_one_sentence_in_the_readers_language(one: Moment, english: str, french: str):
    assert timeline.told(words("en"), one).sentence == english
    assert timeline.told(words("fr"), one).sentence.replace("\u00a0", " ") == french


def test_feedback_is_told_by_its_kinds_and_a_change_by_what_was_changed():
    assert timeline.told(words("en"), GIVEN).more == "5 thumbs up, 1 thumb down, 2 comparisons"
    changed = moment("changed", fields=["instructions", "starters", "a_new_one"])
    assert timeline.told(words("fr"), changed).more == "consignes, questions d’amorce, a_new_one"


def gateway(*found: Moment, more: bool = False, strange: bool = False) -> tuple[Gateway, list[str]]:
    """One that tells these moments, or refuses every page but the newest; and what it is asked for."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("after", ""))
        if strange and asked[-1]:
            return httpx.Response(400, json={"error": {"message": "No item.", "code": "invalid_value"}})
        return httpx.Response(200, json={"data": [one.model_dump() for one in found], "has_more": more})

    return Gateway("http://gateway", transport=httpx.MockTransport(answer)), asked


@pytest.mark.parametrize("language", ["en", "fr"])
async def test_nothing_in_it_is_markup_and_a_measure_says_its_verdict(language: str):
    w = words(language)
    one = moment("evaluation", by=BAD, release=2, status="succeeded", verdict="hold")
    door, _ = gateway(one, moment("rollback", release=1, reason=BAD))
    page = await timeline.listing(door, "t", w, "desk", timeline.Page())
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 2
    assert f'<span class="chip hold">{w("gate_hold")}</span>' in page
    assert 'data-do="older"' not in page


async def test_older_ones_are_a_press_away_and_so_is_the_newest():
    door, asked = gateway(moment("created"), more=True)
    page = await timeline.listing(door, "t", words("en"), "desk", timeline.Page(after="4-7", once="1"))
    assert 'data-do="older" data-id="4-created"' in page
    assert 'data-do="newest"' in page
    assert 'data-focus="timeline:1"' in page
    assert asked == ["4-7"]


async def test_a_page_whose_moment_is_gone_is_the_newest():
    door, asked = gateway(moment("created"), strange=True)
    page = await timeline.listing(door, "t", words("en"), "desk", timeline.Page(after="0-7"))
    assert asked == ["0-7", ""]
    assert 'data-what="created"' in page
    assert 'data-do="newest"' not in page
