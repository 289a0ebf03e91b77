"""The forms of assistants, without a browser: what is drawn, and what is sent of what comes back."""

import html
import json
import re
from typing import Any

import httpx
import pytest

from tests.ui.test_views import listed
from ui import assistants
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.words import refusal, words

EN = words("en")


def assistant(**more: Any) -> dict[str, Any]:
    fields = {
        "id": "asst_1", "name": "desk", "title": "Desk", "description": "Ask <me>.", "starters": ["Hi?", "Why?"],
        "instructions": "Be brief.\n\nBe kind.", "languages": ["en"], "temperature": 0.25, "max_tokens": 512,
        "live_release": None, "staged_release": None, "staged_share": 0, "cases_file": "file-gone", "created_at": 1,
    }  # fmt: skip
    return fields | more


class House:
    """A gateway with one assistant, which notes what it is asked to change."""

    def __init__(self, **more: Any) -> None:
        self.assistant, self.changes = assistant(**more), []
        self.gateway = Gateway("http://gateway", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            self.changes.append(json.loads(request.content))
            return httpx.Response(200, json=self.assistant)
        one = [] if request.url.path == "/v1/files" else [self.assistant]
        return httpx.Response(200, json=listed(*one))

    async def drawn(self) -> str:
        return await assistants.listing(self.gateway, "t", EN)

    async def form(self) -> dict[str, list[str]]:
        """What a browser sends of the form when nobody changed anything."""
        (was,) = re.findall(r'name="was" value="([^"]*)"', await self.drawn())
        held = html.unescape(was)
        return {name: [text] for name, text in json.loads(held).items()} | {"was": [held]}

    async def saved(self, fields: dict[str, list[str]]) -> str:
        return await assistants.do(self.gateway, "t", Act(act="change", id="desk", fields=fields))


async def test_only_what_somebody_changed_is_sent():
    house = House()
    form = await house.form()
    assert await house.saved(form | {"title": ["Front desk"]}) == "desk"
    # As a browser may send the lines of a text, and a person the spaces around it.
    untouched = {"instructions": ["Be brief.\r\n\r\nBe kind.\r\n"], "starters": ["Hi?\r\n\r\n Why? "]}
    await house.saved(form | untouched | {"temperature": ["0.5"], "starters": ["Hi?\r\nWhy?"]})
    await house.saved(form | {"starters": [""], "cases_file": [""]})
    assert house.changes == [
        {"title": "Front desk"},
        {"temperature": 0.5},
        {"starters": [], "cases_file": None},
    ]


async def test_nothing_is_sent_when_nothing_was_changed():
    house = House()
    assert await house.saved(await house.form()) == "desk"
    assert house.changes == []


@pytest.mark.parametrize("was", ["", "no json", "[]", "5", "{}"])
async def test_all_is_sent_when_what_was_drawn_cannot_be_told(was: str):
    house = House()
    await house.saved(await house.form() | {"was": [was]})
    ours = ("title", "description", "instructions", "starters", "temperature", "max_tokens", "cases_file")
    assert house.changes == [{name: house.assistant[name] for name in ours}]


async def test_a_file_of_questions_that_is_listed_no_more_stays_chosen():
    page = await House().drawn()
    assert f'<option value="file-gone" selected>{EN("assistant_cases_unlisted")}</option>' in page
    assert EN("assistant_cases_unlisted") not in await House(cases_file=None).drawn()


@pytest.mark.parametrize("field", ["temperature", "max_tokens"])
async def test_a_figure_that_was_cleared_is_refused_and_not_replaced(field: str):
    house = House()
    with pytest.raises(Refused) as refused:
        await house.saved(await house.form() | {field: [""]})
    assert refusal(EN, refused.value) == EN(f"error_assistant_{field}")
    assert house.changes == []


async def test_every_temperature_that_the_service_takes_can_be_typed():
    page = await House().drawn()
    assert 'step="any" value="0.25"' in page
    assert 'step="0.1"' not in page
