"""The screens as one application."""

from typing import Any

from starlette.routing import Mount

from ui.app import create_app
from ui.settings import Settings


def test_a_page_that_nobody_uses_seldom_looks_for_work():
    mounted: list[Any] = [
        route.app for route in create_app(Settings(port=1)).routes if isinstance(route, Mount)
    ]
    pauses = [app.get_blocks()._queue.sleep_when_free for app in mounted if hasattr(app, "get_blocks")]
    assert len(pauses) == 6
    assert min(pauses) >= 0.02
