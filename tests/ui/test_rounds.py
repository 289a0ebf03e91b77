"""The four steps of a round: what is drawn, what is kept on the way back, and when there is no start."""

import html
import json
import re
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import httpx
import pytest
from gradio import EventData

from service.contract.assistants import Assistant, Readiness, TopicPairs
from service.contract.estimates import Finding
from service.contract.files import File, Parts
from service.contract.jobs import Job
from service.contract.signal import Finding as Doubt
from service.contract.signal import Signal
from service.contract.splits import Parted
from tests.ui.test_estimates import estimate
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.rounds import Choices, Material, RoundSection, draw, taken
from ui.words import words

pytestmark = pytest.mark.heavy  # the section brings Gradio along

LANGUAGES = ("en", "fr")
HELD = Signal(
    rows=30, people=1, length_ratio=3.4, agreement=None, compared=0, off_policy_share=0.0, largest_share=1.0,
    largest_person="p", left_share=None, sides_known=0, verdict="bad",
    findings=[
        Doubt(code="one_person", blocks=False, message="m"), Doubt(code="longer_answers", blocks=True, message="m"),
    ],
)  # fmt: skip
FILE = File(
    id="file-1", bytes=1, created_at=1, filename="<b>a.jsonl", purpose="fine-tune", kind="sft", rows=30
)
SEEN = ("fanal", None, "dpo", "", ())
FOUR = (("n_epochs", "4"),)
EN = words("en")
PARTS = Parts(
    training_file=FILE.model_copy(update={"id": "file-2", "rows": 24}), left_out=0,
    held_out_file=FILE.model_copy(
        update={
            "id": "file-3", "rows": 6,
            "parted": Parted(of="file-2", by="question", source_sha256="ab"),
        }
    ),
)  # fmt: skip


def assistant() -> Assistant:
    return Assistant(
        id="a", name="fanal", title="Fanal", description="", instructions="", starters=[], languages=["en"],
        temperature=0, max_tokens=9, live_release=None, staged_release=None, staged_share=0, cases_file="file-c",
        created_at=1,
    )  # fmt: skip


def ready(pairs: int = 30, **more: Any) -> Readiness:
    fields: dict[str, Any] = {
        "assistant": "fanal", "pairs": pairs, "rated": 2, "up": 1, "down": 1, "people": 1, "conversations": 1,
        "needed": 20, "excluded": {"duplicate": 2, "a_new_reason": 1}, "ready": pairs >= 20, "advice": "",
    }  # fmt: skip
    return Readiness(**fields | more)


def shown(
    language: str, choices: Choices, found: Readiness | None = None, files: list[File] | None = None
) -> str:
    return draw(words(language), choices, Material(assistant(), found or ready(), files or [], []))


def test_a_correction_that_is_an_example_and_no_pair_can_be_learned_from():
    corrected = ready(pairs=0, examples=1, rated=0)
    page = shown("en", Choices(), corrected).replace("\u00a0", " ")
    assert EN("round_nothing") not in page
    source = page.partition('data-source="sft"')[2].partition("data-source=")[0]
    assert EN("source_is_early") in source
    assert Material(assistant(), corrected, [], []).first_choice() == "sft"
    assert EN("round_nothing") in shown("en", Choices(), ready(pairs=0, examples=0))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("pairs", [0, 1, 30])
def test_the_first_step_says_how_far_the_feedback_goes_from_nothing_to_enough(language: str, pairs: int):
    page = shown(language, Choices(), ready(pairs))
    w = words(language)
    assert w("source_is_" + ("none" if not pairs else "early" if pairs < 20 else "ready")) in page
    assert ('value="dpo" required disabled' in page) is (pairs == 0)
    assert "a_new_reason" in page
    left = ready(pairs, left_out={"kto": {"truncated": 1234}})
    told = shown(language, Choices(), left).partition('data-left-out="kto"')[2].partition("</p>")[0]
    assert w("excluded_truncated") in told
    assert "234" in told
    assert 'value="file" required disabled' in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_step_names_the_weakest_topic_and_how_many_people_are_missing(language: str):
    w = words(language)
    topics = [TopicPairs(topic=f"<i>{n}", pairs=n) for n in range(12)]
    page = shown(language, Choices(), ready(86, needed=200, topics=topics, without_topic=3, more_people=3))
    for said in (w("ready_weakest", topics="&lt;i&gt;0", n=0), w("ready_people", n=3), w("topics_more", n=2)):
        assert said in page.replace("&#39;", "’")
    assert w("topics_unknown", n=3) in page
    assert page.count("<li><span>&lt;i&gt;") == 12
    assert "data-missing" not in shown(language, Choices(), ready(86))


