import re
import string
from pathlib import Path
from typing import get_args

from evals import faults, reasons
from evals.french import FRENCH
from evals.metrics import METRICS
from evals.phrases import LABELS, LANGUAGES, NAMES, phrases
from evals.ragas_metrics import JUDGED_METRICS, STRING_METRICS
from service.contract.evaluations import Answer, FaultCode

ROOM = Path(reasons.__file__).parent
ASKED = re.compile(r"""\b(?:t|say|self)\(\s*"([^"]+)"|(?:t|say)\('([^']+)'""")
FR = phrases("fr")


def asked() -> set[str]:
    """Every English sentence that an evaluation may say to people."""
    sources = [path.read_text() for path in (ROOM / "report.html", ROOM / "report.py", ROOM / "phrases.py")]
    found = {one or other for source in sources for one, other in ASKED.findall(source)}
    found |= {
        *reasons.SENTENCES.values(),
        reasons.USELESS,
        reasons.FEW,
        reasons.MANY,
        *faults.SENTENCES.values(),
    }
    found |= {*NAMES.values(), *LABELS.values(), *LANGUAGES.values(), "pass", "hold", "language", "topic"}
    found |= {
        text for one in (*METRICS, *STRING_METRICS, *JUDGED_METRICS) for text in (one.title, one.meaning)
    }
    headlines = re.findall(r'return "([A-Z][^"]+)"', (ROOM / "report.py").read_text())
    return found | set(headlines)


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_every_sentence_has_its_french_and_none_is_there_for_nothing():
    assert len(asked()) > 100
    assert asked() ^ FRENCH.keys() == set()


def test_a_sentence_takes_the_same_values_in_both_languages():
    assert [english for english, french in FRENCH.items() if fields(english) != fields(french)] == []


def test_french_figures_have_a_comma_and_signs_do_not_fall_to_the_next_line():
    assert (FR.percent(0.8125), FR.points(-0.034), FR.size(0.125)) == ("81,2 %", "\N{MINUS SIGN}3,4", "12,5")
    assert FR.decimals(0.25, 4, signed=True) == "+0,2500"
    assert FR("A good answer:") == "Une bonne réponse\N{NO-BREAK SPACE}:"


def test_every_fault_has_its_sentence_and_an_answer_without_a_code_is_told_as_it_was_kept():
    assert faults.SENTENCES.keys() == set(get_args(FaultCode))
    answer = Answer(case="1", contestant="live", text="", error="the moon fell")
    assert faults.why(FR, answer) == "the moon fell"
