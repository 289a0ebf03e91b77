"""Comparing and reviewing in a real browser: by keyboard alone, in both languages, on a desk and on a phone, in
the light and in the dark. Each state is judged by axe-core (https://github.com/dequelabs/axe-core); nothing serious may
be found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.browsing import DESK, PATIENCE, PHONE, Watched, feedback_of, sound
from tests.ui.screens import Screens, running_screens
from ui.sessions import COOKIE
from ui.words import Words, words

pytestmark = pytest.mark.heavy


@dataclass
class Place:
    """Where somebody sits: a language, a screen, by day or by night."""

    w: Words
    options: dict[str, Any]

    @property
    def base(self) -> str:
        return "/fr" if self.w.language == "fr" else ""


@pytest.fixture(params=[("en", DESK), ("fr", PHONE)], ids=("desk-en", "phone-fr"))
def place(request: pytest.FixtureRequest) -> Place:
    language, options = request.param
    return Place(words(language), options)


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> Iterator[Screens]:
    """Of their own: what waits for a verdict must be what these tests said."""
    with running_screens(tmp_path_factory.mktemp("judging"), schema) as running:
        yield running


def at(browser: Browser, screens: Screens, place: Place, name: str, role: str, page: str) -> Watched:
    """A fresh browser on a page, signed in as somebody new."""
    watched = Watched(browser, screens.url, **place.options)
    users = screens.gateway.admin.get("/api/users").json()["data"]
    token = screens.token_of(f"{name} {len(users)}", role)
    watched.context.add_cookies([{"name": COOKIE, "value": token, "url": screens.url, "httpOnly": True}])
    watched.page.goto(f"{screens.url}{place.base}/{page}/")
    expect(watched.page.locator("#duel h1, #item h1").first).to_be_visible(timeout=PATIENCE)
    return watched


def has_focus(page: Page, text: str) -> None:
    expect(page.locator(":focus")).to_have_text(text, timeout=PATIENCE)


def corrected(screens: Screens, question: str, better: str) -> tuple[httpx.Client, str]:
    """An answer that somebody new rated down and corrected: who, and its id."""
    person = screens.gateway.client_of("Uma")
    body = {"model": "fanal", "messages": [{"role": "user", "content": question}]}
    answer = person.post("/v1/chat/completions", json=body).json()["id"]
    rating = {"type": "rating", "rating": -1, "reasons": ["wrong"], "comment": "Since May it is less."}
    for said in (rating, {"type": "correction", "correction": better}):
        person.post("/api/feedback", json={"completion_id": answer, **said}).raise_for_status()
    return person, answer


def gone(screens: Screens, person: httpx.Client, answer: str) -> None:
    """It waits for nobody any more."""
    screens.gateway.admin.delete(f"/api/reviews/golden/{answer}").raise_for_status()
    person.delete(f"/v1/chat/completions/{answer}").raise_for_status()


# Comparing


def test_a_comparison_by_keyboard_alone(browser: Browser, screens: Screens, place: Place):
    w = place.w
    watched = at(browser, screens, place, "Comparer", "user", "compare")
    page = watched.page
    sound(page)
    page.locator("textarea[name=question]").focus()
    page.keyboard.type("LATE What does a bicycle cost?")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    has_focus(page, w("duel_writing"))
    sound(page)
    has_focus(page, w("duel_ready"))
    sound(page)
    assert w("base_model") not in page.locator("#duel").inner_text()
    page.keyboard.press("2")
    expect(page.get_by_role("radio", name="B", exact=True)).to_be_checked()
    expect(page.get_by_text(w("duel_how_much"))).to_be_visible()
    sound(page)
    page.keyboard.press("Enter")
    has_focus(page, w("duel_chose_b"))
    expect(page.locator(".sides .chip", has_text=w("base_model"))).to_have_count(2)
    expect(page.locator("#duel form")).to_have_count(0)
    sound(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("textarea[name=question]")).to_have_value("", timeout=PATIENCE)
    (newest,) = feedback_of(watched, screens)
    assert (newest["type"], newest["preference"]) == ("preference", "better")
    token = next(one["value"] for one in watched.context.cookies() if one["name"] == COOKIE)
    with httpx.Client(base_url=screens.gateway.url, headers={"authorization": f"Bearer {token}"}) as person:
        for duel in person.get("/api/duels").json()["data"]:
            person.delete(f"/api/duels/{duel['id']}").raise_for_status()  # it would wait for a verdict
    watched.close()


def test_a_page_that_is_opened_again_finds_the_answers_and_what_is_chosen_is_kept(
    browser: Browser, screens: Screens, place: Place
):
    w = place.w
    watched = at(browser, screens, place, "Returner", "user", "compare")
    page = watched.page
    page.locator("textarea[name=question]").fill("LATE Where is the harbour?")
    page.locator("[data-do=start]").first.click()
    expect(page.get_by_text(w("duel_writing"))).to_be_visible(timeout=PATIENCE)
    page.reload()
    expect(page.get_by_text(w("duel_ready"))).to_be_visible(timeout=PATIENCE)
    page.get_by_role("radio", name=w("duel_choice_both_bad")).check()
    page.get_by_text(w("reason_wrong"), exact=True).click()
    page.locator("textarea[name=comment]").fill("Neither knows it.")
    page.locator("[data-do=vote]").click()
    expect(page.get_by_text(w("duel_saved_neither"))).to_be_visible(timeout=PATIENCE)
    (newest,) = feedback_of(watched, screens)
    watched.close()
    assert (newest["preference"], newest["reasons"]) == ("both_bad", ["wrong"])
    assert newest["comment"] == "Neither knows it."


def test_names_without_a_choice_and_a_question_that_is_not_lost(
    browser: Browser, screens: Screens, place: Place
):
    w = place.w
    watched = at(browser, screens, place, "Curious", "user", "compare")
    page = watched.page
    page.locator("textarea[name=question]").fill("BREAK off, please")
    page.locator("[data-do=start]").first.click()
    expect(page.locator(".problem")).to_have_text(w("error_engine_error"), timeout=PATIENCE)
    expect(page.locator("textarea[name=question]")).to_have_value("BREAK off, please")
    sound(page)
    page.locator("textarea[name=question]").fill("Who are you?")
    page.locator("[data-do=start]").first.click()
    page.locator("[data-do=reveal]").click()
    has_focus(page, w("duel_revealed"))
    expect(page.get_by_text(w("duel_not_saved"))).to_be_visible()
    watched.close()


# Reviewing


def test_a_review_by_keyboard_alone_undone_and_made_a_check(browser: Browser, screens: Screens, place: Place):
    w = place.w
    watched = at(browser, screens, place, "Reader", "reviewer", "review")
    page = watched.page
    expect(page.get_by_text(w("review_nothing_title"), exact=True)).to_be_visible()
    sound(page)
    person, answer = corrected(
        screens, f"What does a bicycle cost, in {w.language}?", "It costs **4 crowns**."
    )
    page.get_by_role("button", name=w("review_look")).press("Enter")
    has_focus(page, w("review_why_correction"))
    expect(page.locator("#item")).to_contain_text("Since May it is less.")
    sound(page)
    page.keyboard.press("3")
    field = page.locator("textarea[name=correction]")
    expect(field).to_have_value("It costs **4 crowns**.")
    field.fill("It costs 5 crowns.")
    page.locator("[name=topic]").fill("Boat hire")
    page.locator("details[data-keep=rubric] summary").press("Enter")
    page.get_by_role("group", name=w("review_rubric_polite")).get_by_text(
        w("review_mark_yes"), exact=True
    ).click()
    sound(page)
    field.press("Control+Enter")
    strip = page.locator(".strip")
    expect(strip).to_contain_text(w("review_saved_correct"), timeout=PATIENCE)
    has_focus(page, w("review_title"))
    sound(page)
    strip.get_by_role("button", name=w("review_undo")).press("Enter")
    expect(strip).to_have_text(w("review_undone"), timeout=PATIENCE)
    has_focus(page, w("review_why_correction"))
    expect(field).to_have_value("It costs 5 crowns.")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(strip).to_contain_text(w("review_saved_reject"), timeout=PATIENCE)
    strip.get_by_role("button", name=w("review_make_golden")).press("Enter")
    expect(strip).to_have_text(w("review_made_golden"), timeout=PATIENCE)
    expect(page.locator("#item")).to_contain_text(w("review_nothing_done", n=1))
    page.locator("#agreement summary").press("Enter")
    expect(page.locator("#agreement")).to_contain_text("Boat hire")
    sound(page)
    watched.close()
    kinds = [
        one["type"] for one in person.get("/api/feedback", params={"completion_id": answer}).json()["data"]
    ]
    assert sorted(kinds) == ["correction", "rating"]  # the person's own; the reviewer's was taken back
    gone(screens, person, answer)


def test_what_somebody_else_decided_is_read_only_after_ones_own_verdict(
    browser: Browser, screens: Screens, place: Place
):
    w = place.w
    person, answer = corrected(screens, f"Where do I wait, in {w.language}?", "On pier two.")
    gold = {"expected": "approve"}
    screens.gateway.admin.put(f"/api/reviews/golden/{answer}", json=gold).raise_for_status()
    first = at(browser, screens, place, "First", "reviewer", "review")
    expect(first.page.locator("#item h2")).to_have_text(w("review_why_audit"))
    first.page.get_by_role("radio", name=w("review_skip")).check()
    first.page.locator("[name=skip_reason]").select_option("language")
    first.page.get_by_text(w("review_personal")).click()
    first.page.locator("[data-do=judge]").click()
    expect(first.page.locator(".strip")).to_contain_text(w("review_saved_skip"), timeout=PATIENCE)
    second = at(browser, screens, place, "Second", "reviewer", "review")
    expect(second.page.locator("#item")).not_to_contain_text(w("review_was_approve"))
    second.page.get_by_role("radio", name=w("review_approve")).check()
    second.page.locator("[data-do=judge]").click()
    expect(second.page.locator(".strip")).to_contain_text(w("review_golden_right"), timeout=PATIENCE)
    first.close()
    second.close()
    gone(screens, person, answer)


def test_the_page_for_another_role_says_whose_it_is(browser: Browser, screens: Screens, place: Place):
    watched = at(browser, screens, place, "Visitor", "user", "compare")
    page = watched.page
    assert page.locator("nav a", has_text=place.w("review")).count() == 0
    page.goto(f"{screens.url}{place.base}/review/")
    expect(page.locator("h1")).to_have_text(place.w("refused_title"))
    sound(page)
    watched.close()
