"""A real Chromium before the screens: a fresh browser for each person, which notes faults and calls elsewhere."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

from tests.ui.screens import Screens
from ui.sessions import COOKIE
from ui.words import Words, words

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESK: dict[str, Any] = {
    "viewport": {"width": 1440, "height": 900},
    "color_scheme": "light",
    "locale": "en-GB",
}
"""An English desk by day, and a French phone by night."""
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "is_mobile": True, "has_touch": True,
    "locale": "fr-FR",
}  # fmt: skip
GRAVE = ("serious", "critical")
PATIENCE = 60_000
"""Milliseconds to wait for anything on a page."""
expect.set_options(timeout=PATIENCE)


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    there = shutil.which("chromium") or shutil.which("google-chrome")  # what `make browser` looks for
    browser = playwright.chromium.launch(executable_path=there, args=QUIET)
    yield browser
    browser.close()


class Watched:
    """A page of a fresh browser that notes faults of the page and calls of other machines."""

    def __init__(self, browser: Browser, url: str, **options: object) -> None:
        self.url, self.faults, self.calls_elsewhere = url, [], []
        self.context: BrowserContext = browser.new_context(
            locale=str(options.pop("locale", "en-GB")), **options
        )  # type: ignore[arg-type]
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("dialog", lambda dialog: dialog.accept())

    def _note(self, address: str) -> None:
        if not address.startswith((self.url, "data:", "blob:")):
            self.calls_elsewhere.append(address)

    def close(self) -> None:
        self.context.close()
        assert self.faults == []
        assert self.calls_elsewhere == []


def signed_in(
    browser: Browser, screens: Screens, name: str, role: str = "user", **options: object
) -> Watched:
    watched = Watched(browser, screens.url, **options)
    token = screens.token_of(name, role)
    watched.context.add_cookies([{"name": COOKIE, "value": token, "url": screens.url, "httpOnly": True}])
    watched.page.goto(screens.url)
    expect(watched.page.locator(".welcome h1, .thread")).to_be_visible(timeout=PATIENCE)
    return watched


def ask(page: Page, question: str) -> None:
    page.locator("#composer textarea").fill(question)
    page.keyboard.press("Enter")


def feedback_of(watched: Watched, screens: Screens) -> list[dict[str, Any]]:
    """What the person of this browser said of answers, newest first."""
    token = next(one["value"] for one in watched.context.cookies() if one["name"] == COOKIE)
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=screens.gateway.url, headers=headers) as person:
        assert person.get("/api/me").json()["role"] == "user", "a reviewer is shown everybody's"
        return person.get("/api/feedback").raise_for_status().json()["data"]


def words_of(page: Page) -> Words:
    """The language of the screen that is open."""
    return words("fr" if "/fr/" in page.url else "en")


def open_tab(page: Page, name: str) -> None:
    """A tab that has no room on a phone stands in a menu."""
    tab, menu = page.get_by_role("tab", name=name), page.locator(".overflow-menu > button")
    expect(
        tab.or_(menu).filter(visible=True).first
    ).to_be_visible()  # drawn; after a reload it takes a moment
    if not tab.is_visible():
        menu.click()
        tab = page.locator(".overflow-dropdown").get_by_role("button", name=name)
    tab.click()


def sound(page: Page, panel: str | None = None) -> None:
    """Nothing serious for somebody who hears the page or this panel of it, uses no mouse, or sees little; nothing
    beside the screen."""
    found = Axe().run(page, context=panel).response["violations"]
    grave = [(one["id"], [n["target"] for n in one["nodes"]]) for one in found if one["impact"] in GRAVE]
    assert not grave, grave
    assert no_sideways_scroll(page)


def no_sideways_scroll(page: Page) -> bool:
    """By the screen's width: a phone's window grows with a page that is too wide."""
    return page.evaluate("document.documentElement.scrollWidth <= screen.width")
