"""The screens as one application."""

from typing import Any

import pytest
from starlette.routing import Mount

from tests.ui.screens import Screens

pytestmark = pytest.mark.heavy  # the screens themselves


def test_a_page_that_nobody_uses_seldom_looks_for_work(screens: Screens):
    mounted: list[Any] = [route.app for route in screens.app.routes if isinstance(route, Mount)]
    pauses = [app.get_blocks()._queue.sleep_when_free for app in mounted if hasattr(app, "get_blocks")]
    assert len(pauses) == 10
    assert min(pauses) >= 0.02
