"""What a person does in the chat, in a real browser and in both languages, before a double of the engine."""

import re

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.ui.browsing import PATIENCE, Watched, ask, feedback_of, no_sideways_scroll, signed_in, sound
from tests.ui.screens import Screens
from ui.sessions import COOKIE
from ui.words import Words, words

pytestmark = pytest.mark.heavy

LOCALES = {"en": "en-GB", "fr": "fr-FR"}
MATHS = "A sum: $$\\sum_{i=1}^n i$$ and \\(x^2\\), for $5 or $6."
TABLE = "Table:\n\n| Season | Fare |\n|---|---|\n| Summer | 12 |\n\n```python\nfare = 12\n```"


@pytest.fixture(params=LOCALES)
def w(request: pytest.FixtureRequest) -> Words:
    return words(request.param)


def opened(browser: Browser, screens: Screens, name: str, w: Words, **options: object) -> Watched:
    return signed_in(browser, screens, name, locale=LOCALES[w.language], **options)


def answered(page: Page, question: str) -> Locator:
    """Ask, and wait for the answer."""
    before = page.locator("[data-completion]").count()
    ask(page, question)
    turns = page.locator("[data-completion]")
    expect(turns).to_have_count(before + 1, timeout=PATIENCE)
    return turns.last


def asked_again(page: Page, turn: Locator) -> None:
    was = turn.get_attribute("data-completion")
    turn.locator("[data-do=regenerate]").click()
    expect(page.locator(f"[data-completion='{was}']")).to_have_count(0, timeout=PATIENCE)
    expect(page.locator("[data-completion]").last).to_be_visible(timeout=PATIENCE)


def test_an_answer_asked_for_again_is_a_branch_and_one_question_is_asked_of_the_two(
    browser: Browser, screens: Screens, w: Words
):
    watched = opened(browser, screens, "Chooser", w)
    page = watched.page
    answered(page, "Good morning")
    turn = answered(page, "VARY bicycle")
    first = turn.locator(".text").first.inner_text()
    asked_again(page, turn)
    expect(turn.locator(".branches")).to_contain_text(w("branch_of", number=2, of=2))
    expect(turn.locator(".rival")).to_contain_text(w("compare_question"))
    second = turn.locator(".text").first.inner_text()
    assert first != second
    turn.locator("[data-do=compare][data-value=better]").click()
    expect(turn.locator(".rival")).to_contain_text(w("verdict_better"), timeout=PATIENCE)
    page.reload()
    expect(turn.locator(".rival")).to_contain_text(w("verdict_better"), timeout=PATIENCE)
    turn.locator(".rival [data-do=retract]").click()
    expect(turn.locator(".rival")).to_contain_text(w("compare_question"), timeout=PATIENCE)
    turn.locator("[data-do=compare][data-value=same]").click()
    expect(turn.locator(".rival")).to_contain_text(w("verdict_same"), timeout=PATIENCE)
    turn.locator(".branches [data-do=show]").first.click()
    expect(turn.locator(".text").first).to_have_text(first, timeout=PATIENCE)
    expect(page.locator("[data-completion]")).to_have_count(2)
    page.reload()
    expect(turn.locator(".text").first).to_have_text(first, timeout=PATIENCE)
    said = feedback_of(watched, screens)
    watched.close()
    kinds = [one["preference"] for one in said if one["type"] == "preference"]
    assert kinds == ["tie", "better"]


