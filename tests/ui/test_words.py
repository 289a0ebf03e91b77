import re
import string
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

from service.contract.assistants import AssistantChange
from service.contract.audit import Action
from service.contract.duels import Choice, Pairing
from service.contract.jobs import DpoHyperparameters, EventCode, Hyperparameters, KtoHyperparameters
from service.contract.limits import Limits
from service.contract.releases import ReleaseState
from service.contract.reports import FindingCode
from service.contract.reviews import SkipReason, Verdict, Why
from service.contract.status import EngineState
from service.contract.timeline import Given, What
from service.domain.hyperparameters import Bounds, Run, resolve
from ui import assistants
from ui.acts import Act
from ui.client import Refused
from ui.client.door import of_body
from ui.estimates import PLAIN
from ui.feedback import BLAME, PRAISE, SAID
from ui.pages import _environment
from ui.words import LANGUAGES, figure, refusal, words

ENGLISH, FRENCH = LANGUAGES["en"], LANGUAGES["fr"]
ROOM = Path(__file__).parent.parent.parent / "ui"
USE = re.compile(r"""\bw\(\s*["']([a-z_]+)["']\s*[,)]""")
CHOICE = re.compile(r"""\bw\(\s*["']([a-z_]+_)["']\s*~""")


def sources() -> list[str]:
    return [path.read_text() for path in [*ROOM.glob("*.py"), *ROOM.glob("templates/**/*.html")]]


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_both_languages_have_the_same_sentences():
    assert ENGLISH.keys() == FRENCH.keys()


ALIKE = {
    "menu", "admin", "conversations", "message", "assistant", "loss", "runs_from_to", "slice_questions", "points",
    "state_candidate", "timeline_field_description", "figure_conversations", "span_minutes", "span_minutes_one",
    "says_example", "event_round_finding", "format_sharegpt", "format_alpaca", "import_source", "import_licence",
    "sheet_total", "duel_choice_a", "duel_choice_b", "review_question", "tab_assistants", "tab_audit",
    "column_conversation", "column_document", "detail_assistant", "detail_conversations", "detail_duels",
    "document_pages", "document_page", "draft_question",
}  # fmt: skip
"""Sentences that are the same in both languages, rightly."""


def test_a_sentence_is_translated_unless_it_is_rightly_alike():
    assert {name for name in ENGLISH if ENGLISH[name] == FRENCH[name]} == ALIKE


def test_a_percentage_is_written_as_each_language_has_it():
    assert [name for name, said in ENGLISH.items() if " %" in said] == []
    assert [name for name, said in FRENCH.items() if re.search(r"[}\d]%", said)] == []


def test_a_sentence_stands_on_one_page_of_each_language_only():
    for language in ("en", "fr"):
        files = sorted((ROOM / "words" / language).glob("[a-z]*.py"))
        pages = [import_module(f"ui.words.{language}.{file.stem}").SENTENCES for file in files]
        assert sum(len(page) for page in pages) == len(LANGUAGES[language])


def test_a_sentence_takes_the_same_values_in_both_languages():
    # A singular may say its one in letters.
    differing = [name for name in ENGLISH if fields(ENGLISH[name]) | {"n"} != fields(FRENCH[name]) | {"n"}]
    assert differing == []


def test_every_sentence_that_a_screen_asks_for_exists():
    asked = {name for source in sources() for name in USE.findall(source)}
    assert len(asked) > 150
    assert asked - ENGLISH.keys() == set()


def test_every_family_of_sentences_that_a_screen_chooses_from_has_members():
    families = {start for source in sources() for start in CHOICE.findall(source)}
    assert {"role_", "job_", "reason_", "state_"} <= families
    assert [start for start in families if not any(name.startswith(start) for name in ENGLISH)] == []


