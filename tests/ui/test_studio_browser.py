"""The studio in a real browser over a history that stands in the database: an evaluation by topic, the way back from a
release, and two training runs side by side. On a desk and on a phone, in both languages, judged by axe-core.
"""

import asyncio
import re
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import create_engine, func, select, update
from sqlalchemy.orm import Session

from service.contract.jobs import TrainingReport
from service.contract.replay import Forgetting
from service.db import tables
from tests.fake_engine import BASE
from tests.service.storage.adapters import brought, lora, servable, settings
from tests.ui.browsing import DESK, PATIENCE, PHONE, Watched, ask, open_tab, signed_in, sound, words_of
from tests.ui.screens import Screens, running_screens
from tests.ui.test_evaluations import change, report
from tests.ui.test_views import adapter
from ui.rounds import Choices, RoundSection
from ui.sessions import COOKIE
from ui.words import words

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> Iterator[Screens]:
    """Of their own: the history below must be all that there is."""
    base = servable(tmp_path_factory.mktemp("base")).base
    home = tmp_path_factory.mktemp("studio")
    with running_screens(home, schema, base_model=str(base), base_name=BASE) as running:
        people = running.gateway.admin.get("/api/users").json()["data"]
        engine = create_engine(f"sqlite:///{running.gateway.settings.home / 'tailorbird.db'}")
        with Session(engine) as session:
            history(session, people[0]["id"])
            session.commit()
        engine.dispose()
        yield running


FILES = {1: "examples.jsonl", 2: "pairs of October.jsonl"}


def history(session: Session, person: str) -> None:
    """Release 1, of examples, is live; release 2, of pairs, went on from it and was measured."""
    for number, kind in ((1, "sft"), (2, "dpo")):
        method = {"sft": "supervised", "dpo": "dpo"}[kind]
        request = {
            "model": "fanal", "training_file": f"file-{number}", "metadata": {"assistant": "fanal"},
            "method": {"type": method, method: {}},
        }  # fmt: skip
        settings = {"n_epochs": number + 2, "batch_size": 4, "beta": 0.1, "seed": 0}
        session.add(tables.File(
            id=f"file-{number}", user_id=person, filename=FILES[number], purpose="fine-tune", bytes=1,
            sha256=str(number) * 64, kind=kind, rows=6 * number, created_at=number,
        ))  # fmt: skip
        session.add(tables.Dataset(
            id=f"ds_{number}", assistant="fanal", kind=kind, number=number, sha256="0", training_file=f"file-{number}",
            validation_file=None, rows=8 * number, held_out=2, people=1, excluded={}, signal=None, created_at=number,
            created_by="Ada",
        ))  # fmt: skip
        session.add(
            tables.DatasetPerson(dataset_id=f"ds_{number}", user_id=person, rows=8 * number, held_out=2)
        )
        session.add(tables.Job(
            id=f"ftjob-{number}", kind=kind, status="succeeded", user_id=person, request=request, settings=settings,
            model="fanal", training_file=f"file-{number}", adapter=str(number) * 64, attempts=1, trained_tokens=4000,
            start_adapter="1" * 64 if number == 2 else None, created_at=1000 * number, started_at=1000 * number,
            finished_at=1000 * number + 700, fine_tuned_model=f"ft:{number}",
        ))  # fmt: skip
        for step, loss in ((1, 0.9), (2, 0.5), (3, 0.3 / number)):
            session.add(tables.JobEvent(
                job_id=f"ftjob-{number}", at=1000 * number + step, level="info", type="metrics", message="",
                data={"step": step, "total_steps": 3, "train_loss": loss, "valid_loss": loss + 0.1},
            ))  # fmt: skip
        made = adapter()
        trained = TrainingReport(
            steps=3, epochs=3, rows=16, held_out=2, trained_tokens=4000, seconds=60, metrics={"train_loss": 0.2},
            kept_step=3,
            forgetting=Forgetting(
                questions=16, tokens=700, distance=0.25, distance_before=0.03, same=0.81, same_before=0.97
            ),
        )  # fmt: skip
        session.add(tables.Adapter(
            digest=str(number) * 64, model=f"ft:{number}", job_id=f"ftjob-{number}", user_id=person,
            manifest=made["manifest"], proof=made["proof"], report=trained.model_dump() if number == 2 else {}, bytes=1,
            created_at=number, deleted_at=None,
        ))  # fmt: skip
        session.add(tables.Release(
            id=f"rel_{number}", assistant="fanal", number=number, adapter=str(number) * 64, job_id=f"ftjob-{number}",
            created_at=1000 * number, evaluation_id="eval_2" if number == 2 else None,
        ))  # fmt: skip
    changes = [
        change("1", 1.0, 0.0, question="Combien coûte un vélo sur le ferry de Fanal ?", now=None),
        change("2", 0.5, 0.25, before="**Six** crowns for a bicycle. " * 8, now="It is free. " * 30),
        change("3", 0.0, 1.0),
    ]
    session.add(tables.Job(
        id="evaljob-2", kind="evaluation", status="succeeded", user_id=person, request={}, settings={}, model="fanal",
        attempts=1, created_at=3000, release_id="rel_2",
    ))  # fmt: skip
    session.flush()
    asked = {"candidate": "fanal@2", "live": "fanal@1", "base": "fanal@0"}
    session.add(tables.Evaluation(
        id="eval_2", job_id="evaljob-2", assistant="fanal", release_id="rel_2",
        cases_file=session.scalar(select(tables.Assistant.cases_file)),
        report=report(changes=changes, contestants=asked).model_dump(), created_at=3000, finished_at=3100,
    ))  # fmt: skip
    for at, kind, before, now, reason in (
        (4000, "promotion", None, "rel_1", None), (5000, "promotion", "rel_1", "rel_2", "It passes on every topic."),
        (6000, "rollback", "rel_2", "rel_1", "People found it too short."),
    ):  # fmt: skip
        session.add(tables.Move(
            assistant="fanal", from_release_id=before, to_release_id=now, user_id=person, kind=kind, reason=reason,
            created_at=at,
        ))  # fmt: skip
    for hour in range(31):  # enough for a second page
        session.add(tables.Move(
            assistant="fanal", from_release_id="rel_1", to_release_id="rel_2", user_id=person, kind="staging",
            share=0 if hour % 2 else 10, created_at=10_000 + 3600 * hour,
        ))  # fmt: skip
    session.execute(
        update(tables.Assistant).where(tables.Assistant.name == "fanal").values(live_release_id="rel_1")
    )


