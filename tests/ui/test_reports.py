"""What came of a training job as sentences, without a browser."""

import re
from typing import get_args

import pytest

from service.contract.reports import Finding, FindingCode
from service.domain.reports import SAID, found
from ui.reports import said
from ui.words import words

LANGUAGES = ("en", "fr")
COUNTS = re.compile(r"\{(n|step|total|passes|better|worse|before|now)\}")
MANY = re.compile(r"\b1 (?!as\b)(\w+s|are)\b")
"""What is said of many after a one."""


def counted(code: FindingCode, count: int) -> Finding:
    fields = set(re.findall(r"\{(\w+)\}", SAID[code]))
    return found(code, **dict.fromkeys(fields, count))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", [code for code in get_args(FindingCode) if COUNTS.search(SAID[code])])
def test_a_count_of_one_is_not_said_as_if_it_were_many(language: str, code: FindingCode):
    w = words(language)
    one, ours = said(w, counted(code, 1))
    assert ours
    assert not MANY.search(one), one


def test_nought_of_one_kind_and_one_of_another_are_said_in_both_languages():
    finding = found("better_hold", n=1, better=0, worse=1)
    assert said(words("en"), finding)[0] == (
        "Its evaluation on 1 question holds it back (answered better: 0, worse: 1)."
    )
    assert "sur 1 question le retient" in said(words("fr"), finding)[0]


def test_a_count_has_its_thousands_apart_and_a_share_the_sign_of_the_language():
    finding = found("done", n=12_000, step=1, passes=0.5)
    assert said(words("en"), finding)[0] == "The training is done (steps: 1, rows: 12,000, passes: 0.5)."
    assert "passages\u00a0: 0,5" in said(words("fr"), finding)[0]
