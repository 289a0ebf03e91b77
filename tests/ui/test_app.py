"""The screens as one application."""

from typing import Any

import pytest
from starlette.routing import Mount

from tests.ui.screens import Screens
from ui.screens import AT_ONCE

pytestmark = pytest.mark.heavy  # the screens themselves


def test_no_event_of_a_screen_waits_for_another_persons(screens: Screens):
    """Gradio gives a handler that says nothing a limit of one at a time, and a place in its API."""
    pages = [route.app.get_blocks() for route in screens.app.routes if isinstance(route, Mount)]  # type: ignore[attr-defined]
    events = [event for page in pages for event in page.fns.values() if event.fn]
    assert len(events) > 50
    assert {event.name for event in events if event.concurrency_limit != AT_ONCE} == set()
    assert {event.name for event in events if event.api_visibility != "private"} == set()


def test_what_a_screen_is_made_of_holds_nothing_of_anybody(screens: Screens):
    """Gradio hands `/config` to whoever may open the screen: it is made once, before anybody is known."""
    admin = screens.gateway.admin
    admin.post("/api/users", json={"name": "Known Person", "role": "user"}).raise_for_status()
    asked = {"model": "fanal", "messages": [{"role": "user", "content": "a private matter"}]}
    admin.post("/v1/chat/completions", json=asked).raise_for_status()
    with screens.browser(screens.gateway.key) as browser:
        for route in [one for one in screens.app.routes if isinstance(one, Mount)]:
            browser.get(f"{route.path}/", headers={"accept": "text/html"}).raise_for_status()
            told = browser.get(f"{route.path}/config").raise_for_status().text
            assert "components" in told
            assert [one for one in ("Known Person", "a private matter") if one in told] == []


def test_a_page_that_nobody_uses_seldom_looks_for_work_and_runs_many_events_at_once(screens: Screens):
    mounted: list[Any] = [route.app for route in screens.app.routes if isinstance(route, Mount)]
    queues = [app.get_blocks()._queue for app in mounted if hasattr(app, "get_blocks")]
    assert len(queues) == 10
    assert min(min(one.sleep_when_free, one.progress_update_sleep_when_free) for one in queues) >= 0.02
    assert min(len(one.active_jobs) for one in queues) >= 500
    assert min(one.ANAYLTICS_CACHE_FREQUENCY for one in queues) > 10**9