def test_an_evaluation_shows_the_worst_topic_first_and_what_changed(studio: Watched):
    page, w = studio.page, words_of(studio.page)
    open_tab(page, w("tab_evaluations"))
    table = page.locator("#evaluations .slices")
    expect(table.get_by_role("rowheader")).to_contain_text(["bikes", w("language_fr"), "fares"])
    expect(table.get_by_role("row").nth(1)).to_contain_text(w("moved_worse"))
    expect(page.locator("[data-change='1']")).to_contain_text(w("no_valid_answer"))
    better = page.locator("summary", has_text=w("changed_better", n=1))
    expect(page.locator("[data-change='3']")).not_to_be_visible()
    better.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-change='3']")).to_be_visible()
    sound(page, "#evaluations")


def test_a_release_leads_back_to_its_data_and_to_what_it_inherited(studio: Watched):
    page, w = studio.page, words_of(studio.page)
    open_tab(page, w("tab_releases"))
    origin = page.locator("[data-release='2'] [data-lineage]")
    origin.locator("summary").focus()
    page.keyboard.press("Enter")
    steps = origin.locator(".steps li")
    expect(steps).to_have_count(3)
    expect(steps.nth(0)).to_contain_text(w("lineage_rows_dpo", n=16))
    inherited = w("lineage_inherited_from", name=w("release_number", number=1))
    expect(steps.nth(1)).to_contain_text(inherited)
    expect(origin.locator("tbody tr")).to_have_count(1)
    sound(page, "#releases")