def test_a_changed_question_is_a_branch_and_the_earlier_one_is_kept(
    browser: Browser, screens: Screens, w: Words
):
    watched = opened(browser, screens, "Editor", w)
    page = watched.page
    turn = answered(page, "first wording")
    answered(page, "what followed")
    page.locator("[data-completion]").first.locator(".asked button[data-open]").first.click()
    form = page.locator("[data-completion]").first.locator(".edit")
    expect(form.locator("textarea")).to_have_value("first wording")
    form.locator("textarea").fill("second wording")
    form.locator("[data-do=edit]").click()
    turn = page.locator("[data-completion]")
    expect(turn.locator(".question")).to_have_text(["second wording"], timeout=PATIENCE)
    expect(turn).to_have_count(1)
    expect(turn.locator(".asked .branches")).to_contain_text(w("branch_of", number=2, of=2))
    turn.locator(".asked .branches [data-do=show]").first.click()
    expect(turn.locator(".question")).to_have_text(["first wording", "what followed"], timeout=PATIENCE)
    watched.close()


def test_a_better_answer_is_shown_as_a_difference_and_undone(browser: Browser, screens: Screens, w: Words):
    watched = opened(browser, screens, "Mender", w)
    turn = answered(watched.page, "It costs six crowns today")
    page = watched.page
    page.set_viewport_size({"width": 1280, "height": 500})
    turn.locator(".pen").click()
    save, dock = turn.locator("[data-do=correct]"), page.locator("#composer")
    page.wait_for_function(
        "([save, dock]) => save.getBoundingClientRect().bottom <= dock.getBoundingClientRect().top",
        arg=[save.element_handle(), dock.element_handle()],
    )
    field = turn.locator("textarea[name=correction]")
    field.fill(field.input_value().replace("six", "four"))
    turn.locator("[data-do=correct]").click()
    expect(turn.locator(".changes del")).to_contain_text("six", timeout=PATIENCE)
    expect(turn.locator(".changes ins")).to_contain_text("four")
    turn.locator(".tools").get_by_text(w("undo")).click()
    expect(turn.locator(".better")).to_have_count(0, timeout=PATIENCE)
    expect(turn.locator(".said")).to_have_text(w("said_retracted"))
    watched.close()


def test_conversations_are_found_by_a_word_of_their_text_and_pinned(
    browser: Browser, screens: Screens, w: Words
):
    watched = opened(browser, screens, "Finder", w)
    page = watched.page
    answered(page, "Où est l’élève ?")
    page.locator("#search [data-do=new]").click()
    expect(page.locator(".welcome")).to_be_visible(timeout=PATIENCE)
    answered(page, "Something else")
    entries = page.locator("#side li")
    expect(entries).to_have_count(2, timeout=PATIENCE)
    page.locator("#search input").press_sequentially("ELEVE")
    expect(page.locator("#side")).to_contain_text(w("search_found", n=1), timeout=PATIENCE)
    expect(entries).to_have_count(1)
    page.locator("#search input").fill("nothing like it")
    expect(page.locator("#side")).to_contain_text(
        w("search_nothing", words="nothing like it"), timeout=PATIENCE
    )
    page.locator("#search input").fill("")
    expect(entries).to_have_count(2, timeout=PATIENCE)
    entries.last.locator("summary").click()
    entries.last.locator("[data-do=pin]").click()
    expect(entries.first).to_contain_text("Où est", timeout=PATIENCE)
    expect(entries.first.locator(".mark")).to_have_attribute("title", w("pinned"))
    watched.close()


def test_a_shared_conversation_is_read_by_a_colleague_and_by_nobody_else(
    browser: Browser, screens: Screens, w: Words
):
    watched = opened(browser, screens, "Sharer", w)
    page = watched.page
    answered(page, "shared matter")
    page.locator(".settled .menu summary").first.click()
    page.locator("[data-do=share]").click()
    expect(page.locator("[data-link]")).to_have_value(re.compile(r"http://.*/shared/"), timeout=PATIENCE)
    link = page.locator("[data-link]").input_value()
    colleague = opened(browser, screens, "Reader", w)
    colleague.page.goto(link)
    expect(colleague.page.locator(".question")).to_have_text("shared matter")
    expect(colleague.page.locator("main")).to_contain_text(w("shared_by", person="Sharer")[:12])
    expect(colleague.page.locator("textarea, [data-do]")).to_have_count(0)
    sound(colleague.page)
    sound(page)
    assert httpx.get(link).status_code == 303
    page.locator("[data-do=unshare]").click()
    expect(page.locator(".settled .said")).to_have_text(w("said_unshared"), timeout=PATIENCE)
    colleague.page.reload()
    expect(colleague.page.locator("h1")).to_have_text(w("shared_gone_title"))
    sound(colleague.page)
    colleague.context.clear_cookies()
    colleague.page.goto(link)
    expect(colleague.page.locator("[name=key]")).to_be_attached()
    sound(colleague.page)
    colleague.close()
    watched.close()


