import httpx
import pytest
from fastapi import FastAPI

from tests.serving import serving
from tests.ui.screens import Screens
from ui.client import Gateway
from ui.login import inner, routes
from ui.sessions import COOKIE, People
from ui.settings import Settings

pytestmark = pytest.mark.heavy  # the screens themselves

PAGE = {"accept": "text/html"}


def new_link(screens: Screens, name: str) -> str:
    user = screens.gateway.admin.post("/api/users", json={"name": name, "role": "user"}).json()
    return screens.link_of(user["id"])


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "evil",
        "",
        "/a\nb",
        "\\\\evil",
    ],
)
def test_an_address_that_leaves_this_site_is_replaced_by_the_chat(address: str):
    assert inner(address) == "/"


@pytest.mark.parametrize("address", ["/", "/?c=conv_1", "/fr/studio/?a=b"])
def test_an_address_on_this_site_is_kept(address: str):
    assert inner(address) == address


def test_opening_a_link_does_not_use_it_up_and_pressing_its_button_does(screens: Screens):
    link = new_link(screens, "Ada")
    with screens.browser() as browser:
        for _ in range(2):
            page = browser.get("/login", params={"link": link})
            assert page.status_code == 200
            assert link in page.text
        entered = browser.post("/login", data={"link": link, "next": "/?c=1"})
        assert entered.status_code == 303
        assert entered.headers["location"] == "/?c=1"
        again = browser.post("/login", data={"link": link})
        assert again.status_code == 401
        assert "Ask an administrator for a new one" in again.text


def test_the_session_cookie_is_closed_to_scripts_and_to_other_sites(screens: Screens):
    with screens.browser() as browser:
        entered = browser.post("/login", data={"key": screens.gateway.key})
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie


def test_the_session_cookie_is_for_https_alone_when_that_is_how_people_come(screens: Screens):
    gateway, app = Gateway(screens.gateway.url), FastAPI()
    app.include_router(routes(gateway, People(gateway), Settings(public_url="https://tailorbird.example")))
    with serving(app) as url:
        entered = httpx.post(f"{url}/login", data={"key": screens.gateway.key})
    assert "; secure" in entered.headers["set-cookie"].lower()


def test_a_wrong_key_gets_a_page_that_says_what_to_do(screens: Screens):
    with screens.browser() as browser:
        page = browser.post("/login", data={"key": "tb-wrong"})
    assert page.status_code == 401
    assert "ask an administrator for a new one" in page.text
    assert "set-cookie" not in page.headers


def test_what_is_typed_in_the_address_is_never_markup(screens: Screens):
    with screens.browser() as browser:
        page = browser.get("/login", params={"link": '"><script>alert(1)</script>', "next": '"><b>'})
    assert "<script>alert" not in page.text
    assert '"><b>' not in page.text


def test_signing_out_ends_the_session_at_the_gateway(screens: Screens):
    token = screens.token_of("Grace", "user")
    with screens.browser(token) as browser:
        assert browser.post("/logout").status_code == 303
    me = httpx.get(f"{screens.gateway.url}/api/me", headers={"authorization": f"Bearer {token}"})
    assert me.status_code == 401


@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_a_write_that_another_sites_page_started_is_refused(screens: Screens, path: str):
    with screens.browser(screens.token_of(f"Visitor {path}", "user")) as browser:
        for header in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
        ):
            assert browser.post(path, data={"key": screens.gateway.key}, headers=header).status_code == 403


def test_somebody_unknown_is_led_to_sign_in_and_back(screens: Screens):
    with screens.browser() as browser:
        asked = browser.get("/?c=conv_1", headers=PAGE)
        assert asked.status_code == 303
        assert asked.headers["location"] == "/login?next=/%3Fc%3Dconv_1"


def test_a_french_browser_is_led_to_the_french_screens_and_a_choice_outlives_it(screens: Screens):
    token = screens.token_of("Marie", "user")
    with screens.browser(token, **{"accept-language": "fr-FR,fr;q=0.9,en;q=0.5"}) as browser:
        assert browser.get("/?c=1", headers=PAGE).headers["location"] == "/fr/?c=1"
        assert "Discussion" in browser.get("/fr/", headers=PAGE).text
        assert "Se connecter" in browser.get("/login").text
        chosen = browser.get("/language", params={"to": "en", "next": "/"})
        assert chosen.headers["location"] == "/"
        assert browser.get("/", headers=PAGE).status_code == 200
        assert "Sign in" in browser.get("/login").text


def test_no_page_may_call_another_site(screens: Screens):
    with screens.browser() as browser:
        policy = browser.get("/login").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy


def test_the_cookie_of_one_person_is_not_taken_for_another(screens: Screens):
    with screens.browser(screens.token_of("Linus", "user")) as browser:
        assert browser.get("/gradio_api/user").json() != ""
        browser.cookies.set(COOKIE, "tb-nobody")
        assert browser.get("/gradio_api/info").status_code == 401