def test_what_is_ready_is_chosen_first_and_nothing_in_a_files_name_is_markup():
    assert 'value="dpo" required checked' in shown("en", Choices(), ready(30), [FILE])
    page = shown("en", Choices(), ready(1), [FILE])
    assert 'value="file" required checked' in page
    assert "&lt;b&gt;a.jsonl · 30 examples" in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_second_step_has_no_specialists_words_but_one_click_deeper(language: str):
    page = shown(language, Choices(step=2, source="dpo", estimate=estimate()))
    plain, deeper = page[: page.index("<details")], page[page.index("<details") :]
    plain = re.sub("<[^>]*>", " ", plain)
    for word in ("DPO", "LoRA", "Sent.", "beta"):
        assert word not in plain
    for word in ("DPO", "LoRA", words(language)("chosen_few_passes")):
        assert word in deeper
    assert "Sent." not in deeper


@pytest.mark.parametrize("language", LANGUAGES)
def test_rows_without_the_assistant_s_instructions_are_told_where_its_questions_have_them(language: str):
    w = words(language)
    assert "data-without-instructions" not in shown(
        language, Choices(step=3, source="dpo", estimate=estimate())
    )
    found = estimate(without_instructions=40)
    feedback = w("look_without_instructions_feedback", n=40)
    file = w("look_without_instructions", n=40, box=w("import_instructions"))
    for source, sentence in (("dpo", feedback), ("file", file)):
        page = shown(language, Choices(step=3, source=source, estimate=found), ready(1), [FILE])
        assert sentence in html.unescape(page)


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_rater_behind_nearly_all_rows_of_a_file_is_told_before_the_start(language: str):
    page = shown(
        language, Choices(step=3, source="file", estimate=estimate(one_person=0.92)), ready(1), [FILE]
    )
    assert words(language)("finding_one_person", share=92) in html.unescape(page)
    assert "data-one-person" not in shown(
        language, Choices(step=3, source="file", estimate=estimate()), ready(1), [FILE]
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_third_step_tells_tokens_apart_by_more_than_colour_and_shows_where_an_answer_ends(language: str):
    w = words(language)
    page = shown(language, Choices(step=3, source="dpo", estimate=estimate()))
    assert "&lt;|end|&gt;" in page
    assert "&lt;b&gt;" in page
    assert f'<mark><span class="hidden">{w("learned_begins")} ' in page
    assert f'<mark><span class="hidden">{w("learned_less_begins")} ' in page
    assert w("omitted", n=7) in page
    assert w("no_faults") in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_fault_disables_the_start_and_says_why(language: str):
    faulty = estimate(look={"findings": [Finding(code="nan_row", message="Sent.", row="train.jsonl line 2")]})
    w = words(language)
    page = shown(language, Choices(step=3, source="dpo", estimate=faulty))
    assert 'data-fault="nan_row"' in page
    assert w("mend_fault_nan_row") in page
    page = shown(language, Choices(step=4, source="dpo", estimate=faulty))
    assert 'data-do="start" disabled aria-describedby="blocked"' in page
    assert w("fault_nan_row") in page
    assert " disabled" not in shown(language, Choices(step=4, source="dpo", estimate=estimate()))


@pytest.mark.parametrize(
    ("language", "said", "all_of_them"),
    [("en", "3.4 times as long", "100%"), ("fr", "3,4 fois aussi longue", "100 %")],
)
def test_a_held_round_says_why_and_asks_for_a_reason(language: str, said: str, all_of_them: str):
    found = ready(30, signals={"dpo": HELD}, ready=False)
    page = shown(language, Choices(), found)
    assert said in page
    assert all_of_them in page.replace("\u00a0", " ")
    page = shown(language, Choices(step=4, source="dpo", reason="<i>because"), found)
    assert "&lt;i&gt;because</textarea>" in page
    assert "textarea" not in shown(language, Choices(step=4, source="sft"), found)


def test_what_a_form_says_is_taken_and_the_rest_is_kept():
    choices = taken(
        Choices(step=4, reason="kept", settings=FOUR), Act(fields={"source": ["kto"], "file": ["f"]})
    )
    assert (choices.source, choices.file, choices.reason, choices.settings) == ("kto", "f", "kept", FOUR)
    more = taken(choices, Act(fields={"setting_n_epochs": [""], "setting_beta": [" 0.2 "]}))
    assert more.settings == (("beta", "0.2"),), "what is emptied is chosen by the service again"
    assert not choices.aside
    assert taken(choices, Act(fields={"file": ["f"], "aside": ["on"]})).aside
    odd = taken(choices, Act(fields={"source": ["evil"], "reason": ["new"]}))
    assert (odd.source, odd.reason) == ("kto", "new")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_setting_of_the_method_has_a_field_with_its_bounds_one_click_deeper(language: str):
    choices = Choices(step=2, source="dpo", estimate=estimate(), settings=FOUR)
    page = shown(language, choices)
    deeper = page[page.index("<details") :]
    assert "setting_" not in page[: page.index("<details")].replace("data-setting", "")
    assert 'name="setting_n_epochs" value="4"' in deeper
    assert re.search(r'name="setting_lora_rank" value="" [^>]*step="1" min="1" max="512"', deeper)
    assert 'name="setting_loss_type"' in deeper
    assert 'name="setting_desirable_weight"' not in deeper
    assert 'name="setting_desirable_weight"' in shown(language, replace(choices, source="kto"))
    sft = shown(language, replace(choices, source="file", file="file-1"), files=[FILE])
    assert 'name="setting_beta"' not in sft
    assert 'name="setting_max_length"' in sft


async def test_what_a_specialist_typed_is_sent_as_numbers_and_only_what_the_method_has():
    world = World()
    typed = (("beta", "0.2"), ("desirable_weight", "2"), ("lora_rank", "8"), ("use_rslora", "true"))
    await world.section._looked("t", MATERIAL, Choices(source="dpo", settings=typed))
    sent = json.loads(world.asked[0][1])
    assert sent["hyperparameters"] == {"beta": 0.2, "lora_rank": 8, "use_rslora": True}


MATERIAL = Material(assistant(), ready(), [FILE], [])


class World:
    """A section before a gateway that answers by path and notes what it was asked."""

    def __init__(self, **change: Any) -> None:
        self.asked: list[tuple[str, str]] = []
        job = Job(id="ftjob-1", created_at=1, model="fanal", status="queued", training_file="f", seed=0)
        self.answers: dict[str, tuple[int, Any]] = {
            "/api/assistants": (200, {"data": [assistant().model_dump()]}),
            "/api/assistants/fanal/readiness": (200, ready().model_dump()),
            "/api/datasets": (200, {"data": []}),
            "/v1/files": (200, {"data": [FILE.model_dump()]}),
            "/api/estimates/round": (200, estimate().model_dump()),
            "/api/estimates": (200, estimate().model_dump()),
            "/api/splits/file-1": (200, PARTS.model_dump()),
            "/api/rounds": (200, {"job": job.model_dump()}),
            "/v1/fine_tuning/jobs": (200, job.model_dump()),
        } | change.pop("answers", {})

        class Blank:
            w = words("en")
            gateway = Gateway("http://gateway", transport=httpx.MockTransport(self._answer))

        self.section = RoundSection(Blank())  # type: ignore[arg-type]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.asked.append((request.url.path, request.content.decode()))
        status, body = self.answers[request.url.path]
        return httpx.Response(status, json=body)


async def test_a_look_is_taken_of_feedback_or_of_a_file_with_what_was_chosen():
    world = World()
    seen = await world.section._looked("t", MATERIAL, Choices(source="dpo", settings=FOUR))
    assert (seen.seen, seen.problem) == (("fanal", None, "dpo", "", FOUR), "")
    assert seen.estimate is not None
    await world.section._looked("t", MATERIAL, Choices(source="file", file="file-1"))
    assert [path for path, _ in world.asked] == [
        "/api/estimates/round",
        "/api/splits/file-1",
        "/api/estimates",
    ]
    assert '"n_epochs":4' in world.asked[0][1]
    assert '"type":"supervised"' in world.asked[2][1]
    parted = await world.section._looked("t", MATERIAL, Choices(source="file", file="file-1"))
    assert parted.lines_of == PARTS.training_file.filename
    assert "lines are counted in “&lt;b&gt;a.jsonl”" in draw(words("en"), replace(parted, step=3), MATERIAL)
    whole = await world.section._looked("t", MATERIAL, Choices(source="file", file="file-1", aside=False))
    assert "lines are counted in" not in draw(words("en"), replace(whole, step=3), MATERIAL)


@pytest.mark.parametrize(
    ("status", "code", "blocks"),
    [
        (409, "conflict", False),
        (400, "look_too_slow", False),
        (400, "no_data", True),
        (429, "rate_limit_exceeded", True),
    ],
)
async def test_a_look_that_cannot_be_taken_stands_in_nobodys_way_but_a_refusal_does(
    status: int, code: str, blocks: bool
):
    error = {"error": {"message": "As sent.", "code": code, "type": "t", "param": None}}
    world = World(answers={"/api/estimates/round": (status, error)})
    seen = await world.section._looked("t", MATERIAL, Choices(source="dpo"))
    assert bool(seen.problem) is blocks
    assert bool(seen.unseen) is not blocks
    assert (seen.seen == SEEN) is not blocks


async def test_nothing_starts_that_was_not_looked_at_or_has_a_fault_or_is_held_without_a_reason():
    held = ready(30, signals={"dpo": HELD}, ready=False).model_dump()
    world = World(answers={"/api/assistants/fanal/readiness": (200, held)})
    fault = estimate(look={"findings": [Finding(code="nan_row", message="m")]})
    for choices, code in (
        (Choices(source="dpo"), "not_looked"),
        (Choices(source="sft", seen=SEEN, estimate=estimate()), "not_looked"),
        (Choices(source="dpo", seen=("fanal", 3, *SEEN[2:]), estimate=estimate()), "not_looked"),
        (Choices(source="dpo", seen=SEEN, estimate=fault), "faults_first"),
        (Choices(source="dpo", seen=SEEN, estimate=estimate(), reason="short"), "reason_needed"),
    ):
        with pytest.raises(Refused) as refused:
            await world.section._started("t", "fanal", choices)
        assert refused.value.code == code
    assert world.asked == []
    reason = Choices(source="dpo", seen=SEEN, estimate=estimate(), reason="I looked at each of them.")
    assert await world.section._started("t", "fanal", reason) == "ftjob-1"
    assert '"override_reason":"I looked at each of them."' in world.asked[0][1]


async def test_a_file_is_trained_on_by_what_its_rows_are():
    world = World()
    seen = ("fanal", None, "file", ("file-1", False), FOUR)
    choices = Choices(
        source="file", file="file-1", aside=False, settings=FOUR, seen=seen, estimate=estimate()
    )
    assert await world.section._started("t", "fanal", choices) == "ftjob-1"
    [(path, sent)] = world.asked
    assert path == "/v1/fine_tuning/jobs"
    assert '"n_epochs":4' in sent
    assert '"training_file":"file-1"' in sent
    assert "validation_file" not in sent


async def test_a_job_on_a_file_is_measured_on_the_part_that_belongs_to_it_or_is_parted_from_it_now():
    seen = ("fanal", None, "file", ("file-1", True), ())
    choices = Choices(source="file", file="file-1", seen=seen, estimate=estimate())
    world = World()
    await world.section._started("t", "fanal", choices)
    assert [path for path, _ in world.asked] == ["/api/splits/file-1", "/v1/fine_tuning/jobs"]
    assert '"training_file":"file-2","validation_file":"file-3"' in world.asked[1][1]
    listed = [PARTS.held_out_file, PARTS.training_file]
    world = World(answers={"/v1/files": (200, {"data": [one.model_dump() for one in listed]})})
    seen = ("fanal", None, "file", ("file-2", True), ())
    await world.section._started("t", "fanal", replace(choices, file="file-2", seen=seen))
    [(_, sent)] = world.asked
    assert '"training_file":"file-2","validation_file":"file-3"' in sent
    page = shown("en", Choices(), files=listed)
    assert "24 examples · 6 more kept aside" in page
    assert '<option value="file-3"' not in page
    assert 'name="aside" checked' in page


@pytest.mark.parametrize(
    ("rows", "code"), [(30, "frozen_file"), (30, "nothing_held_out"), (19, "never asked")]
)
async def test_of_a_file_that_has_to_stay_whole_everything_is_learned(rows: int, code: str):
    refused = {"error": {"message": "m", "code": code, "type": "t", "param": None}}
    file = FILE.model_copy(update={"rows": rows})
    answers = {"/v1/files": (200, {"data": [file.model_dump()]}), "/api/splits/file-1": (400, refused)}
    world = World(answers=answers)
    seen = ("fanal", None, "file", ("file-1", True), ())
    await world.section._started(
        "t", "fanal", Choices(source="file", file="file-1", seen=seen, estimate=estimate())
    )
    assert "validation_file" not in world.asked[-1][1]
    assert len(world.asked) == (1 if rows < 20 else 2)


async def test_a_file_of_frozen_feedback_that_is_held_asks_for_a_reason_and_sends_it():
    world, seen = World(), ("fanal", None, "file", ("file-1", True), ())
    held = Choices(source="file", file="file-1", seen=seen, estimate=estimate(held="Held.", ready=False))
    assert 'name="reason"' in draw(words("en"), replace(held, step=4), MATERIAL)
    with pytest.raises(Refused) as refused:
        await world.section._started("t", "fanal", held)
    assert refused.value.code == "reason_needed"
    reason = "I looked at each of them."
    assert await world.section._started("t", "fanal", replace(held, reason=reason)) == "ftjob-1"
    assert f'"override_reason":"{reason}"' in world.asked[-1][1]


def sign_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def person(request: Any) -> tuple[str, None]:
        return "t", None

    monkeypatch.setattr(world.section.screen, "person", person, raising=False)
    monkeypatch.setattr(world.section.screen, "spoken", nullcontext, raising=False)


async def test_a_step_that_an_address_names_is_looked_at_while_the_screen_says_so(
    monkeypatch: pytest.MonkeyPatch,
):
    world, named = World(), Choices(step=3, source="dpo")
    sign_in(world, monkeypatch)
    assert "data-looking" in await world.section.drawn("t", "fanal", named)
    page, found = await world.section.arrive(None, "fanal", named)  # type: ignore[arg-type]
    assert 'data-step="3"' in page
    assert (found.seen, found.arrived) == (SEEN, False)
    page, found = await world.section.arrive(None, "fanal", Choices(step=3, source="file", file="gone"))  # type: ignore[arg-type]
    assert 'data-step="1"' in page
    assert words("en")("error_no_file") in page


async def test_while_it_looks_the_screen_says_so_and_whatever_comes_the_wait_ends(
    monkeypatch: pytest.MonkeyPatch,
):
    busy = {"error": {"message": "As sent.", "code": "rate_limit_exceeded", "type": "t", "param": None}}
    world = World(answers={"/api/estimates/round": (429, busy)})
    sign_in(world, monkeypatch)
    press: Any = EventData(None, {"act": "go", "value": "2", "fields": {"source": ["dpo"]}, "once": "1"})
    pages = [page async for page, _ in world.section.go(press, None, "fanal", Choices())]  # type: ignore[arg-type]
    assert ["data-looking" in page for page in pages] == [True, False]
    assert 'data-step="1"' in pages[1]
    assert words("en")("error_rate_limit_exceeded") in pages[1]
