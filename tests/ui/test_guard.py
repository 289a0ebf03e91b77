import asyncio
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.routing import Mount

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


def calls(screens: Screens, screen: str) -> list[tuple[str, str]]:
    """Every route that Gradio has below a screen, as `(method, address)`."""
    mount: Any = next(one for one in screens.app.routes if isinstance(one, Mount) and one.path == screen)
    routes = [(method, one.path) for one in mount.app.routes for method in one.methods - {"HEAD"}]
    assert ("POST", "/gradio_api/queue/join") in routes
    # A route's own placeholder is a value like any other; the screen's page is asked for apart.
    return [(method, f"{screen}{path}".replace(":path}", "}")) for method, path in routes if path != "/"]


def statuses(browser: httpx.Client, screens: Screens, screen: str) -> dict[tuple[str, str], int]:
    """What a direct call of everything below a screen is answered with."""
    return {
        (method, path): browser.request(method, path, json={} if method == "POST" else None).status_code
        for method, path in calls(screens, screen)
    }


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_of_a_screen_answers_somebody_unknown(screens: Screens, screen: str):
    with screens.browser() as browser:
        answered = statuses(browser, screens, screen)
        # The service's own sign-in and icon stand before the chat's mount.
        own = {("POST", "/login"): 400, ("GET", "/favicon.ico"): 200} if screen == "" else {}
        assert {call: status for call, status in answered.items() if status != 401} == own
        assert browser.get(f"{screen}/", headers=PAGE).status_code == 303


@pytest.mark.parametrize("role", CLOSED)
def test_nothing_of_a_screen_answers_a_role_that_it_is_not_for(screens: Screens, role: str):
    with screens.browser(screens.token_of(f"A {role}", role)) as browser:
        for screen in SCREENS:
            page = browser.get(f"{screen}/", headers=PAGE)
            if screen in CLOSED[role]:
                answered = statuses(browser, screens, screen)
                assert {call: status for call, status in answered.items() if status != 403} == {}
                assert page.status_code == 403
                assert f"A {role}" in page.text
                assert "gradio" not in page.text
            else:
                assert browser.get(f"{screen}/config").status_code == 200
                assert page.status_code == 200


def test_an_open_page_is_its_persons_alone(screens: Screens):
    heard = {"params": {"session_hash": "anns-page"}}
    call = {"data": [], "fn_index": 0, "session_hash": "anns-page", "event_data": None, "trigger_id": 1}
    with (
        screens.browser(screens.token_of("Ann", "user")) as ann,
        screens.browser(screens.token_of("Thief", "user")) as thief,
    ):
        joined = ann.post("/gradio_api/queue/join", json=call)
        assert joined.status_code == 200
        assert thief.get("/gradio_api/queue/data", **heard).status_code == 403
        assert thief.get("/gradio_api/heartbeat/anns-page").status_code == 403
        for path in ("queue/join", "cancel", "reset", "component_server"):
            event = {**call, "event_id": joined.json()["event_id"]}
            assert thief.post(f"/gradio_api/{path}", json=event).status_code == 403, path
        with ann.stream("GET", "/gradio_api/queue/data", **heard) as hers:
            assert hers.status_code == 200
            assert "process_completed" in "".join(hers.iter_text())


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