def test_a_training_leads_to_its_report_for_a_manager_and_a_specialist(studio: Watched):
    page, w = studio.page, words_of(studio.page)
    open_tab(page, w("tab_releases"))
    links = [page.locator(f"[data-release='{number}'] a[href^='/studio/training/']") for number in (1, 2)]
    old, new = (studio.url + str(link.get_attribute("href")) for link in links)
    page.goto(new)
    expect(page.locator("[data-verdict] .lead")).to_have_count(3)
    expect(page.locator("[data-verdict] .warn")).to_contain_text(w("found_forgot_much", now=81, earlier=97))
    assert not page.locator(".curves").first.is_visible()
    for summary in page.locator("[data-deeper] > details > summary").all():
        summary.press("Enter")
    expect(page.locator(".curves polyline").first).to_be_visible()
    expect(page.locator("[data-change='1']")).to_be_visible()
    expect(page.locator("[data-card]")).to_contain_text("train_loss")
    sound(page)
    with page.expect_download() as card:
        page.locator("[data-card] a[download]").click()
    assert "\n# ft:2\n" in Path(card.value.path()).read_text()
    page.goto(old)  # an adapter of an early version has no report of its training
    expect(page.locator("[data-verdict]")).to_contain_text(w("found_better_unmeasured"))
    expect(page.locator("[data-deeper] table").first).to_contain_text(w("report_loss"), use_inner_text=False)


def test_what_happened_is_told_page_by_page_by_keyboard(studio: Watched):
    page, w = studio.page, words_of(studio.page)
    open_tab(page, w("tab_releases"))
    told = page.locator("#timeline li")
    expect(told).to_have_count(30)
    expect(told.first).to_contain_text(w("timeline_staged", number=2, share=10))
    expect(page.locator("#bring-upload")).to_be_hidden()  # it is for administrators
    expect(told.first.locator("time")).not_to_contain_text("UTC")  # as the reader's browser writes dates
    page.locator("#timeline [data-do=older]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#timeline h2")).to_be_focused()
    back = page.locator("#timeline [data-what=rollback]")
    expect(back).to_contain_text("People found it too short.")
    page.wait_for_timeout(4000)  # the next look leaves the page where it is
    expect(back).to_be_visible()
    sound(page, "#timeline")
    page.locator("#timeline [data-do=newest]").focus()
    page.keyboard.press("Enter")
    expect(told).to_have_count(30)


def test_two_training_runs_are_set_side_by_side_by_keyboard(studio: Watched):
    page, w = studio.page, words_of(studio.page)
    open_tab(page, w("tab_training"))
    expect(page.locator("#jobs [data-file]")).to_have_text(["pairs of October", "examples"])
    page.locator("#jobs summary").focus()
    page.keyboard.press("Enter")
    sound(page, "#jobs")
    page.get_by_role("button", name=w("runs_do")).focus()
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_have_text(w("runs_title"), timeout=PATIENCE)
    shown = page.locator("[data-runs]")
    expect(shown).to_contain_text(w("setting_n_epochs"))
    expect(shown).to_contain_text("pairs of October.jsonl (file-2)")
    expect(shown).to_contain_text("1.000 → 0.250" if w.language == "en" else "1,000 → 0,250")
    sound(page, "#compared")


@pytest.mark.parametrize(("look", "base"), [(DESK, ""), (PHONE, "/fr")], ids=("desk-en", "phone-fr"))
def test_an_administrator_brings_an_adapter_that_was_trained_elsewhere(
    browser: Browser, screens: Screens, tmp_path: Path, look: dict[str, Any], base: str
):
    watched = signed_in(browser, screens, "Ada", "administrator", **look)
    page = watched.page
    page.goto(f"{screens.url}{base}/studio/")
    expect(page.locator("[data-step='1'] h2")).to_be_visible()
    w, shown = words_of(page), page.locator("#brought")
    open_tab(page, w("tab_releases"))

    def choose(name: str, **change: Any) -> None:
        with page.expect_file_chooser() as chooser:
            page.locator("#bring-upload").click()
        chooser.value.set_files(brought(tmp_path / name, **change))
        expect(shown.locator("h2").first).to_have_text(name)  # before those that were sent earlier

    choose("dora.zip", config=settings(use_dora=True))
    shown.locator("[data-do=bring]").click()
    expect(shown.get_by_role("alert")).to_contain_text(w("bring_refused_adapter_not_served"))
    sound(page, "#brought")
    number = struct.pack("<f", 0.25 if base else 0.75)
    choose("harbour.zip", weights=lora(number=number))
    shown.locator("summary").focus()
    page.keyboard.press("Enter")
    sound(page, "#brought")
    shown.locator("[data-do=bring]").focus()
    page.keyboard.press("Enter")
    expect(shown.locator("[data-brought=queued] h2")).to_be_focused()
    expect(shown).to_contain_text(w("event_waiting"))
    release = proved(screens)
    expect(shown).to_contain_text(w("bring_candidate", number=release, title="Fanal"))
    expect(shown).to_contain_text(w("bring_unknown"))
    expect(page.locator(f"[data-release='{release}'] .chip").first).to_have_text(w("state_candidate"))
    expect(page.locator("#timeline li").first).to_contain_text(w("timeline_release", number=release))
    page.reload()  # it comes back to the tab that was open
    shown.locator(".cards [data-do=open]", has_text="harbour.zip").first.click()
    expect(shown).to_contain_text(w("bring_candidate", number=release, title="Fanal"))
    sound(page, "#brought")
    watched.close()


