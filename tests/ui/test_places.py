"""A place in the studio and its address."""

import pytest

from ui.places import Place, read
from ui.rounds import Choices

pytestmark = pytest.mark.heavy  # a round brings Gradio along


def test_a_place_is_read_again_from_its_address():
    chosen = Choices(step=3, source="file", file="file-1", aside=False, settings=(("n_epochs", "4"),))
    there = Place("fanal", "training", "ftjob-1", chosen)
    query = dict(pair.split("=") for pair in there.address.removeprefix("?").split("&"))
    assert read(query) == there
    assert read({}) == Place()
    assert Place(assistant="round").address == "?assistant=round"


def test_nothing_odd_comes_from_an_address():
    odd = read(
        {"tab": "evil", "step": "9", "source": "evil", "passes": "7000", "file": "f", "job": "j" * 300}
    )
    assert odd == Place(job="j" * 100, choices=Choices(file="f"))
    assert read({"step": "3"}).choices.step == 1  # of nothing there is no third step
