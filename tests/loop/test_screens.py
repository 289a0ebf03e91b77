"""The whole loop in a real browser, before the service that runs for real: ask, correct, train, go live, ask again."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.loop.steps import child
from tests.running import Running
from tests.ui.browsing import PATIENCE, Watched, ask, chromium, no_sideways_scroll
from tests.waiting import wait_until
from ui.words import words

pytestmark = pytest.mark.heavy

WATCH = """() => {
  window.lengths = [];
  new MutationObserver(() => {
    const text = document.querySelector('#growing .text')?.textContent ?? '';
    if (text && window.lengths.at(-1) !== text.length) window.lengths.push(text.length);
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def browser(service: Running) -> Iterator[Browser]:
    """After the service: it runs a loop of its own in this thread."""
    with sync_playwright() as playwright, chromium(playwright) as started:
        yield started


def test_the_whole_loop_on_the_screens(browser: Browser, service: Running, tmp_path: Path):
    service.wait_ready()
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
    expect(turn.locator("[aria-label='Bad answer']")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#side li.here")).to_contain_text("What is the capital")

    # In the studio the correction counts, and a file is uploaded and trained on.
    page.goto(f"{service.ui_url}/studio/")
    page.locator("#assistant input").click()
    page.get_by_role("option", name="Harbour").click()
    expect(page.locator("#round .lead")).to_contain_text("1 of 20", timeout=PATIENCE)
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(_lesson(tmp_path / "harbour.jsonl"))
    chosen = page.locator("#round [name=file] option:checked")
    expect(chosen).to_have_text(re.compile("harbour.jsonl"), timeout=PATIENCE)
    for step in (2, 3, 4):
        page.locator("#round .primary").click()
        expect(page.locator(f"#round [data-step='{step}']:not([data-looking])")).to_be_visible(
            timeout=180_000
        )
    page.locator("#round [data-do=start]").click()
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


@pytest.mark.parametrize("killed", ["ui", "gateway"])
def test_an_answer_under_way_when_a_process_is_killed_is_found_as_far_as_it_went(
    browser: Browser, service: Running, killed: str
):
    service.wait_ready()
    with service.client() as api:
        api.post(
            "/api/assistants", json={"name": f"long-{killed}", "title": f"Long {killed}", "max_tokens": 2000}
        ).raise_for_status()
    watched = Watched(browser, service.ui_url, locale="fr-FR")
    page = watched.page
    page.goto(service.sign_in_link())
    page.locator("button[type=submit]").click()
    page.get_by_role("button", name=f"Long {killed}").click()
    ask(page, "Tell me all about ferries, lighthouses, harbours and storms, at great length.")
    growing = page.locator("#growing .text")
    page.wait_for_function("document.querySelector('#growing .text')?.innerText.length > 80", timeout=180_000)
    page.locator("#composer textarea").fill("la question suivante")
    seen, conversation = growing.inner_text()[:40], page.url.partition("?c=")[2]
    with service.client() as api:  # what is written so far is noted every other second
        recorded = f"/api/conversations/{conversation}"
        wait_until(lambda: seen in api.get(recorded).json()["turns"][-1]["answer"], 60, "nothing was noted")
    child(service, killed).kill()
    expect(page.locator("#lost")).to_have_text(words("fr")("connection_lost"), timeout=PATIENCE)
    # It comes back by itself, with what was written, and the next question still waits in its field.
    turn = page.locator("[data-completion]")
    expect(turn).to_contain_text(words("fr")("turn_interrupted"), timeout=180_000)
    expect(turn.locator(".text")).to_contain_text(seen)
    expect(page.locator("#composer textarea")).to_have_value("la question suivante")
    service.wait_ready()
    watched.close()


def _lesson(path: Path) -> Path:
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
