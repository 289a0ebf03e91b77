import re

from evals.comparison import all_differences, all_scores, changed
from evals.gate import Evidence, decide
from evals.report import page
from evals.scoring import Scoreboard
from service.contract.evaluations import EvaluationReport, EvaluationSpec, Fault
from tests.evals.runs import MODELS, fact_recall, scoreboard

ATTACK = "<script>alert('1')</script><img src=x onerror=alert(2)>"


def report_of(board: Scoreboard) -> tuple[EvaluationSpec, EvaluationReport]:
    primary = fact_recall()
    differences = all_differences(board, primary, 0)
    overall = differences[0]
    better, worse = changed(board, "live", primary)
    spec = EvaluationSpec(
        id="e",
        gateway="http://127.0.0.1:1",
        assistant="desk",
        models=MODELS,
        cases_sha256="0" * 64,
    )
    report = EvaluationReport(
        cases=len(board.cases),
        languages={"en": len(board.cases)},
        contestants={"candidate": "desk@2", "live": "desk@1"},
        primary=primary.name,
        scores=all_scores(board, primary, 0),
        differences=differences,
        gate=decide(Evidence(primary.title, 0.03, len(board.cases), 0, overall=overall)),
        examples_better=better,
        examples_worse=worse,
        seconds=1.0,
    )
    return spec, report


def test_the_page_escapes_every_text_of_a_user() -> None:
    board = scoreboard({"candidate": [1.0] * 8, "live": [0.0] * 8}, failed={"live": [7]})
    for case in board.cases:
        case.question, case.reference, case.facts = ATTACK, ATTACK, [ATTACK, [ATTACK]]
        case.topic, case.language, case.id = ATTACK, ATTACK, str(case.id) + ATTACK
    for theirs in board.answers.values():
        for answer in theirs:
            answer.text, answer.case, answer.adapter = ATTACK, answer.case + ATTACK, ATTACK
    board.answers["live"][7].error = ATTACK
    spec, report = report_of(board)
    spec.assistant = spec.models["candidate"] = report.contestants["candidate"] = ATTACK
    spec.id = spec.cases_sha256 = ATTACK
    html = page(spec, board, report)
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") > 20


def test_the_page_stands_alone() -> None:
    spec, report = report_of(board := scoreboard({"candidate": [1.0] * 8, "live": [0.5] * 8}))
    html = page(spec, board, report)
    fetched = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", html)
    assert [address for address in fetched if not address.startswith("#")] == []
    assert "<svg" in html
    assert "<script" not in html
    assert """content="default-src 'none'; style-src 'unsafe-inline'\"""" in html


def test_the_verdict_comes_first_in_plain_words() -> None:
    board = scoreboard({"candidate": [1.0] * 7 + [0.0], "live": [0.0] * 7 + [1.0]})
    html = page(report_of(board)[0], board, report_of(board)[1])
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html[html.index("<main>") :]))
    assert text.index("Better than what answers today") < 120
    assert "the candidate answers 7 better, 0 as well and 1 worse" in text


def test_a_french_reader_gets_the_whole_page_in_french() -> None:
    board = scoreboard({"candidate": [1.0] * 7 + [0.0], "live": [0.0] * 7 + [0.3]}, failed={"live": [7]})
    board.answers["live"][7].fault = Fault(code="other", values={"adapter": "a1", "expected": "b2"})
    spec, report = report_of(board)
    html = page(spec, board, report, "fr")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html[html.index("<main>") :]))
    assert '<html lang="fr">' in html
    assert "l’adaptateur a1 a répondu, ce devait être b2" in text
    assert "la version candidate répond mieux à 7 questions" in text
    assert "C’est mieux que la version en service" in text
    left = {"the", "and", "of", "better", "is", "with", "worse"} & set(text.lower().split())
    assert left == set(), left


def test_a_plot_uses_the_colours_of_the_page() -> None:
    spec, report = report_of(board := scoreboard({"candidate": [1.0, 0.5], "live": [0.5, 0.5]}))
    (svg, *_) = re.findall(r"<svg.*?</svg>", page(spec, board, report), flags=re.DOTALL)
    assert "var(--candidate)" in svg
    assert "DejaVu" not in svg
    assert 'aria-label="Facts stated: Candidate 75 %, Live 50 %"' in svg