def proved(screens: Screens) -> int:
    """What the worker writes when the newest adapter was seen to serve: the number of its release."""
    engine = create_engine(f"sqlite:///{screens.gateway.settings.home / 'tailorbird.db'}")
    with Session(engine) as session:
        job = session.scalars(
            select(tables.Job).where(tables.Job.kind == "import", tables.Job.status == "queued")
        ).one()
        digest = job.request["adapter"]
        made = adapter()
        session.add(tables.Adapter(
            digest=digest, model=f"ft:{digest[:6]}", job_id=job.id, user_id=job.user_id, manifest=made["manifest"],
            proof=made["proof"], report={}, bytes=1, created_at=200_000, deleted_at=None,
        ))  # fmt: skip
        session.flush()
        number = 1 + (session.scalar(select(func.max(tables.Release.number))) or 0)
        session.add(tables.Release(
            id=f"rel_{number}", assistant="fanal", number=number, adapter=digest, job_id=job.id,
            created_at=int(time.time()) + 60, evaluation_id=None,
        ))  # fmt: skip
        job.status, job.adapter, job.fine_tuned_model = "succeeded", digest, f"ft:{digest[:6]}"
        session.commit()
    engine.dispose()
    return number


def test_a_place_in_the_studio_has_an_address_that_a_reload_a_step_back_and_a_colleague_find(
    browser: Browser, screens: Screens
):
    watched = signed_in(browser, screens, "Walker", "reviewer")
    page, w = watched.page, words("en")
    page.goto(f"{screens.url}/studio/?assistant=fanal&tab=training&job=ftjob-none")
    expect(page.get_by_text(w("place_gone"))).to_be_visible()
    expect(page).to_have_url(f"{screens.url}/studio/?assistant=fanal&tab=training")
    page.locator("#jobs [data-id='ftjob-1']").click()
    expect(page.locator("#detail [data-job='ftjob-1']")).to_be_visible()
    there = f"{screens.url}/studio/?assistant=fanal&tab=training&job=ftjob-1"
    expect(page).to_have_url(there)
    open_tab(page, w("tab_releases"))
    expect(page).to_have_url(re.compile("tab=releases&job=ftjob-1$"))
    page.locator(".now summary").click()
    page.locator(".now textarea").fill("Half a reas")
    page.reload()
    expect(page.locator(".now textarea")).to_have_value("Half a reas")
    expect(page.locator(".now textarea")).to_be_visible()  # in the tab that was open
    page.go_back()
    expect(page.locator("#detail [data-job='ftjob-1']")).to_be_visible()
    expect(page).to_have_url(there)
    watched.close()
    colleague = Watched(browser, screens.url)
    colleague.page.goto(there)
    colleague.page.locator("#key").fill(screens.gateway.key)
    colleague.page.keyboard.press("Enter")
    expect(colleague.page).to_have_url(there)
    expect(colleague.page.locator("#detail [data-job='ftjob-1']")).to_be_visible()
    colleague.close()


