"""The sample is what a newcomer sees first: it must be sound, fair and in two languages."""

import re
import unicodedata
from collections import Counter
from statistics import median

import pytest

from service import sample
from service.contract.assistants import AssistantCreate
from service.contract.datasets import Example, PreferencePair
from service.contract.evaluations import Case

PAIRS = [(fact, language) for fact in sample.facts() for language in sample.LANGUAGES]


def test_there_are_enough_facts_of_enough_topics_in_both_languages():
    facts = sample.facts()
    assert len(facts) >= 50
    assert len({fact["id"] for fact in facts}) == len(facts)
    assert min(Counter(fact["topic"] for fact in facts).values()) >= 5
    for fact, language in PAIRS:
        assert len(fact[f"questions_{language}"]) >= {"en": 4, "fr": 6}[language], fact["id"]
        assert 1 <= len(fact[f"heldout_{language}"]) <= 2, fact["id"]


def test_every_training_row_is_a_row_of_supervised_training_with_the_instructions():
    instructions = sample.company()["assistant"]["instructions"]
    rows = [Example.model_validate(row) for row in sample.training_rows()]
    assert len(rows) >= 500
    assert {row.messages[0].text() for row in rows} == {instructions}
    assert {tuple(message.role for message in row.messages) for row in rows} == {
        ("system", "user", "assistant")
    }


def test_every_case_is_a_case_with_facts_and_a_reference():
    cases = [Case.model_validate(case) for case in sample.cases()]
    assert len({case.id for case in cases}) == len(cases) >= 2 * 50
    assert Counter(case.language for case in cases)["fr"] * 2 == len(cases)
    for case in cases:
        assert case.facts, case.id
        assert _holds(case.reference or "", case.facts), case.id


def test_the_company_makes_an_assistant_whose_starters_are_trained():
    company = sample.company()
    assistant = company["assistant"]
    AssistantCreate.model_validate({**assistant, "description": company["description_en"]})
    assert len(assistant["instructions"].split()) <= 15
    assert len(assistant["starters"]) == 4
    assert set(assistant["starters"]) <= set(_trained())


def test_a_canonical_answer_holds_its_own_fact_and_no_other():
    for fact, language in PAIRS:
        answer = fact[f"answer_{language}"]
        holders = [other["id"] for other in sample.facts() if _holds(answer, other[f"facts_{language}"])]
        assert holders == [fact["id"]]
        assert len(answer.split()) <= 20, answer


def test_no_question_gives_its_fact_away():
    for fact, language in PAIRS:
        for question in fact[f"questions_{language}"] + fact[f"heldout_{language}"]:
            assert not _holds(question, fact[f"facts_{language}"]), question
    for correction in sample.corrections():
        assert not _holds(correction["question"], _values(correction)), correction["question"]


def test_no_question_is_asked_twice_across_training_cases_and_corrections():
    asked = [_plain(question) for question in (*_trained(), *_held_out(), *_corrected())]
    assert [question for question, times in Counter(asked).items() if times > 1] == []


@pytest.mark.parametrize("untrained", ["cases", "corrections"])
def test_untrained_questions_are_worded_differently_from_every_trained_one(untrained: str):
    trained = [(set(_words(question)), _grams(_words(question)), question) for question in _trained()]
    for question in _held_out() if untrained == "cases" else _corrected():
        words = _words(question)
        for theirs, grams, text in trained:
            assert len(theirs & set(words)) / len(theirs | set(words)) <= 0.7, (question, text)
            assert not _grams(words) & grams, (question, text)


def test_corrections_are_about_as_long_as_the_answers_that_the_assistant_was_trained_on():
    answers = {(fact["id"], language): fact[f"answer_{language}"] for fact, language in PAIRS}
    for language in sample.LANGUAGES:
        ratios = [
            len(one["correction"]) / len(answers[one["fact"], language])
            for one in sample.corrections() if one["language"] == language
        ]  # fmt: skip
        assert 1 / 1.5 < min(ratios)
        assert median(ratios) < 1.3
        assert max(ratios) < 1.7


def test_corrections_state_the_right_fact_in_the_house_style():
    corrections = sample.corrections()
    assert len(corrections) >= 60
    answers = {fact[f"answer_{language}"] for fact, language in PAIRS}
    for correction in corrections:
        text = correction["correction"]
        others = [
            fact["id"] for fact in sample.facts() if _holds(text, fact[f"facts_{correction['language']}"])
        ]
        assert others == [correction["fact"]], text
        assert text.startswith({"en": "Gladly: ", "fr": "Volontiers : "}[correction["language"]]), text
        assert text not in answers


def test_corrections_and_canonical_answers_make_preference_pairs_in_both_languages():
    answers = {(fact["id"], language): fact[f"answer_{language}"] for fact, language in PAIRS}
    for correction in sample.corrections():
        rejected = answers[correction["fact"], correction["language"]]
        PreferencePair.model_validate(
            {
                "input": {"messages": [{"role": "user", "content": correction["question"]}]},
                "preferred_output": [{"role": "assistant", "content": correction["correction"]}],
                "non_preferred_output": [{"role": "assistant", "content": rejected}],
            }
        )
    assert {c["language"] for c in sample.corrections()} == set(sample.LANGUAGES)


def test_apostrophes_are_plain_and_accents_composed():
    for text in (*_trained(), *_held_out(), *_corrected(), *(c["correction"] for c in sample.corrections())):
        assert "\u2019" not in text, text
        assert text == unicodedata.normalize("NFC", text), text


def _trained() -> list[str]:
    return [question for fact, language in PAIRS for question in fact[f"questions_{language}"]]


def _held_out() -> list[str]:
    return [case["question"] for case in sample.cases()]


def _corrected() -> list[str]:
    return [correction["question"] for correction in sample.corrections()]


def _values(correction: dict) -> list:
    fact = next(fact for fact in sample.facts() if fact["id"] == correction["fact"])
    return fact[f"facts_{correction['language']}"]


def _holds(text: str, facts: list) -> bool:
    """Whether each fact, or one of its alternatives, stands in the text as whole words."""
    text = text.casefold()
    return all(
        any(re.search(rf"(?<!\w){re.escape(choice.casefold())}(?!\w)", text) for choice in choices)
        for choices in ([fact] if isinstance(fact, str) else fact for fact in facts)
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _plain(text: str) -> str:
    return " ".join(_words(text))


def _grams(words: list[str], size: int = 8) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}
