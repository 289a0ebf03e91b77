"""The usability page tells what ten tasks cost; each is played here in a real browser and held against it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.ui.screens import Screens
from tests.ui.usability import BEGIN, END, PAGE, PICTURES, TASKS, Cost, company, play, told

FEW_WORDS = 3
"""Seconds by which two readings may differ: what waits for a verdict is longer at times."""
LARGEST = 120_000
"""Bytes of a picture."""


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> Iterator[Screens]:
    """Of their own: a company with its history."""
    with company(tmp_path_factory.mktemp("usability"), schema) as running:
        yield running


@pytest.mark.heavy
def test_each_task_costs_the_clicks_and_seconds_that_the_page_tells(browser: Browser, screens: Screens):
    costs = {task.name: play(browser, screens, task, lambda _: None) for task in TASKS}
    page = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    cells = [row.split(" | ") for row in page.splitlines()[2 : 2 + len(TASKS)]]
    kept = {
        task.name: Cost(int(row[3]), int(row[4].rstrip(" |"))) for task, row in zip(TASKS, cells, strict=True)
    }
    assert page == told(kept), "run: python -m tests.ui.usability"
    assert {name: cost.clicks for name, cost in kept.items()} == {
        name: cost.clicks for name, cost in costs.items()
    }
    assert all(abs(kept[name].seconds - cost.seconds) <= FEW_WORDS for name, cost in costs.items()), costs


def test_each_task_has_a_picture_that_loads_quickly():
    kept = {place.stem: place.stat().st_size for place in PICTURES.glob("*.png")}
    assert kept.keys() == {task.name for task in TASKS}
    assert max(kept.values()) < LARGEST
