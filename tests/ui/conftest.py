from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.ui.browsing import Watched
    from tests.ui.screens import Screens


@pytest.fixture(scope="session")
def screens(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> "Iterator[Screens]":
    """One for the whole room: building Gradio's applications takes seconds, as importing it does."""
    from tests.ui.screens import running_screens

    with running_screens(tmp_path_factory.mktemp("screens"), schema) as running:
        yield running


@pytest.fixture(scope="module")
def browser(screens: "Screens") -> "Iterator[Browser]":
    """After the screens: it runs a loop of its own in this thread, in which they could not be prepared."""
    from playwright.sync_api import sync_playwright

    from tests.ui.browsing import chromium

    with sync_playwright() as playwright, chromium(playwright) as started:
        yield started


@pytest.fixture(params=["desk-en", "phone-fr"])
def studio(request: pytest.FixtureRequest, browser: "Browser", screens: "Screens") -> "Iterator[Watched]":
    """The studio as a reviewer sees it: by day on a desk in English, by night on a phone in French."""
    from playwright.sync_api import expect

    from tests.ui.browsing import DESK, PATIENCE, PHONE, signed_in

    look, base = (DESK, "") if request.param == "desk-en" else (PHONE, "/fr")
    watched = signed_in(browser, screens, "Rita", "reviewer", **look)
    watched.page.goto(f"{screens.url}{base}/studio/")
    expect(watched.page.locator("[data-step='1'] h2")).to_be_visible(timeout=PATIENCE)
    yield watched
    watched.close()
