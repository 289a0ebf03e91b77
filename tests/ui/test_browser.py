"""The screens in a real browser, before a double of the engine: the details of the chat."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.browsing import PATIENCE, ask, feedback_of, no_sideways_scroll, signed_in, sound
from tests.ui.screens import Screens
from ui.sessions import COOKIE
from ui.words import words

pytestmark = pytest.mark.heavy


def test_an_answer_can_be_stopped_and_what_was_written_stays(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Stopper")
    page = watched.page
    ask(page, "SLOW " + "word " * 300)
    expect(page.locator("#growing .text")).to_contain_text("word", timeout=PATIENCE)
    page.locator("#composer .stop-button").click()
    turn = page.locator("[data-completion]")
    expect(turn).to_have_count(1, timeout=PATIENCE)
    expect(turn).to_contain_text("Stopped before the end.")
    expect(page.locator("#composer .submit-button")).to_be_visible()
    watched.close()


def test_a_reload_in_the_middle_finds_the_answer_still_growing(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Reloader")
    page = watched.page
    ask(page, "SLOW " + "word " * 120)
    expect(page.locator("#growing .text")).to_contain_text("word", timeout=PATIENCE)
    expect(page).to_have_url(re.compile(r"\?c=conv_"))
    page.reload()
    expect(page.locator("#growing .text, [data-completion]").first).to_contain_text("word", timeout=PATIENCE)
    expect(page.locator("[data-completion] .text")).to_contain_text("word word", timeout=PATIENCE)
    expect(page.locator("[data-completion]")).not_to_contain_text("Stopped")
    watched.close()


def test_a_question_asked_in_another_window_while_an_answer_is_written_stays_in_its_field(
    browser: Browser, screens: Screens
):
    watched = signed_in(browser, screens, "Two windows")
    page, other = watched.page, watched.context.new_page()
    ask(page, "Good morning")
    expect(page.locator("[data-completion]")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"\?c=conv_"))
    other.goto(page.url)
    expect(other.locator("[data-completion]")).to_have_count(1)
    ask(page, "SLOW " + "word " * 1200)  # a minute, which the other window has time in
    expect(page.locator("#growing .text")).to_contain_text("word", timeout=PATIENCE)
    file = {"name": "fares.txt", "mimeType": "text/plain", "buffer": b"Lund;14"}
    other.locator("#files input[type=file]").set_input_files([file])
    expect(other.locator("#files")).to_contain_text("fares.txt")
    ask(other, "Another question")
    expect(other.get_by_text(words("en")("error_answer_under_way"))).to_be_visible(timeout=PATIENCE)
    expect(other.locator("#composer textarea")).to_have_value("Another question")
    expect(other.locator("#files")).to_contain_text("fares.txt")
    page.locator("#composer .stop-button").click()
    expect(page.locator("[data-completion]")).to_have_count(2, timeout=PATIENCE)
    ask(other, "Another question")
    expect(other.locator("[data-completion]")).to_have_count(3, timeout=PATIENCE)
    watched.close()


def test_a_rating_its_reasons_and_a_correction_are_kept_changed_and_taken_back(
    browser: Browser, screens: Screens
):
    watched = signed_in(browser, screens, "Rater")
    page = watched.page
    ask(page, "What does a bicycle cost?")
    turn = page.locator("[data-completion]")
    turn.locator("[aria-label='Bad answer']").click()
    expect(turn.locator(".said")).to_have_text("Saved. Thank you.", timeout=PATIENCE)
    turn.get_by_text("out of date").click()
    turn.locator("textarea[name=comment]").fill("Since May it is less.")
    turn.locator("[data-do=explain]").click()
    expect(turn.locator(".why summary")).to_contain_text(
        "out of date · “Since May it is less.”", timeout=PATIENCE
    )
    turn.get_by_text("Write the better answer").click()
    field = turn.locator("textarea[name=correction]")
    expect(field).to_have_value(turn.locator(".text").inner_text())
    field.fill("It costs four crowns.")
    turn.locator("[data-do=correct]").click()
    expect(turn.locator(".better")).to_contain_text("It costs four crowns.", timeout=PATIENCE)
    page.reload()
    expect(turn.locator("[aria-label='Bad answer']")).to_have_attribute(
        "aria-pressed", "true", timeout=PATIENCE
    )
    expect(turn.locator(".better")).to_contain_text("It costs four crowns.")
    turn.locator(".better").get_by_text("Take back").click()
    expect(turn.locator(".better")).to_have_count(0, timeout=PATIENCE)
    turn.locator("[aria-label='Bad answer']").click()
    expect(turn.locator("[aria-label='Bad answer']")).to_have_attribute(
        "aria-pressed", "false", timeout=PATIENCE
    )
    kinds = [one["type"] for one in feedback_of(watched, screens)]
    watched.close()
    assert sorted(kinds) == ["correction", "rating", "rating", "retraction", "retraction"]


def test_what_is_being_written_outlives_a_redraw(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Writer")
    page = watched.page
    ask(page, "What does a parcel cost?")
    turn = page.locator("[data-completion]")
    turn.get_by_text("Write the better answer").click()
    turn.locator("textarea[name=correction]").fill("Half of a sen")
    turn.locator("[aria-label='Good answer']").click()
    expect(turn.locator(".said")).to_be_visible(timeout=PATIENCE)
    expect(turn.locator("textarea[name=correction]")).to_have_value("Half of a sen")
    watched.close()


def test_a_refusal_is_a_sentence_and_confirms_nothing(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Unlucky")
    page = watched.page
    ask(page, "What does a lighthouse cost?")
    turn = page.locator("[data-completion]")
    expect(turn).to_have_count(1, timeout=PATIENCE)
    # The answer's id is exchanged for one that the gateway does not know.
    page.evaluate("document.querySelector('[data-value=\"1\"][data-do=rate]').dataset.id = 'chatcmpl-none'")
    turn.locator("[aria-label='Good answer']").click()
    expect(page.get_by_text(words("en")("error_not_found"))).to_be_visible(timeout=PATIENCE)
    expect(turn.locator(".said")).to_have_count(0)
    ask(page, "TOO LONG")
    page.locator("#growing [data-do=new]").click()  # what was too long would be so again
    expect(page.locator(".welcome")).to_be_visible(timeout=PATIENCE)
    watched.close()


def test_an_answer_cannot_run_anything_or_fetch_anything(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Careful")
    page = watched.page
    ask(
        page,
        '<img src=x onerror="window.ran=1"> ![p](https://evil.example/p.png) <script>window.ran=1</script>',
    )
    expect(page.locator("[data-completion] .text")).to_contain_text("<img src=x", timeout=PATIENCE)
    assert page.evaluate("window.ran") is None
    assert page.locator("[data-completion] img").count() == 0
    watched.close()


def test_conversations_are_renamed_deleted_listed_in_pages_and_nobody_elses(
    browser: Browser, screens: Screens, monkeypatch: pytest.MonkeyPatch
):
    watched = signed_in(browser, screens, "Keeper")
    page = watched.page
    ask(page, "First matter")
    expect(page.locator("[data-completion]")).to_have_count(1, timeout=PATIENCE)
    address = page.url
    page.get_by_text("New conversation").click()
    expect(page.locator(".welcome")).to_be_visible(timeout=PATIENCE)
    ask(page, "Second matter")
    expect(page.locator("#side li")).to_have_count(2, timeout=PATIENCE)
    expect(page.locator("#side li.here")).to_contain_text("Second matter", timeout=PATIENCE)
    expect(page.locator("[data-completion]")).to_have_count(1, timeout=PATIENCE)
    # The list moves when a question is sent, and not under the hand of who renames something while its answer ends.
    page.locator("#side a", has_text="First matter").click()
    expect(page.locator("[data-completion] .question")).to_have_text("First matter", timeout=PATIENCE)
    ask(page, "SLOW " + "word " * 40)
    expect(page.locator("#growing .text")).to_contain_text("word", timeout=PATIENCE)
    expect(page.locator("#side li").first).to_contain_text("First matter")
    page.locator("#side li", has_text="Second matter").locator("summary").click()
    page.locator("#side details[open] input").fill("Leave and pay")
    expect(page.locator("[data-completion]")).to_have_count(2, timeout=PATIENCE)
    page.locator("#side details[open] [data-do=rename]").click()
    expect(page.locator("#side li").last).to_contain_text("Leave and pay", timeout=PATIENCE)
    page.locator("#side li", has_text="Leave and pay").locator("summary").click()
    page.locator("#side details[open] [data-do=delete]").click()
    expect(page.locator("#side li")).to_have_count(1, timeout=PATIENCE)
    token = next(one["value"] for one in watched.context.cookies() if one["name"] == COOKIE)
    with httpx.Client(base_url=screens.gateway.url, headers={"authorization": f"Bearer {token}"}) as person:
        for _ in range(3):
            person.post("/api/conversations", json={"assistant": "fanal"}).raise_for_status()
    monkeypatch.setattr("ui.conversations.LISTED", 2)
    page.reload()
    expect(page.locator("#side li")).to_have_count(2)
    page.locator("#side [data-do=older]").press("Enter")
    expect(page.locator("#side li a").nth(2)).to_be_focused()
    expect(page.locator("#side [data-do=older]")).to_have_count(0)
    page.locator("#side li a").nth(2).click()  # the list stays as long
    expect(page.locator("#side li").nth(2)).to_have_class(re.compile("here"))
    expect(page.locator("#side li")).to_have_count(4)
    watched.close()
    stranger = signed_in(browser, screens, "Stranger")
    stranger.page.goto(address)
    expect(stranger.page.get_by_text("was deleted, or is not yours")).to_be_visible(timeout=PATIENCE)
    expect(stranger.page.get_by_text("First matter")).to_have_count(0)
    stranger.close()


def test_the_screens_fit_a_phone_in_french_and_in_the_dark(browser: Browser, screens: Screens):
    watched = signed_in(
        browser, screens, "Voyageuse", "administrator", locale="fr-FR", color_scheme="dark",
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True,
    )  # fmt: skip
    page = watched.page
    assert "/fr/" in page.url
    assert no_sideways_scroll(page)
    ask(page, "Quel est le prix ? " + "anticonstitutionnellement" * 12)
    turn = page.locator("[data-completion]")
    turn.get_by_label("Mauvaise réponse").click()
    expect(turn.locator(".said")).to_be_visible(timeout=PATIENCE)
    turn.get_by_text("Écrire la meilleure réponse").click()
    assert no_sideways_scroll(page)
    page.locator("[data-menu]").click()
    expect(page.locator("#side .here")).to_be_visible()
    page.keyboard.press("Escape")
    for screen in ("studio", "admin"):
        menu = page.locator("[data-pages]")
        menu.focus()
        page.keyboard.press("Enter")
        expect(menu).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("Escape")
        expect(page.locator("#pages")).to_be_hidden()
        expect(menu).to_be_focused()
        page.keyboard.press("Space")
        expect(page.locator("#pages a")).to_have_count(5)
        for link in page.locator("#pages a").all():
            expect(link).to_be_in_viewport(ratio=1)
        page.locator("#pages").get_by_role("link", name=words("fr")(screen)).press("Enter")
        expect(page.locator("#round h2, #people h2").first).to_be_visible(timeout=PATIENCE)
        sound(page)
    watched.close()


@pytest.mark.parametrize(("language", "width"), [("en", 1440), ("fr", 390)])
def test_a_file_of_strange_columns_is_looked_at_told_apart_and_read_in(
    browser: Browser, screens: Screens, tmp_path: Path, language: str, width: int
):
    rows = "".join(f"How high is tide {n}?;It is {n} metres high.;It is high.\n" for n in range(12))
    (tmp_path / "tides.csv").write_text(f"A;B;C\n{rows}Why?;;no\n")
    watched = signed_in(
        browser, screens, f"Importer {language}", "reviewer", locale=language,
        viewport={"width": width, "height": 900},
    )  # fmt: skip
    page = watched.page
    page.goto(f"{screens.url}{'/fr' if language == 'fr' else ''}/studio/")
    with page.expect_file_chooser() as chooser:
        page.locator("#import-upload").click()
    chooser.value.set_files(tmp_path / "tides.csv")
    expect(page.locator("[data-import] h2")).to_have_text("tides.csv")
    expect(page.locator("[data-do=start]")).to_be_disabled()
    for column, name in (("prompt", "A"), ("chosen", "B"), ("rejected", "C")):
        page.locator(f"select[name=column_{column}]").select_option(name)
    page.locator("[data-do=look]").click()
    expect(page.locator("[data-import] td").nth(1)).to_have_text("It is 0 metres high.")
    page.locator("input[name=licence]").fill("CC BY 4.0")
    page.locator("[data-do=start]").click()
    done = page.locator("[data-import][data-status=succeeded]")
    expect(done).to_contain_text("CC BY 4.0")
    expect(done).to_contain_text({"en": "12 of 13 rows were taken", "fr": "12 lignes sur 13"}[language])
    expect(done).to_contain_text({"en": "Line 14, field B", "fr": "Ligne 14, champ B"}[language])
    expect(page.locator("#round [data-source=file] input[type=radio]")).to_be_checked()
    expect(page.locator("#round [name=file] option:checked")).to_have_text(
        re.compile("tides-dpo-import.* 10 .* 2 ")  # two of the questions are held out
    )
    expect(page.locator("#round [name=aside]")).to_be_checked()
    expect(done.locator("[data-sheet] .histogram rect").first).to_be_visible()
    assert no_sideways_scroll(page)
    say_where_it_is_from(page, screens, str(page.locator("#round [name=file]").input_value()))
    watched.close()


def say_where_it_is_from(page: Page, screens: Screens, file_id: str) -> None:
    """On the file's own sheet: what was said of its licence stays, its source is added."""
    page.goto(f"{screens.url}/studio/data/{file_id}")
    page.locator("details:has(form) > summary").press("Enter")
    expect(page.locator("form [name=licence]")).to_have_value("CC BY 4.0")
    page.locator("form [name=source]").fill("Harbour <b>office</b>")
    page.locator("form [type=submit]").click()
    expect(page.locator(".sheet dl.pairs")).to_contain_text("Harbour <b>office</b>")
    expect(page.locator(".sheet dl.pairs")).to_contain_text("CC BY 4.0")
    assert no_sideways_scroll(page)
    sound(page)
