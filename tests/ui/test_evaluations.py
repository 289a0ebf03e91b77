import re
from typing import Any

import pytest

from service.contract.evaluations import Change, Difference, Evaluation, EvaluationReport, Gate, Score
from ui.evaluations import drawn
from ui.words import words

LANGUAGES = ("en", "fr")
EN = words("en")
BAD = "<b>bad</b><script>x</script>"


def score(who: Any, mean: float, part: str = "all", cases: int = 10, **more: Any) -> Score:
    fields: dict[str, Any] = {"metric": "fact_recall", "low": 0.0, "high": 1.0, "failed": 0} | more
    return Score(contestant=who, mean=mean, slice=part, cases=cases, **fields)


def difference(mean: float, part: str, half: float = 0.05, **more: Any) -> Difference:
    fields: dict[str, Any] = {"metric": "fact_recall", "against": "live", "cases": 10} | more
    return Difference(mean=mean, low=mean - half, high=mean + half, slice=part, **fields)


def change(case: str, score_before: float, score_now: float, **more: Any) -> Change:
    fields: dict[str, Any] = {
        "question": f"question {case}", "language": "fr", "topic": "fares", "against": "live",
        "before": f"before {case}", "now": f"now {case}",
    }  # fmt: skip
    return Change(case=case, score_before=score_before, score_now=score_now, **fields | more)


def report(**more: Any) -> EvaluationReport:
    parts = {"topic:bikes": -0.3, "topic:fares": 0.2, "language:fr": -0.04}
    each = (("base", 0.0), ("live", 0.4), ("candidate", 0.3))
    fields: dict[str, Any] = {
        "cases": 10, "languages": {"en": 6, "fr": 4}, "primary": "fact_recall", "seconds": 1.0,
        "contestants": {"candidate": "a@2", "live": "a@1", "base": "b"},
        "scores": [
            score("base", 0.1), score("live", 0.5), score("candidate", 0.75, low=0.61, high=0.88, failed=2),
            *(score(who, at, part, 4) for part in parts for who, at in each),
        ],
        "differences": [difference(0.25, "all"), *(difference(mean, part) for part, mean in parts.items()),
                        *(difference(0.9, part, against="base") for part in parts)],
        "gate": Gate(verdict="pass", reasons=["Because."]),
        "examples_better": ["3"], "examples_worse": ["1", "2"],
        "changes": [change("1", 1.0, 0.0), change("2", 0.5, 0.25), change("3", 0.0, 1.0)],
    }  # fmt: skip
    return EvaluationReport(**fields | more)


def evaluation(found: EvaluationReport | None, **more: Any) -> Evaluation:
    fields: dict[str, Any] = {
        "id": "eval_1", "assistant": "a", "release": "rel_2", "release_number": 2, "status": "succeeded",
        "report": found, "error": None, "created_at": 1, "finished_at": None,
    }  # fmt: skip
    return Evaluation(**fields | more)


def page_of(found: EvaluationReport, language: str = "en") -> str:
    return drawn(words(language), [evaluation(found)], {}, {}).replace("\u00a0", " ")


def texts(page: str, tag: str) -> list[str]:
    """What the elements of a kind say, without their markup."""
    found = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", page, flags=re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", one)).strip() for one in found]


def test_each_result_is_given_with_its_range_and_what_stayed_unanswered():
    rows = texts(page_of(report()).partition("data-slices")[0], "tr")
    assert rows[0] == "release 2 75% 61 to 88% 2 unanswered"
    assert rows[1:] == ["live now 50% 0 to 100%", "base model 10% 0 to 100%"]


def test_topics_and_languages_come_with_their_figures_the_worst_change_first():
    rows = texts(page_of(report()).partition("data-slices")[2], "tr")
    assert rows[0] == "Questions about Questions Release 2 Live now Base model Change"
    assert rows[1:] == [
        "bikes topic 4 30% 40% 0% worse −30 points −35 to −25",
        "French language 4 30% 40% 0% no clear change −4 points −9 to +1",
        "fares topic 4 30% 40% 0% better +20 points +15 to +25",
    ]


def test_where_nothing_was_compared_the_weakest_topic_comes_first_and_no_change_is_made_up():
    alone = report(
        scores=[score("candidate", 0.5), score("candidate", 0.9, "topic:a"), score("candidate", 0.1, "topic:b")],
        differences=[], changes=[], examples_better=[], examples_worse=[],
    )  # fmt: skip
    page = page_of(alone)
    assert [row[0] for row in texts(page.partition("data-slices")[2], "tr")[1:]] == ["b", "a"]
    assert "points" not in page.replace(EN("slices_text", against=""), "")
    assert EN("slices_alone") in page


def test_the_base_model_is_what_a_candidate_is_held_against_when_nothing_is_live():
    found = report(differences=[difference(0.5, "topic:fares", against="base")])
    assert "+50 points" in page_of(found)
    assert "against the base model" in page_of(found)


def test_the_answers_that_changed_most_are_shown_before_and_now_the_worse_ones_first():
    page = page_of(report())
    told = ["question 1", "before 1", "now 1", "question 2", "question 3", "before 3", "now 3"]
    places = [page.index(text) for text in told]
    assert places == sorted(places)
    assert page.index(EN("changed_worse", n=2)) < page.index("question 1")
    assert page.index("question 2") < page.index(EN("changed_better", n=1)) < page.index("question 3")
    assert "scored 25%" in page


def test_an_answer_that_never_came_is_told_from_an_empty_one():
    page = page_of(report(changes=[change("1", 1.0, 0.0, now=None), change("2", 1.0, 0.0, now=" ")]))
    assert page.count(EN("no_valid_answer")) == page.count(EN("empty_answer")) == 1


def test_a_report_of_an_earlier_version_says_where_its_answers_are():
    earlier = report().model_dump()
    del earlier["changes"]
    page = page_of(EvaluationReport.model_validate(earlier))
    assert EN("changes_earlier") in page
    assert "data-change" not in page
    assert EN("changes_earlier") not in page_of(report())


def test_only_the_newest_evaluation_of_each_release_is_shown_in_full_and_only_the_first_is_open():
    found = [
        evaluation(None, id="eval_4", status="running"), evaluation(report(), id="eval_3"),
        evaluation(report(), id="eval_2"), evaluation(report(), id="eval_1", release="rel_1", release_number=1),
    ]  # fmt: skip
    page = drawn(EN, found, {}, {})
    assert re.findall(r'data-keep="slices:(\w+)"', page) == ["eval_3", "eval_1"]
    assert re.findall(r'data-keep="slices:(\w+)" data-slices open', page) == ["eval_3"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_in_a_report_is_markup(language: str):
    parts = [f"topic:{BAD}", f"language:{BAD}", f"{BAD}:x"]
    found = report(
        scores=[score("candidate", 0.5), *(score("candidate", 0.5, part) for part in parts)],
        differences=[difference(0.1, part) for part in parts],
        changes=[change(BAD, 0, 1, question=BAD, topic=BAD, language=BAD, before=BAD, now=BAD)],
    )  # fmt: skip
    page = page_of(found, language)
    assert "<b>bad" not in page
    assert "<script>" not in page
    assert page.count("&lt;b&gt;bad") >= 8
