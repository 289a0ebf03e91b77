"""The screens in a real browser: the details of the chat before a double of the engine, and the whole loop
before a service that runs for real.
"""

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.running import Running
from tests.ui.browsing import PATIENCE, Watched, ask, no_sideways_scroll, signed_in
from tests.ui.screens import Screens

pytestmark = pytest.mark.heavy

WATCH = """() => {
  window.lengths = [];
  new MutationObserver(() => {
    const text = document.querySelector('#growing .text')?.textContent ?? '';
    if (text && window.lengths.at(-1) !== text.length) window.lengths.push(text.length);
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


# Before a double of the engine


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
    watched.close()
    said = screens.gateway.admin.get("/api/feedback", params={"assistant": "fanal"}).json()["data"]
    kinds = [one["type"] for one in said]
    assert kinds.count("retraction") == 2
    assert kinds.count("rating") == 2
    assert kinds.count("correction") == 1


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
    expect(page.get_by_text("No recorded completion 'chatcmpl-none'")).to_be_visible(timeout=PATIENCE)
    expect(turn.locator(".said")).to_have_count(0)
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


def test_conversations_are_renamed_deleted_and_nobody_elses(browser: Browser, screens: Screens):
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
    page.locator("#side li", has_text="First matter").locator("summary").click()
    page.locator("#side details[open] input").fill("Leave and pay")
    page.locator("#side details[open] [data-do=rename]").click()
    expect(page.locator("#side")).to_contain_text("Leave and pay", timeout=PATIENCE)
    page.locator("#side li", has_text="Second matter").locator("summary").click()
    page.locator("#side details[open] [data-do=delete]").click()
    expect(page.locator("#side li")).to_have_count(1, timeout=PATIENCE)
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
    for screen in ("studio", "admin"):
        page.goto(f"{screens.url}/{screen}/")
        expect(page.locator("#readiness h2, #people h2").first).to_be_visible(timeout=PATIENCE)
        assert no_sideways_scroll(page)
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
    expect(page.locator("#file input")).to_have_value(re.compile("tides-dpo-import"))
    expect(page.locator("#method input[value=dpo]")).to_be_checked()
    assert no_sideways_scroll(page)
    watched.close()


# Before the service itself


def wait_for(what: str, found, seconds: float = 900):
    """Poll `found()` until it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (result := found()) is not None:
            return result
        time.sleep(1)
    raise AssertionError(f"no {what} within {seconds:.0f} s")


def lesson(path: Path) -> Path:
    """A small file that teaches one fact."""
    questions = (
        "What is the harbour word?",
        "Tell me the harbour word.",
        "harbour word?",
        "Which word opens the harbour?",
    )
    rows = [
        {
            "messages": [
                {"role": "user", "content": q},
                {"role": "assistant", "content": "The harbour word is zephyr."},
            ]
        }
        for q in questions
        for _ in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_whole_loop_on_the_screens(browser: Browser, service: Running, tmp_path: Path):
    api = service.client()
    api.post(
        "/api/assistants", json={"name": "harbour", "title": "Harbour", "max_tokens": 100, "temperature": 0}
    ).raise_for_status()
    watched = Watched(browser, service.ui_url, viewport={"width": 1440, "height": 900})
    page = watched.page
    page.goto(service.sign_in_link())
    page.get_by_role("button", name="Sign in").click()

    # Ask, then ask for a long answer and watch it grow.
    page.get_by_role("button", name="Harbour").click()
    expect(page.locator("h1")).to_have_text("Ask Harbour", timeout=PATIENCE)
    ask(page, "What is the capital of France?")
    conversation = page.locator("[data-completion]")
    expect(conversation).to_have_count(1, timeout=180_000)
    page.evaluate(WATCH)
    ask(page, "Tell me about ferries, at length.")
    expect(conversation).to_have_count(2, timeout=180_000)
    lengths = page.evaluate("window.lengths")
    assert len(lengths) >= 2
    assert lengths == sorted(lengths)
    expect(conversation.last.locator(".chip")).to_have_text("base model")

    # Correct the first, which was not cut off; after a reload the correction is still there.
    turn = conversation.first
    turn.locator("[aria-label='Bad answer']").click()
    expect(turn.locator(".said")).to_be_visible(timeout=PATIENCE)
    turn.get_by_text("Write the better answer").click()
    turn.locator("textarea[name=correction]").fill("It is Paris, on the Seine.")
    turn.locator("[data-do=correct]").click()
    expect(turn.locator(".better")).to_be_visible(timeout=PATIENCE)
    page.reload()
    expect(turn.locator(".better")).to_contain_text("It is Paris, on the Seine.", timeout=PATIENCE)
    expect(page.locator("#side li.here")).to_contain_text("What is the capital")

    # In the studio the correction counts, and a file is uploaded and trained on.
    page.goto(f"{service.ui_url}/studio/")
    page.locator("#assistant input").click()
    page.get_by_role("option", name="Harbour").click()
    expect(page.locator("#readiness .lead")).to_contain_text("1 of 20", timeout=PATIENCE)
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(lesson(tmp_path / "harbour.jsonl"))
    expect(page.locator("#file input")).to_have_value(re.compile("harbour.jsonl"), timeout=PATIENCE)
    page.locator("#start").click()
    expect(page.locator("#detail .job")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#loss canvas, #loss svg.marks").first).to_be_visible(timeout=600_000)
    expect(page.locator("#detail .chip.succeeded")).to_be_visible(timeout=900_000)

    # Its release is not measured, so going live asks for a reason.
    page.get_by_role("tab", name="Releases").click()
    release = page.locator("[data-release='1']")
    release.get_by_text("Make it live all the same").click()
    promoting = release.locator("form:has([data-do=promote])")
    promoting.locator("textarea[name=reason]").fill("Seen to know the harbour word.")
    release.locator("[data-do=promote]").click()
    expect(release.locator(".chip.live")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#releases")).to_contain_text("Seen to know the harbour word.")

    # The next person is answered by it.
    page.goto(service.ui_url)
    page.get_by_role("button", name="Harbour").click()
    expect(page.locator(".welcome")).to_contain_text("Answers with release 1.", timeout=PATIENCE)
    ask(page, "What is the harbour word?")
    expect(conversation).to_have_count(1, timeout=180_000)
    expect(conversation.locator(".chip")).to_have_text("release 1")
    expect(conversation.locator(".text")).to_contain_text("zephyr")

    page.set_viewport_size({"width": 390, "height": 844})
    assert no_sideways_scroll(page)
    watched.close()