def test_a_conversation_is_kept_from_training_and_taken_away(browser: Browser, screens: Screens, w: Words):
    watched = opened(browser, screens, "Discreet", w)
    page = watched.page
    answered(page, "a private matter")
    page.locator(".settled .menu summary").last.click()
    page.locator("[data-do=training]").click()
    expect(page.locator(".settled .chip.warn")).to_have_text(w("kept_from_training"), timeout=PATIENCE)
    page.reload()
    expect(page.locator(".settled .chip.warn")).to_have_text(w("kept_from_training"), timeout=PATIENCE)
    page.locator(".settled .menu summary").last.click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Markdown").click()
    assert "a private matter" in download.value.path().read_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    assert '"training": false' in download.value.path().read_text()
    address = page.get_by_role("link", name="JSON").get_attribute("href")
    watched.close()
    stranger = screens.browser(screens.token_of("Stranger to it", "administrator"))
    assert stranger.get(address or "").status_code == 404
    assert screens.browser().get(address or "").status_code == 401


def test_a_text_file_goes_along_and_what_cannot_be_read_is_said(browser: Browser, screens: Screens, w: Words):
    watched = opened(browser, screens, "Clerk", w)
    page = watched.page
    chooser = page.locator("#files input[type=file]")
    chooser.set_input_files([{"name": "plan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF"}])
    said = page.locator("#files [role=alert]")
    expect(said).to_have_text(w("attach_kind", name="plan.pdf"), timeout=PATIENCE)
    chooser.set_input_files([{"name": "long.txt", "mimeType": "text/plain", "buffer": b"x" * 100_001}])
    expect(said).to_have_text(w("attach_large", name="long.txt", largest=100), timeout=PATIENCE)
    prices = "route;crowns\nÅland;14".encode("cp1252")
    chooser.set_input_files([{"name": "prices.csv", "mimeType": "text/csv", "buffer": prices}])
    expect(page.locator("#files .paper")).to_contain_text("prices.csv", timeout=PATIENCE)
    page.locator("#composer textarea").press("Enter")
    expect(said).to_have_text(w("attach_no_question"), timeout=PATIENCE)
    turn = answered(page, "Which is dearest?")
    expect(page.locator("#files .paper")).to_have_count(0)
    expect(turn.locator(".question details summary")).to_contain_text("prices.csv")
    turn.locator(".question details summary").click()
    expect(turn.locator(".question pre")).to_contain_text("Åland;14")
    sent = screens.gateway.engine_bodies[-1]["messages"][-1]["content"]
    assert sent == 'Which is dearest?\n\n<document name="prices.csv">\nroute;crowns\nÅland;14\n</document>'
    expect(page.locator("#side li.here")).to_contain_text("Which is dearest?")
    watched.close()


def test_formulas_tables_and_code_are_set_without_calling_anybody(
    browser: Browser, screens: Screens, w: Words
):
    watched = opened(browser, screens, "Professor", w)
    page = watched.page
    turn = answered(page, MATHS)
    expect(turn.locator(".text .formula .katex")).to_have_count(2, timeout=PATIENCE)
    expect(turn.locator(".text")).to_contain_text("for $5 or $6")
    page.locator("#composer textarea").fill(TABLE)
    page.locator("#composer .submit-button").click()
    turn = page.locator("[data-completion]").last
    expect(turn.locator(".text th")).to_have_count(2, timeout=PATIENCE)
    expect(turn.locator(".text td").first).to_have_css("overflow-wrap", "break-word")  # no word in pieces
    expect(turn.locator(".text .code .mi")).to_have_text("12")
    assert page.evaluate("[...document.fonts].some(f => f.family.includes('KaTeX') && f.status == 'loaded')")
    watched.close()


