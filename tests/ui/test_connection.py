"""A connection that is lost and comes back, and what Gradio itself says in the page's language, in a real browser."""

from functools import partial
from pathlib import Path

import gradio
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.ui.browsing import PATIENCE, ask, signed_in, sound
from tests.ui.screens import Screens
from ui.notices import LARGEST, notices
from ui.words import Words, words

pytestmark = pytest.mark.heavy

LOCALES = {"en": "en-GB", "fr": "fr-FR"}
GRADIOS = (
    "This application is currently busy", "Connection to the server was lost", "Invalid file type",
    "exceed the maximum allowed size of", "toast-title", "toast-text", "toast-close", "toast-body",
)  # fmt: skip
"""What `static/connection.js` goes by."""


@pytest.fixture(params=LOCALES)
def w(request: pytest.FixtureRequest) -> Words:
    return words(request.param)


def toast(page: Page, said: str) -> None:
    """One notice, all of it in the page's language; then it is put away."""
    notice = page.locator(".toast-body")
    expect(notice).to_contain_text(said, timeout=PATIENCE)
    w = words("fr" if "/fr/" in page.url else "en")
    expect(notice.locator(".toast-title")).to_contain_text(w("notice_title"))
    notice.get_by_label(w("close"), exact=True).click()
    expect(notice).to_have_count(0)


def test_a_lost_connection_is_told_and_what_was_written_meanwhile_is_found(
    browser: Browser, screens: Screens, w: Words
):
    watched = signed_in(browser, screens, "Traveller", locale=LOCALES[w.language])
    page = watched.page
    ask(page, "SLOW " + "word " * 120)
    expect(page.locator("#growing .text")).to_contain_text("word", timeout=PATIENCE)
    page.locator("#composer textarea").fill("and then?")
    watched.context.set_offline(True)
    expect(page.locator("#lost")).to_have_text(w("connection_lost"), timeout=PATIENCE)
    expect(page.get_by_text("Connection to the server")).to_have_count(0)
    sound(page)
    watched.context.set_offline(False)
    turn = page.locator("[data-completion]")
    expect(turn.locator(".text")).to_contain_text("word " * 100, timeout=PATIENCE)
    expect(turn).not_to_contain_text(w("turn_interrupted"))
    expect(page.locator("#composer textarea")).to_have_value("and then?")
    expect(page.locator("#lost")).to_be_hidden()
    watched.close()


def test_a_question_sent_into_a_dead_connection_is_not_lost_and_what_is_half_written_stays(
    browser: Browser, screens: Screens
):
    watched = signed_in(browser, screens, "Castaway")
    page, turn = watched.page, watched.page.locator("[data-completion]")
    ask(page, "What does a parcel cost?")
    expect(turn).to_have_count(1, timeout=PATIENCE)
    turn.get_by_text("Write the better answer").click()
    turn.locator("textarea[name=correction]").fill("Half of a sen")
    watched.context.set_offline(True)
    with page.expect_event("requestfailed", lambda request: "queue/join" in request.url):
        ask(page, "and a letter?")
    expect(page.locator("#lost")).to_be_visible(timeout=PATIENCE)
    watched.context.set_offline(False)
    expect(page.locator("#lost")).to_have_count(0, timeout=PATIENCE)  # loaded again
    expect(page.locator("#composer textarea")).to_have_value("and a letter?", timeout=PATIENCE)
    turn.get_by_text("Write the better answer").click()
    expect(turn.locator("textarea[name=correction]")).to_have_value("Half of a sen")
    page.keyboard.press("Escape")
    page.locator("#composer textarea").press("Enter")
    expect(turn).to_have_count(2, timeout=PATIENCE)
    page.reload()
    expect(turn).to_have_count(2, timeout=PATIENCE)
    expect(page.locator("#composer textarea")).to_have_value("")
    watched.close()


def test_a_page_that_is_left_while_it_still_asks_does_not_load_itself_in_place_of_the_next(
    browser: Browser, screens: Screens
):
    watched = signed_in(browser, screens, "Hasty", "reviewer")
    page = watched.page
    for path in ("/studio/", "/") * 6:
        page.goto(f"{screens.url}{path}")  # fails where the page before loads itself
        expect(page.locator("#header .top")).to_be_visible(timeout=PATIENCE)
    watched.close()


def test_what_gradio_says_is_said_in_the_pages_language(browser: Browser, screens: Screens, w: Words):
    watched = signed_in(browser, screens, "Unlucky", "reviewer", locale=LOCALES[w.language])
    page = watched.page
    # The browser's own words for a button that shows a picture.
    expect(page.locator("#composer .submit-button")).to_have_attribute("aria-label", w("send"))
    for status, detail, said in (
        (500, None, "error_unknown"), (503, "m", "error_unreachable"),
        (403, "This screen is for the role 'reviewer'.", "error_insufficient_permissions"),
    ):  # fmt: skip
        answer = partial(Route.fulfill, status=status, json={"detail": detail})
        page.route("**/queue/join*", lambda route: answer(route))  # noqa: B023
        ask(page, "Anybody there?")
        toast(page, w(said))
        page.unroute("**/queue/join*")
    page.goto(f"{screens.url}{'/fr' if w.language == 'fr' else ''}/studio/")
    for name, said in (
        ("plan.pdf", w("upload_kind", name="plan.pdf", kinds=".jsonl")),
        ("rows.jsonl", w("upload_broken")),
    ):
        page.route("**/upload*", lambda route: route.fulfill(status=413, body="Too large"))
        with page.expect_file_chooser() as chooser:
            page.locator("#upload").click()
        chooser.value.set_files([{"name": name, "mimeType": "text/plain", "buffer": b"{}"}])
        toast(page, said)
    watched.close()


def test_gradio_still_says_what_our_sentences_stand_for():
    assets = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    names = ("index-*.js", "src-*.js", "Blocks-*.js", "statustracker-*.js")
    code = "".join(path.read_text() for name in names for path in assets.glob(name))
    assert [sentence for sentence in GRADIOS if sentence not in code] == []
    assert str(LARGEST) in str(notices(words("fr"))["notices"])
