"""Administration in a real browser, before a double of the engine: people's keys, the journal, and who may see it."""

import pytest
from playwright.sync_api import Browser, expect

from tests.ui.browsing import DESK, PATIENCE, PHONE, no_sideways_scroll, open_tab, signed_in
from tests.ui.screens import Screens

pytestmark = pytest.mark.heavy
WORDS = {
    "en": ("Access keys", "Journal", "Limits", "made a key", "are as they were written"),
    "fr": ("Clés d’accès", "Journal", "Limites", "a créé une clé", "telles qu’elles ont été écrites"),
}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_key_is_made_with_a_role_and_limits_and_the_journal_tells_it(
    browser: Browser, screens: Screens, language: str
):
    keys, journal, limits, made, intact = WORDS[language]
    name = f"Till {language}"
    look = DESK if language == "en" else PHONE
    watched = signed_in(browser, screens, f"Keeper {language}", "administrator", **look)
    page = watched.page
    page.goto(f"{screens.url}/admin/")
    expect(page.locator("#people h2").first).to_be_visible(timeout=PATIENCE)
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

    open_tab(page, journal)
    page.locator("#audit select[name=action]").select_option("key.made")
    page.locator("#audit [data-do=filter]").first.click()
    expect(page.locator("#audit .rows li").first).to_contain_text(name, timeout=PATIENCE)
    assert made in page.locator("#audit .rows li").first.inner_text()
    page.locator("#audit [data-do=check]").click()
    expect(page.locator("#audit [role=status]")).to_contain_text(intact, timeout=PATIENCE)
    assert no_sideways_scroll(page)
    with page.expect_download() as download:
        page.locator("#audit a[download]").click()
    text = download.value.path().read_text()
    assert name in text
    assert secret not in text
    watched.close()


def test_only_administrators_get_the_journal(browser: Browser, screens: Screens):
    watched = signed_in(browser, screens, "Curious reviewer", "reviewer")
    answer = watched.page.request.get(f"{screens.url}/admin/audit.jsonl")
    assert answer.status == 403
    assert "session.opened" not in answer.text()
    watched.close()