def test_light_or_dark_and_the_language_are_a_persons_choice_and_stay(
    browser: Browser, screens: Screens, w: Words
):
    watched = opened(browser, screens, "Painter", w, color_scheme="light")
    page = watched.page
    answered(page, "a matter")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator(".me summary").click()
    page.locator("[data-look=dark]").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    expect(page.locator("[data-completion]")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate(paper) == dark
    sound(page)
    page.locator(".me summary").click()
    page.locator(".me a[href^='/language']").click()
    other = words({"en": "fr", "fr": "en"}[w.language])
    expect(page.locator("#search")).to_contain_text(other("new_conversation"), timeout=PATIENCE)
    expect(page.locator("[data-completion]")).to_be_visible(timeout=PATIENCE)
    # The browser speaks the other language; the choice wins, with Gradio's script long at work.
    expect(page.locator("html")).to_have_attribute("lang", other.language)
    watched.close()


def test_a_question_typed_but_not_sent_outlives_a_reload(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Drafter")
    page = watched.page
    answered(page, "a matter")
    page.locator("#composer textarea").fill("half a thou")
    page.reload()
    expect(page.locator("#composer textarea")).to_have_value("half a thou", timeout=PATIENCE)
    expect(page.locator("[data-completion]")).to_have_count(1, timeout=PATIENCE)
    answered(page, "a whole thought")
    page.reload()
    expect(page.locator("[data-completion]")).to_have_count(2, timeout=PATIENCE)
    expect(page.locator("#composer textarea")).to_have_value("")
    watched.close()


def test_a_question_sent_before_its_conversation_is_shown_goes_into_it(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Hasty")
    page = watched.page
    answered(page, "a matter")
    held: list[Route] = []
    page.route("**/queue/join*", lambda request: held.append(request))
    page.reload()
    ask(page, "more of it")
    page.wait_for_timeout(500)
    expect(page.locator("#composer textarea")).to_have_value("more of it")
    assert held, "the page asks for its conversation"
    page.unroute("**/queue/join*")  # and they go on
    expect(page.locator("[data-completion] .question")).to_have_text(
        ["a matter", "more of it"], timeout=PATIENCE
    )
    expect(page.locator("#side li")).to_have_count(1)
    watched.close()


def test_an_answer_growing_in_one_tab_grows_in_another(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Twice")
    page = watched.page
    ask(page, "SLOW " + "word " * 120)
    expect(page.locator("#growing .text")).to_contain_text("word", timeout=PATIENCE)
    second = watched.context.new_page()
    second.goto(page.url)
    expect(second.locator("#growing .text, [data-completion]").first).to_contain_text(
        "word", timeout=PATIENCE
    )
    for tab in (page, second):
        expect(tab.locator("[data-completion] .text")).to_contain_text("word word", timeout=PATIENCE)
    watched.close()


def test_what_ones_feedback_changed_says_so_when_nothing_has_yet(
    browser: Browser, screens: Screens, w: Words
):
    watched = opened(browser, screens, "Hopeful", w)
    page = watched.page
    turn = answered(page, "a matter")
    turn.get_by_label(w("thumb_up")).click()
    expect(turn.locator(".said")).to_be_visible(timeout=PATIENCE)
    page.locator("#side [data-do=learnt]").click()
    expect(page.locator(".learnt h1")).to_have_text(w("learnt"), timeout=PATIENCE)
    expect(page.locator(".learnt")).to_contain_text(w("learnt_waiting", n=1))
    expect(page.locator(".learnt")).to_contain_text(w("learnt_nothing_title"))
    page.reload()
    expect(page.locator(".learnt h1")).to_be_visible(timeout=PATIENCE)
    watched.close()


def test_the_keyboard_alone_asks_rates_and_reaches_every_menu(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Typist")
    page = watched.page
    answered(page, "a matter")
    focused = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
    page.locator(".settled summary").first.focus()
    reached = []
    for _ in range(12):
        reached.append(page.evaluate(focused))
        page.keyboard.press("Tab")
    assert {"Share", "Change the question", "Good answer", "Bad answer", "Copy", "Answer again"} <= set(
        reached
    )
    page.locator(".settled summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".settled .pop").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".settled .pop").first).to_be_hidden()
    assert page.evaluate(focused) == "Share"
    page.get_by_label("Bad answer").focus()
    page.keyboard.press("Space")
    expect(page.locator(".said")).to_be_visible(timeout=PATIENCE)
    watched.close()


def test_who_cannot_see_hears_that_an_answer_is_there(browser: Browser, screens: Screens, w: Words):
    watched = opened(browser, screens, "Listener", w)
    page = watched.page
    ask(page, "LATE question")
    told = page.locator("#told[role=status]")
    expect(told).to_have_text(w("thinking"), timeout=PATIENCE)
    expect(told).to_have_text(w("answer_ready", title="Fanal"), timeout=PATIENCE)
    expect(page.locator(".thread[role=log]")).to_have_attribute("aria-live", "off")
    watched.close()


def test_the_new_parts_fit_a_phone(browser: Browser, screens: Screens, w: Words):
    watched = opened(
        browser, screens, "Walker", w, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
    )
    page = watched.page
    turn = answered(page, "VARY " + TABLE.replace("\n", " ") + " longword" * 30)
    asked_again(page, turn)
    page.locator("#composer textarea").fill(TABLE + " long" * 80)
    page.locator("#composer .submit-button").click()
    expect(page.locator("[data-completion]").last.locator(".text .code")).to_be_visible(timeout=PATIENCE)
    assert no_sideways_scroll(page)
    page.locator(".settled .menu summary").first.click()
    page.locator("[data-do=share]").click()
    expect(page.locator("[data-link]")).to_be_visible(timeout=PATIENCE)
    sound(page)
    box = page.locator(".settled .pop").first.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.goto(page.locator("[data-link]").input_value())
    expect(page.locator(".question").last).to_be_visible()
    sound(page)
    watched.close()


def test_nobody_signed_in_acts_for_another(browser: Browser, screens: Screens):
    """The page names the conversation; whose it is is asked of the gateway each time."""
    owner = signed_in(browser, screens, "Owner")
    answered(owner.page, "mine alone")
    conversation = owner.page.url.partition("c=")[2]
    stranger = screens.token_of("Thief", "administrator")
    headers = {"authorization": f"Bearer {stranger}"}
    with httpx.Client(base_url=screens.gateway.url, headers=headers) as client:
        for method, path, body in (
            ("PATCH", "", {"pinned": True}), ("PATCH", "", {"training": False}), ("POST", "/share", None),
            ("GET", "/export", None), ("DELETE", "", None),
        ):  # fmt: skip
            answer = client.request(method, f"/api/conversations/{conversation}{path}", json=body)
            assert answer.status_code == 404
    owner.context.add_cookies([{"name": COOKIE, "value": stranger, "url": screens.url, "httpOnly": True}])
    owner.page.locator(".settled .menu summary").last.click()
    owner.page.locator("[data-do=training]").click()
    # The page was its owner's: it is loaded again, as the one of who is signed in now.
    expect(owner.page.locator("#side")).to_contain_text(words("en")("no_conversations"), timeout=PATIENCE)
    expect(owner.page.get_by_text("mine alone")).to_have_count(0)
    owner.close()
