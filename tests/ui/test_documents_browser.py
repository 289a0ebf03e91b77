"""A document from its upload to a training file in a real browser: on a desk and on a phone, in both languages, by
keyboard, judged by axe-core.
"""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.ui.browsing import PATIENCE, Watched, sound, words_of
from tests.ui.screens import Screens

pytestmark = pytest.mark.heavy


def test_a_persons_confirmation_and_nothing_else_leads_from_a_document_to_a_file(
    studio: Watched, screens: Screens, tmp_path: Path
):
    page, w = studio.page, words_of(studio.page)
    name = f"rules-{w.language}.md"
    rules = "".join(
        f"# Rule {n} ({w.language})\n\nThe {n}th rule of the ferry is that nobody jumps.\n\n"
        for n in range(1, 8)
    )
    (tmp_path / name).write_text(rules)
    with page.expect_file_chooser() as chooser:
        page.locator("#document-upload").click()
    chooser.value.set_files(tmp_path / name)
    opened = page.locator("#documents [data-document]")
    expect(opened.locator("h2").first).to_have_text(name, timeout=PATIENCE)
    expect(opened).to_contain_text(w("document_progress", n=0, of=7))
    expect(opened.locator(".drafts li")).to_have_count(5)
    expect(opened.locator("[data-do=file]")).to_have_count(0)
    sound(page, "#documents")

    first = opened.locator("[data-number='1']")
    first.locator("textarea[name=question]").fill("May I jump?")
    first.locator("textarea[name=answer]").fill("No.")
    page.keyboard.press("Control+Enter")
    expect(opened).to_contain_text(w("document_progress", n=1, of=7))
    expect(opened.locator("[data-number='2'] h3")).to_be_focused()
    opened.locator("[data-number='3'] [data-do=reject]").focus()
    page.keyboard.press("Enter")
    expect(opened).to_contain_text(w("document_rejected", n=1))
    expect(opened.locator("[data-number='4'] h3")).to_be_focused()
    opened.locator("[data-number='2'] [data-do=propose]").focus()
    page.keyboard.press("Enter")
    expect(opened.locator("[data-number='2'] textarea[name=question]")).to_have_value(
        "smollm2- heard Write one short question, as a person would ask it, that this text answers. Write the "
        "question only."
    )
    opened.locator("[data-do=show][data-value=confirmed]").press("Enter")
    expect(opened.locator("[data-number='1']")).to_contain_text("May I jump?")
    sound(page, "#documents")

    opened.locator("[data-do=file]").focus()
    page.keyboard.press("Enter")
    taken = page.locator("#import [data-status=succeeded]")
    expect(taken).to_contain_text(f"rules-{w.language}.jsonl", timeout=PATIENCE)
    expect(page.locator("#round select[name=file] option:checked")).to_contain_text(f"rules-{w.language}")
    sound(page, "#import")
    admin = screens.gateway.admin
    made = next(one for one in admin.get("/v1/files").json()["data"] if w.language in one["filename"])
    rows = admin.get(f"/v1/files/{made['id']}/content").text.splitlines()
    assert [[said["content"] for said in json.loads(row)["messages"]] for row in rows] == [
        ["May I jump?", "No."]
    ]
