"""Administration in a real browser, before a double of the engine: people, keys, assistants, the state of the service,
the journal, and who may see it. On a dark desk in English, and on a light phone in French whose browser speaks English.
"""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.browsing import DESK, PATIENCE, PHONE, open_tab, signed_in, sound
from tests.ui.screens import Screens
from ui.sessions import LANGUAGE_COOKIE
from ui.words import Words, words

pytestmark = pytest.mark.heavy
WORDS = {
    "en": ("Access keys", "Journal", "Limits", "made a key", "are as they were written"),
    "fr": ("Clés d’accès", "Journal", "Limites", "a créé une clé", "telles qu’elles ont été écrites"),
}
LOOKS = {"en": DESK | {"color_scheme": "dark"}, "fr": PHONE | {"color_scheme": "light", "locale": "en-GB"}}
DATES = {"en": re.compile(r"\b\d+ [A-Z][a-z]+ 20\d\d"), "fr": re.compile(r"\b\d+ [a-zéû]+\.? 20\d\d")}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_an_administrator_manages_people_assistants_and_keys_and_the_journal_tells_it(
    browser: Browser, screens: Screens, language: str
):
    keys, journal, limits, made, intact = WORDS[language]
    name = f"Till {language}"
    screens.token_of(f"Worker {language}", "user")
    watched = signed_in(browser, screens, f"Keeper {language}", "administrator", **LOOKS[language])
    watched.context.add_cookies([{"name": LANGUAGE_COOKIE, "value": language, "url": screens.url}])
    page = watched.page
    page.clock.set_fixed_time("2100-01-01")  # so that dates are written in full
    page.goto(f"{screens.url}/admin/")
    change_people(page, screens, words(language), f"Worker {language}")
    change_assistants(page, screens, words(language), f"desk-{language}")
    open_tab(page, words(language)("tab_status"))
    expect(page.locator("#status .chip").first).to_have_text(words(language)("all_well"), timeout=PATIENCE)
    expect(page.locator("#status")).to_contain_text(words(language)("engine_ready"))
    sound(page)

    change_rules(page, screens, words(language), f"Asker {language}")
    open_tab(page, keys)
    form = page.locator("#keys form").first
    form.locator("[name=name]").fill(name)
    form.get_by_text(limits).click()
    form.locator("[name=tokens_per_day]").fill("200 000")
    form.locator("[data-do=create]").click()
    expect(page.locator("#keys .once code")).to_contain_text("tb-", timeout=PATIENCE)
    secret = page.locator("#keys .once code").inner_text()
    held = screens.gateway.admin.get("/api/keys").json()["data"]
    (key,) = [one for one in held if one["name"] == name]
    assert (key["role"], key["limits"]["tokens_per_day"]) == ("user", 200_000)

    row = page.locator(f"#keys [data-key='{name}']")
    row.locator("summary").click()
    row.locator("[name=tokens_per_day]").fill("many")
    row.locator("[data-do=limits]").click()
    row.locator("[name=tokens_per_day]").fill("5")
    row.locator("[data-do=limits]").click()
    expect(page.locator(f"#keys [data-key='{name}'] [name=tokens_per_day]")).to_have_value(
        "5", timeout=PATIENCE
    )

    expect(page.locator("#keys [aria-busy=true]")).to_have_count(0)
    sound(page)
    open_tab(page, journal)
    page.locator("#audit select[name=action]").select_option("key.made")
    page.locator("#audit [data-do=filter]").first.click()
    expect(page.locator("#audit .rows li").first).to_contain_text(name, timeout=PATIENCE)
    assert made in page.locator("#audit .rows li").first.inner_text()
    page.locator("#audit [data-do=check]").click()
    expect(page.locator("#audit [role=status]")).to_contain_text(intact, timeout=PATIENCE)
    sound(page)
    with page.expect_download() as download:
        page.locator("#audit a[download]").click()
    text = download.value.path().read_text()
    assert name in text
    assert secret not in text
    watched.close()


def change_people(page: Page, screens: Screens, w: Words, name: str) -> None:
    row = page.locator(f"#people [data-user='{name}']")
    expect(row.locator("time")).to_have_text(DATES[w.language], timeout=PATIENCE)
    expect(page.locator("html")).to_have_attribute("lang", w.language)
    row.locator("select").select_option("reviewer")
    row.locator("[data-do=role]").click()
    # A field goes by what is saved when it is drawn again.
    expect(row.locator("option[selected]")).to_have_attribute("value", "reviewer", timeout=PATIENCE)
    row.locator("[data-do=active]").click()
    expect(row.locator(".chip")).to_have_text(w("closed"), timeout=PATIENCE)
    expect(row.locator("[data-do=active]")).to_have_text(w("open_account"))
    sound(page)
    users = screens.gateway.admin.get("/api/users").json()["data"]
    assert [(one["role"], one["active"]) for one in users if one["name"] == name] == [("reviewer", False)]