def test_every_choice_that_the_contract_allows_has_a_sentence():
    names = {f"review_why_{why}" for why in get_args(Why)} | {
        f"review_skip_{r}" for r in get_args(SkipReason)
    }
    names |= {f"review_{v}" for v in get_args(Verdict)} | {f"duel_chose_{c}" for c in get_args(Choice)}
    names |= {f"duel_pairing_{pairing}" for pairing in get_args(Pairing)}
    names |= {f"reason_{reason}" for reason in (*PRAISE, *BLAME)} | set(SAID.values())
    names |= {
        f"job_{s}"
        for s in (
            "validating_files",
            "queued",
            "running",
            "pausing",
            "paused",
            "succeeded",
            "failed",
            "cancelled",
        )
    }
    names |= {f"role_{role}" for role in ("user", "reviewer", "administrator")}
    names |= {f"found_{code}" for code in get_args(FindingCode)}
    names |= {f"state_{state}" for state in get_args(ReleaseState)}
    names |= {f"act_{action.replace('.', '_')}" for action in get_args(Action)}
    names |= {f"engine_{state}" for state in get_args(EngineState)} | {
        f"limit_{name}" for name in Limits.model_fields
    }
    whats = set(get_args(What)) - {"feedback", "training", "staging"}  # said in their parts
    names |= {f"timeline_{what}" for what in whats} | {f"timeline_given_{one}" for one in Given.model_fields}
    names |= {f"timeline_training_{method}" for method in ("sft", "dpo", "kto", "import")}
    names |= {f"timeline_field_{name}" for name in AssistantChange.model_fields}
    assert names - {"timeline_given_people"} - ENGLISH.keys() == set()


def test_every_refusal_that_a_screen_may_meet_has_a_sentence():
    """Of the rooms behind a button of a screen; what has no code of its own is said as the service said it."""
    names = (
        "releases",
        "staging",
        "evaluations",
        "users",
        "assistants",
        "feedback",
        "duels",
        "imports",
        "rounds",
    )
    source = "\n".join((ROOM.parent / "service" / "domain" / f"{name}.py").read_text() for name in names)
    codes = set(re.findall(r'code="([a-z_]+)"', source)) - set(get_args(EventCode))
    assert {"nothing_to_roll_back", "name_taken", "other_on_trial", "duel_over"} <= codes
    assert {f"error_{code}" for code in codes} - ENGLISH.keys() == set()


def test_every_refusal_of_an_adapter_has_a_sentence():
    room = ROOM.parent / "service" / "storage"
    source = "\n".join((room / name).read_text() for name in ("adapters.py", "archive.py"))
    codes = set(re.findall(r'code="([a-z_]+)"', source))
    assert {"pickle_refused", "adapter_broken", "rank_not_served", "invalid_file"} <= codes
    assert {f"bring_refused_{code}" for code in codes} - ENGLISH.keys() == set()


def test_every_refusal_of_a_whole_file_has_a_sentence():
    rooms = [ROOM.parent / "service" / room for room in ("intake", "api", "domain")]
    source = "\n".join(path.read_text() for room in rooms for path in room.glob("*.py"))
    codes = set(re.findall(r"""BadFile\(\s*"([a-z_]+)\"""", source))
    assert {"unknown_file", "no_rows", "broken_workbook"} <= codes
    with_line = {"not_json", "bad_csv", "row_too_long"}
    assert {f"at_line_{code}" for code in with_line | {"invalid_file"}} - ENGLISH.keys() == set()
    with_line |= {"bad_row"}  # it brings a problem with reasons of its own
    wanted = codes - with_line | {"too_slow", "file_gone", "too_much_memory", "import_crashed"}
    assert {f"error_{code}" for code in wanted} - ENGLISH.keys() == set()


GIVEN: dict[Any, Hyperparameters] = {
    "sft": Hyperparameters(), "dpo": DpoHyperparameters(), "kto": KtoHyperparameters(),
}  # fmt: skip


def test_every_fault_that_a_look_finds_and_every_reason_of_a_setting_has_a_sentence():
    rooms = [
        ROOM.parent / "training" / f"{name}.py" for name in ("data", "reading_back", "rows", "estimates")
    ]
    source = "\n".join(path.read_text() for path in rooms)
    faults = set(re.findall(r"""Refused\(\s*"([a-z_]+)\"""", source))
    faults -= {"file_missing", "wrong_sha256"}  # of a folder that nobody but the service lays out
    faults -= {"too_much_data"}  # a look reads only small files whole
    assert {"row_too_long", "one_label", "held_out_case", "no_loss"} <= faults
    names = {f"{start}{code}" for code in faults for start in ("fault_", "mend_fault_")}
    for kind, given in GIVEN.items():
        for held_out in (0, 3, 30):
            run = Run(kind=kind, rows=60, held_out=held_out, bounds=Bounds(16, 2047, 64, 576))
            _, reasons = resolve(run, given, seed=0)
            names |= {f"because_{reason.code}" for name, reason in reasons.items() if name in PLAIN}
            names |= {f"how_{name}" for name in reasons if name in PLAIN}
    assert {name for name in names if name not in ENGLISH} == set()


