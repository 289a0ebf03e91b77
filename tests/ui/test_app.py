"""The screens as one application."""

from typing import Any

import pytest
from starlette.routing import Mount

from tests.ui.screens import Screens

pytestmark = pytest.mark.heavy  # the screens themselves


def test_a_page_that_nobody_uses_seldom_looks_for_work_and_runs_many_events_at_once(screens: Screens):
    mounted: list[Any] = [route.app for route in screens.app.routes if isinstance(route, Mount)]
    queues = [app.get_blocks()._queue for app in mounted if hasattr(app, "get_blocks")]
    assert len(queues) == 10
    assert min(min(one.sleep_when_free, one.progress_update_sleep_when_free) for one in queues) >= 0.02
    assert min(len(one.active_jobs) for one in queues) >= 500
    assert min(one.ANAYLTICS_CACHE_FREQUENCY for one in queues) > 10**9
