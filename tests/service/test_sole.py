"""A home has one service and one gateway; a second one is told so before it touches anything."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from service import cli
from service.errors import Conflict
from service.settings import Settings
from service.sole import sole


@pytest.mark.parametrize(("what", "start"), [("gateway", cli.gateway), ("service", cli.run)])
def test_a_second_one_on_a_home_is_refused_before_it_starts_anything(
    tmp_path: Path, what: str, start: Callable[[Settings, Namespace], object]
):
    with sole(tmp_path, what), pytest.raises(Conflict, match=f"A {what} runs already on {tmp_path}. Stop it"):
        start(Settings(home=tmp_path), Namespace())
    assert [path.name for path in tmp_path.iterdir()] == [f"{what}.lock"]
    with sole(tmp_path, what), sole(tmp_path / "other", what):
        """The place is free again, and another home has places of its own."""