def change_assistants(page: Page, screens: Screens, w: Words, name: str) -> None:
    open_tab(page, w("tab_assistants"))
    page.locator("#assistants").get_by_text(w("new_assistant")).click()
    form = page.locator("#assistants form").filter(has=page.locator("[name=name]"))
    for field, value in {
        "name": name,
        "title": "Desk",
        "instructions": "Be brief.",
        "starters": "Hi?\nWhy?",
    }.items():
        form.locator(f"[name={field}]").fill(value)
    sound(page)
    form.locator("[data-do=create]").click()
    made = page.locator(f"#assistants [data-assistant='{name}']")
    expect(made.locator(".said")).to_contain_text(w("saved"), timeout=PATIENCE)
    made.locator("summary").click()
    made.locator("[name=title]").fill("Front desk")
    made.locator("[data-do=change]").click()
    expect(made.locator("h2")).to_have_text("Front desk", timeout=PATIENCE)
    held = screens.gateway.admin.get(f"/api/assistants/{name}").json()
    assert (held["title"], held["instructions"], held["starters"]) == (
        "Front desk",
        "Be brief.",
        ["Hi?", "Why?"],
    )


def change_rules(page: Page, screens: Screens, w: Words, name: str) -> None:
    """How long things are kept, by keyboard, and whether a user may compare; both are as before in the end."""
    open_tab(page, w("tab_house_rules"))

    def press(act: str) -> None:
        expect(page.locator("#rules [aria-busy=true]")).to_have_count(0)  # a button that stays rests a little
        page.locator(f"#rules [data-do={act}]").press("Enter")

    for days in ("365", ""):
        page.locator("#rules select[name=days]").select_option(days)
        press("look")
        expect(page.locator("[data-going] h3")).to_be_focused()
        sound(page, "#rules")
        press("keep")
        expect(page.locator(f"[data-retention='{days or 'ever'}'] h2")).to_be_focused()
        held = screens.gateway.admin.get("/api/house-rules").json()["retention_days"]
        assert held == (int(days) if days else None)
    press("compare")
    expect(page.locator("[data-compare=closed] h2")).to_be_focused()
    with screens.browser(screens.token_of(name, "user")) as user:
        base = "/fr" if w.language == "fr" else ""
        refused = user.get(f"{base}/compare/", headers={"accept": "text/html"})
        assert (refused.status_code, user.get(f"{base}/compare/config").status_code) == (403, 403)
        assert w("compare_closed_text") in refused.text
    press("compare")
    expect(page.locator("[data-compare=open] h2")).to_be_focused()


def test_what_was_saved_is_drawn_and_not_what_was_chosen_before_nor_over_a_colleagues_change(
    browser: Browser, screens: Screens
):
    screens.token_of("Changing", "user")
    admin = screens.gateway.admin
    desk = {"name": "quay", "title": "Quay", "temperature": 0.25}
    admin.post("/api/assistants", json=desk).raise_for_status()
    watched = signed_in(browser, screens, "Second keeper", "administrator")
    page = watched.page
    page.goto(f"{screens.url}/admin/")
    row = page.locator("#people [data-user='Changing']")
    for role in ("reviewer", "user"):
        row.locator("select").select_option(role)
        row.locator("[data-do=role]").click()
        expect(row.locator("option[selected]")).to_have_attribute("value", role)
        expect(row.locator("select")).to_have_value(role)
    open_tab(page, "Assistants")
    form = page.locator("#assistants [data-assistant=quay]")
    form.locator("summary").click()

    def save(field: str, value: str) -> None:
        form.locator(f"[name={field}]").fill(value)
        form.locator("[data-do=change]").click()
        expect(form.locator(f"[name={field}]")).to_have_js_property("defaultValue", value)

    save("title", "North quay")
    admin.patch("/api/assistants/quay", json={"title": "South quay", "max_tokens": 99}).raise_for_status()
    save("description", "Ask about berths.")
    expect(form.locator("[name=title]")).to_have_value("South quay")
    save("temperature", "0.75")
    held = admin.get("/api/assistants/quay").json()
    assert (held["title"], held["max_tokens"]) == ("South quay", 99)
    assert (held["description"], held["temperature"]) == ("Ask about berths.", 0.75)
    watched.close()


def test_only_administrators_get_the_journal(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Curious reviewer", "reviewer")
    answer = watched.page.request.get(f"{screens.url}/admin/audit.jsonl")
    assert answer.status == 403
    assert "session.opened" not in answer.text()
    watched.close()