def test_no_sentence_is_there_for_nothing():
    text = "\n".join(sources()).replace("'", '"')
    starts = set(CHOICE.findall(text)) | {
        "error_",
        "event_",
        "chosen_",
        "failed_",
        "at_line_",
        "metric_",
        "wrong_",
        "setting_",
        "timeline_",
        "bring_refused_",
        "excluded_",
        "role_",
        "curve_",
        "detail_",
        "how_",
        "because_",
        "cause_",
        "sure_",
        "span_",
        "fault_",
        "mend_fault_",
        "found_",
    }
    unused = [
        name
        for name in ENGLISH
        if f'"{name}"' not in text.replace(f'"{name}": ', "")
        and f'"{name.removesuffix("_one")}"' not in text.replace(f'"{name.removesuffix("_one")}": ', "")
        and not any(name.startswith(start) for start in starts)
    ]
    assert unused == []


def test_a_count_in_a_sentence_and_a_day_are_written_as_each_language_has_them():
    assert words("en")("tokens_today", n=20_000) == "20,000 tokens today"
    assert words("fr")("tokens_today", n=20_000).startswith("20\u202f000 ")
    for language, day in (("en", "14 Feb 2026"), ("fr", "14 févr. 2026")):
        template = _environment().from_string("{{ 1771070000 | day }}")
        assert template.render(w=words(language)) == day


def test_one_is_said_in_the_singular_and_in_french_nought_too():
    assert words("en")("minutes", n=1) == "about a minute"
    assert words("en")("ready_of", n=0, needed=2, missing=2).startswith("0 of 2")
    assert "réponse corrigée" in words("fr")("ready_of", n=0, needed=2, missing=2)


@pytest.mark.parametrize(
    ("value", "digits", "english", "french"),
    [(True, None, "yes", "oui"), (0.25, None, "0.25", "0,25"), (2.0, 2, "2.00", "2,00"), (3, None, "3", "3"),
     ("robust", None, "robust", "robust")],
)  # fmt: skip
def test_figures_are_written_as_each_language_has_them(value, digits, english: str, french: str):
    assert figure(words("en"), value, digits) == english
    assert figure(words("fr"), value, digits) == french


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "Two Words"), ("title", ""), ("description", "x" * 501), ("instructions", "x" * 20_001),
     ("starters", "\n".join("abcdefghi")), ("temperature", "hot"), ("max_tokens", "0")],
)  # fmt: skip
async def test_a_field_of_an_assistant_that_cannot_be_is_named_in_the_readers_language(
    field: str, value: str
):
    act = Act(act="create", fields={"name": ["desk"], "title": ["Desk"], field: [value]})
    with pytest.raises(Refused) as refused:
        await assistants.do(None, "token", act)  # type: ignore[arg-type]
    assert refused.value.code == f"assistant_{field}"
    assert refusal(words("fr"), refused.value) == words("fr")(f"error_assistant_{field}")


def test_a_release_that_is_not_live_is_not_said_to_be_still_to_come():
    """It may have answered before, or be on trial."""
    assert "yet" not in ENGLISH["learnt_not_live"].split()
    assert "encore" not in FRENCH["learnt_not_live"].split()


def test_french_signs_do_not_fall_to_the_next_line():
    assert "\u00a0?" in words("fr")("say_why_bad")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refusal_without_a_sentence_of_its_own_is_said_in_the_gateways_words(language: str):
    said = refusal(words(language), Refused(400, "line_3", "Line 3: 'messages' is missing."))
    assert "Line 3: 'messages' is missing." in said


@pytest.mark.parametrize("code", ["not_json", "bad_csv", "row_too_long", "invalid_file"])
def test_a_refusal_for_a_line_names_it_in_the_readers_language(code: str):
    refused = of_body(400, {"error": {"message": "As sent.", "code": code, "line": 12}})
    said = refusal(words("fr"), refused)
    assert "igne 12" in said
    assert said.startswith("As sent.") is False
    without = refusal(words("fr"), of_body(400, {"error": {"message": "As sent.", "code": code}}))
    assert "As sent." in without


def test_a_refusal_with_a_sentence_of_its_own_is_said_in_the_readers_language():
    assert refusal(words("fr"), Refused(503, "engine_unavailable", "starting")).startswith(
        "L’assistant se réveille"
    )