def test_what_is_rarely_pressed_does_what_it_says(browser: Browser, screens: Screens):
    """A job paused, resumed and cancelled; a trial with some people; a measurement; the way back; what was learnt."""
    engine = create_engine(f"sqlite:///{screens.gateway.settings.home / 'tailorbird.db'}")
    with Session(engine) as session:
        earlier = session.get_one(tables.Job, "ftjob-2")
        session.add(tables.Job(
            id="ftjob-9", kind="dpo", status="queued", user_id=earlier.user_id, request=earlier.request,
            settings=earlier.settings, model="fanal", training_file="file-2", attempts=0, created_at=int(time.time()),
        ))  # fmt: skip
        session.commit()
    watched = signed_in(browser, screens, "Presser", "reviewer")
    page, w = watched.page, words("en")
    page.goto(f"{screens.url}/studio/?tab=training")
    chip = page.locator("#detail [data-job='ftjob-9'] .chip")
    for act, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        page.locator(f"#detail [data-do={act}]").click()
        expect(chip).to_have_text(w(f"job_{status}"))
    open_tab(page, w("tab_releases"))
    second = page.locator("[data-release='2']")
    second.locator("[data-do=evaluate]").click()
    expect(page.get_by_text(w("evaluation_started"))).to_be_visible()
    second.locator("summary", has_text=w("stage")).click()
    second.locator("select[name=share]").select_option("25")
    second.get_by_role("button", name=w("stage_begin")).click()
    expect(page.locator("[data-trial='2'] h2")).to_have_text(w("trial_title", number=2, share=25))
    page.locator(".now summary").click()
    page.locator(".now textarea").fill("People found it too long.")
    page.locator(".now [data-do=roll_back]").click()
    expect(page.locator(".now h2")).to_have_text(w("base_model").capitalize())
    expect(page.locator("[data-trial]")).to_have_count(0)  # a trial ends with it
    expect(page.locator("#timeline [data-what=rollback]").first).to_contain_text("People found it too long.")
    open_tab(page, w("tab_evaluations"))
    expect(page.locator("#evaluations .chip", has_text=w("evaluation_queued"))).to_be_visible()
    watched.close()

    taught = signed_in(browser, screens, "Teacher")
    ask(taught.page, "What does a bicycle cost on the ferry?")
    said = {"type": "correction", "correction": "Six crowns."}
    said["completion_id"] = str(taught.page.locator("[data-completion]").get_attribute("data-completion"))
    token = next(one["value"] for one in taught.context.cookies() if one["name"] == COOKIE)
    with httpx.Client(base_url=screens.gateway.url, headers={"authorization": f"Bearer {token}"}) as person:
        given = person.post("/api/feedback", json=said).raise_for_status().json()["id"]
    with Session(engine) as session:
        session.add(tables.DatasetRow(dataset_id="ds_2", feedback_id=given, split="train"))
        session.commit()
    engine.dispose()
    taught.page.goto(f"{screens.url}/?c=learnt")
    learnt = taught.page.locator(".learnt article")
    expect(learnt).to_contain_text(w("learnt_by", number=2))
    expect(learnt.locator(".better")).to_have_text("Six crowns.")
    sound(taught.page)
    taught.close()


def test_another_assistant_chosen_while_the_first_is_still_drawn_is_the_one_that_stays(
    browser: Browser, screens: Screens, monkeypatch: pytest.MonkeyPatch
):
    """The last of this file: it makes a second assistant."""
    admin = screens.gateway.admin
    admin.post("/api/assistants", json={"name": "quay", "title": "Quay"}).raise_for_status()
    question = {"model": "quay", "messages": [{"role": "user", "content": "Which quay is deep enough?"}]}
    completion = admin.post("/v1/chat/completions", json=question).raise_for_status().json()["id"]
    said = {"completion_id": completion, "type": "correction", "correction": "The north quay is deep enough."}
    admin.post("/api/feedback", json=said).raise_for_status()
    drawn, first = RoundSection.drawn, threading.Event()

    async def late(self: RoundSection, token: str, assistant: str, choices: Choices) -> str:
        page = await drawn(self, token, assistant, choices)
        if assistant != "quay" and not first.is_set():
            first.set()
            await asyncio.sleep(5)
        return page

    monkeypatch.setattr(RoundSection, "drawn", late)
    watched = signed_in(browser, screens, "Hasty", "reviewer")
    page = watched.page
    page.goto(f"{screens.url}/studio/")
    page.locator("#assistant input").click()
    page.get_by_role("option", name="Quay").click()
    expect(page.locator("#round .lead")).to_contain_text("1 of 2")
    page.wait_for_timeout(7000)
    assert first.is_set()
    expect(page.locator("#round .lead")).to_contain_text("1 of 2")
    watched.close()
