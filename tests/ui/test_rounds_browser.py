"""The four steps of a round in a real browser, over the trainer's own look at real rows: on a desk and on a phone, in
both languages, by keyboard, judged by axe-core.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.fake_engine import BASE
from tests.training.conftest import examples, tiny_base, tokenizer
from tests.ui.browsing import PATIENCE, Watched, sound, words_of
from tests.ui.screens import Screens, running_screens

__all__ = ["tiny_base", "tokenizer"]

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory, schema: Path, tiny_base: Path) -> Iterator[Screens]:
    """Of their own: a base model whose tokens can be counted, eight corrections, and a file with a fault."""
    home = tmp_path_factory.mktemp("rounds")
    with running_screens(home, schema, base_model=str(tiny_base), base_name=BASE, threads=2) as running:
        client = running.gateway.admin
        for number in range(8):
            asked = {
                "model": "fanal",
                "messages": [{"role": "user", "content": f"Where does ferry {number} leave?"}],
            }
            answer = client.post("/v1/chat/completions", json=asked).raise_for_status().json()
            better = {"type": "correction", "correction": f"Ferry {number} leaves from pier {number}."}
            client.post("/api/feedback", json={"completion_id": answer["id"], **better}).raise_for_status()
        rows = examples(6)
        rows[1]["messages"][1]["content"] = "nan"
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        form = {"files": {"file": ("spoiled.jsonl", content)}, "data": {"purpose": "fine-tune"}}
        client.post("/v1/files", **form).raise_for_status()
        yield running


def to_step(page: Page, number: int) -> None:
    """On by keyboard: the main button, and then the focus is on the next step's heading."""
    page.locator("#round .primary").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"#round [data-step='{number}']:not([data-looking]) h2")).to_be_focused(
        timeout=PATIENCE
    )


def test_a_round_of_feedback_starts_in_four_steps_and_going_back_keeps_what_was_chosen(studio: Watched):
    page, w = studio.page, words_of(studio.page)
    first = page.locator("[data-source='dpo'] input")
    expect(first).to_be_checked()
    first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-source='sft'] input")).to_be_checked()
    page.keyboard.press("ArrowUp")
    sound(page, "#round")

    to_step(page, 2)
    expect(page.locator("[data-setting=n_epochs]")).to_contain_text(w("because_few_passes"))
    assert not {"DPO", "LoRA"} & set(page.locator("#round").inner_text().replace(",", " ").split())
    page.locator("#round summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#round .pairs")).to_contain_text("DPO")
    page.locator("input[name=setting_n_epochs]").fill("4")
    sound(page, "#round")

    to_step(page, 3)
    expect(page.locator("#round")).to_contain_text(w("no_faults"))
    expect(page.locator("[data-extent=time] .chip")).to_have_text(w("sure_guess"))
    learned = page.locator("#round .tokens").first.locator("mark").last
    expect(learned).to_contain_text("leaves")
    expect(learned.locator(".end b")).to_have_text(w("token_end"))
    expect(page.locator("#round .tokens.less mark").first).to_have_css("text-decoration-style", "dashed")
    sound(page, "#round")

    to_step(page, 4)
    sound(page, "#round")
    expect(page).to_have_url(re.compile(r"studio/\?assistant=fanal&step=4&source=dpo&setting_n_epochs=4$"))
    page.reload()
    expect(page.locator("[data-step='4']:not([data-looking]) h2")).to_be_visible()
    page.locator(".stepper button").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-step='2'] h2")).to_be_focused()
    expect(page.locator("[data-setting=n_epochs]")).to_contain_text(w("because_you"))
    expect(page.locator("input[name=setting_n_epochs]")).to_have_value("4")
    to_step(page, 3)
    to_step(page, 4)
    page.locator("#round [data-do=start]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#detail .job")).to_be_visible()
    expect(page.locator("#jobs .card").first).to_contain_text(w("method_dpo"))
    expect(page).to_have_url(re.compile(r"\?assistant=fanal&tab=training&job=ftjob-"))


def test_a_fault_is_named_with_its_mend_and_there_is_no_start(studio: Watched):
    page, w = studio.page, words_of(studio.page)
    page.locator("[data-source='file'] input[type=radio]").check()
    page.locator("select[name=file]").select_option(label=f"spoiled.jsonl · {w('file_rows_sft', n=6)}")
    to_step(page, 2)
    to_step(page, 3)
    fault = page.locator("[data-fault=nan_row]")
    expect(fault).to_contain_text(w("mend_fault_nan_row"))
    expect(fault).to_contain_text(w("at_line", line=2))
    sound(page, "#round")
    to_step(page, 4)
    start = page.locator("#round [data-do=start]")
    expect(start).to_be_disabled()
    expect(page.locator(f"#{start.get_attribute('aria-describedby')}")).to_contain_text(w("fault_nan_row"))
    sound(page, "#round")
