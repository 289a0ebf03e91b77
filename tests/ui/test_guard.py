import asyncio

import httpx
import pytest
from fastapi import Depends, FastAPI

from tests.serving import free_port, serving
from tests.ui.screens import Screens
from ui.client import Gateway
from ui.guard import Guard, screen_of
from ui.sessions import COOKIE, People, only
from ui.settings import Settings

pytestmark = pytest.mark.heavy  # the screens themselves

CLOSED = {
    "user": ["/review", "/studio", "/admin", "/fr/review", "/fr/studio", "/fr/admin"],
    "reviewer": ["/admin", "/fr/admin"],
    "administrator": [],
}
NAMES = ("", "/compare", "/review", "/studio", "/admin")
SCREENS = [f"{language}{name}" for language in ("", "/fr") for name in NAMES]
PAGE = {"accept": "text/html"}
CALL = {"data": [], "fn_index": 0, "session_hash": "abc", "event_data": None, "trigger_id": None}


def attempts(browser: httpx.Client, screen: str) -> list[int]:
    """What a direct call of everything that holds or does something on a screen is answered with."""
    return [
        browser.get(f"{screen}/config").status_code,
        browser.get(f"{screen}/gradio_api/info").status_code,
        browser.post(f"{screen}/gradio_api/queue/join", json=CALL).status_code,
        browser.post(f"{screen}/gradio_api/run/predict", json=CALL).status_code,
        browser.post(f"{screen}/gradio_api/upload", files={"files": ("a.jsonl", b"{}")}).status_code,
        browser.post(
            f"{screen}/gradio_api/component_server",
            json={"session_hash": "abc", "component_id": 1, "fn_name": "x", "data": []},
        ).status_code,
    ]


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_of_a_screen_answers_somebody_unknown(screens: Screens, screen: str):
    with screens.browser() as browser:
        assert set(attempts(browser, screen)) == {401}
        assert browser.get(f"{screen}/", headers=PAGE).status_code == 303


@pytest.mark.parametrize("role", CLOSED)
def test_nothing_of_a_screen_answers_a_role_that_it_is_not_for(screens: Screens, role: str):
    with screens.browser(screens.token_of(f"A {role}", role)) as browser:
        for screen in SCREENS:
            page = browser.get(f"{screen}/", headers=PAGE)
            if screen in CLOSED[role]:
                assert set(attempts(browser, screen)) == {403}, screen
                assert page.status_code == 403
                assert f"A {role}" in page.text
                assert "gradio" not in page.text
            else:
                assert browser.get(f"{screen}/config").status_code == 200
                assert page.status_code == 200


def test_a_report_is_for_reviewers_and_is_asked_for_in_their_name(screens: Screens):
    with screens.browser() as browser:
        assert browser.get("/studio/report/eval_1").status_code == 401
    with screens.browser(screens.token_of("Reader", "user")) as browser:
        assert browser.get("/studio/report/eval_1").status_code == 403
    with screens.browser(screens.token_of("Judge", "reviewer")) as browser:
        page = browser.get("/studio/report/eval_1")
        assert page.status_code == 404
        assert "That is not there any more, or not yours." in page.text
        assert "Cela n’existe plus" in browser.get("/studio/report/eval_1?lang=fr").text


async def test_a_person_whose_account_is_closed_is_out_when_the_memory_of_them_ends(screens: Screens):
    gateway = Gateway(screens.gateway.url)
    people, token = People(gateway, life=0.3), screens.token_of("Leaver", "user")
    user = await people.who(token)
    assert user is not None
    screens.gateway.admin.patch(f"/api/users/{user.id}", json={"active": False}).raise_for_status()
    await asyncio.sleep(0.4)
    assert await people.who(token) is None
    await gateway.close()


def test_without_its_gateway_a_page_says_to_wait_and_data_are_refused():
    gateway, app = Gateway(f"http://127.0.0.1:{free_port()}"), FastAPI()
    people = People(gateway)

    @app.get("/config", dependencies=[Depends(only(people, "user"))])
    async def config() -> str:
        return "a screen's data"

    app.add_middleware(Guard, people=people, settings=Settings())
    with serving(app) as url:
        cookies = {COOKIE: "tb-some"}
        page = httpx.get(f"{url}/", headers=PAGE, cookies=cookies)
        assert page.status_code == 503
        assert "tries again by itself" in page.text
        assert httpx.get(f"{url}/config", cookies=cookies).status_code == 503


def test_screens_send_nothing_of_the_library_about_its_maker(screens: Screens):
    with screens.browser(screens.gateway.key) as browser:
        config = browser.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config["footer_links"] == []
    assert not config.get("run_history")


@pytest.mark.parametrize(
    ("path", "screen"),
    [("/", ("en", "")), ("/studio", ("en", "studio")), ("/fr/admin/", ("fr", "admin")), ("/fr", ("fr", "")),
     ("/login", None), ("/studio/report/eval_1", None), ("/config", None)],
)  # fmt: skip
def test_an_address_is_known_as_a_screen_or_not(path: str, screen: tuple[str, str] | None):
    assert screen_of(path) == screen
