"""What a panel does in a browser, alone on an empty page: nothing is pressed twice, and what is typed is kept until it
is sent and saved.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from ui.pages import static

pytestmark = pytest.mark.heavy

BEGIN = """(script) => {
  const element = document.querySelector('#panel'), tell = [];
  window.sent = [];
  window.redraw = (html) => { element.innerHTML = html; tell.forEach((one) => one()); };
  Function('element', 'trigger', 'watch', script)(element, (_, act) => sent.push(act), (_, one) => tell.push(one));
}"""
SEND = '<button type="submit" data-do="act">Send</button>'
REASON = f'<form><textarea name="reason" data-draft="reason"></textarea>{SEND}</form>'


@dataclass
class Panel:
    page: Page

    def redraw(self, html: str) -> None:
        self.page.evaluate("(html) => redraw(html)", html)

    def sent(self) -> list[dict[str, Any]]:
        return self.page.evaluate("sent")

    def send(self) -> None:
        self.page.locator("[type=submit]").click()


@pytest.fixture
def panel(browser: Browser) -> Iterator[Panel]:
    page = browser.new_page()
    page.route(
        "**/*", lambda route: route.fulfill(content_type="text/html", body="<div id='panel' class='panel'></div>")
    )  # fmt: skip
    page.goto("http://panel.invalid/")
    page.evaluate(BEGIN, static("panel.js"))
    yield Panel(page)
    page.close()


def choice(held: str, key: str = "role") -> str:
    options = "".join(f"<option{' selected' if one == held else ''}>{one}</option>" for one in ("X", "Y"))
    return f'<form><select name="role" data-draft="{key}">{options}</select>{SEND}</form>'


def test_what_is_pressed_while_it_is_being_done_is_sent_once(panel: Panel):
    panel.redraw(REASON)
    panel.page.evaluate("() => [1, 2].forEach(() => document.querySelector('form').requestSubmit())")
    panel.send()
    assert [one["act"] for one in panel.sent()] == ["act"]
    panel.redraw(REASON)
    panel.send()
    assert len(panel.sent()) == 2


def test_a_key_that_is_held_down_sends_once(panel: Panel):
    panel.redraw(REASON)
    panel.page.locator("textarea").focus()
    panel.page.keyboard.down("Control")
    panel.page.keyboard.down("Enter")
    panel.redraw(REASON)  # it is done, and the button is free again
    panel.page.locator("textarea").focus()
    panel.page.keyboard.down("Enter")
    assert len(panel.sent()) == 1


@pytest.mark.parametrize("keys", [("role", "role"), ("role:X", "role:Y")])
def test_a_choice_that_was_saved_does_not_come_back_over_a_later_one(panel: Panel, keys: tuple[str, str]):
    select, (as_x, as_y) = panel.page.locator("select"), keys
    panel.redraw(choice("X", as_x))
    select.select_option("Y")
    panel.send()
    panel.redraw(choice("Y", as_y))
    expect(select).to_have_value("Y")
    panel.redraw(choice("X", as_x))  # somebody else changed it back
    expect(select).to_have_value("X")


def test_a_text_that_was_sent_does_not_come_back_after_it_did_its_work(panel: Panel):
    panel.redraw(REASON)
    panel.page.locator("textarea").fill("It is too slow.")
    panel.send()
    panel.redraw("<p>done</p>")
    panel.redraw(REASON)
    expect(panel.page.locator("textarea")).to_have_value("")


def test_a_text_stays_that_is_not_sent_or_was_refused(panel: Panel):
    field = panel.page.locator("textarea")
    panel.redraw(REASON)
    field.fill("It is")
    panel.redraw("<p>another place</p>")
    panel.redraw(REASON)
    expect(field).to_have_value("It is")
    field.fill("It is too slow.")
    panel.send()
    panel.redraw(REASON)  # a timer's redraw: the service has not saved it
    expect(field).to_have_value("It is too slow.")


def test_what_is_typed_after_sending_stays_when_the_sent_is_saved(panel: Panel):
    saved = REASON.replace("></textarea>", ">It is too slow.</textarea>")
    panel.redraw(REASON)
    panel.page.locator("textarea").fill("It is too slow.")
    panel.send()
    panel.page.locator("textarea").fill("It is too slow. And too long.")
    panel.redraw(saved)
    expect(panel.page.locator("textarea")).to_have_value("It is too slow. And too long.")


def test_what_an_undo_shows_again_is_still_there(panel: Panel):
    form = choice("X").replace("<form>", "<form data-stays>")
    panel.redraw(form)
    panel.page.locator("select").select_option("Y")
    panel.send()
    panel.redraw("<p>judged</p>")
    panel.redraw(form)
    expect(panel.page.locator("select")).to_have_value("Y")
