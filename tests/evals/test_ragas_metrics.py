"""ragas really loaded and run. The judge is a small OpenAI-compatible server that answers in ragas' JSON:
a judge model worth the name does not run on a test machine; the calls, the SDK and ragas are real."""

import asyncio
import os
from pathlib import Path

import pytest

from evals.ragas_metrics import RagasMetrics
from service.contract.evaluations import Case, EvaluationReport, Judge
from tests.evals.gateway import ADAPTERS, Asked, gateway, judge, served
from tests.evals.runs import read, run, write_run

CASE = Case(
    id="c", question="What is <b>the</b> capital?", reference="The capital is Paris.", facts=["Paris"]
)


@pytest.mark.heavy
def test_ragas_scores_without_a_judge_and_without_telemetry() -> None:
    ragas = RagasMetrics(None, None, 5.0)
    ragas.load()
    assert os.environ["RAGAS_DO_NOT_TRACK"] == "true"

    async def scores(answer: str) -> list[float | None]:
        return [await ragas.score(metric.name, answer, CASE) for metric in ragas.metrics]

    assert asyncio.run(scores("The capital is Paris.")) == [1.0, 1.0]
    assert asyncio.run(scores("")) == [0.0, 0.0]
    near, far = asyncio.run(scores("The capital is Lyon.")), asyncio.run(scores("xyz"))
    assert all(a and 0 <= (b or 0) < a < 1 for a, b in zip(near, far, strict=True))


@pytest.mark.heavy
def test_a_judge_scores_and_a_judge_that_fails_is_a_failed_score() -> None:
    asked = Asked()
    with served(judge(asked, {"‹PARIS›": "right", "maybe": "partly"})) as url:
        ragas = RagasMetrics(Judge(base_url=url + "/v1", model="judge"), None, 20.0)
        ragas.load()

        async def both(answer: str) -> list[float | None]:
            return [
                await ragas.score(name, answer, CASE) for name in ("judged_correct", "factual_correctness")
            ]

        assert asyncio.run(ragas.score("judged_correct", "It is <PARIS>", CASE)) == 1.0
        assert asyncio.run(both("maybe Paris")) == [0.5, 0.0]
        assert asyncio.run(both("garble")) == [None, None]
        before = len(asked.judged)
        assert asyncio.run(both("  ")) == [0.0, 0.0]
        assert len(asked.judged) == before
    assert all(body["temperature"] == 0 and body["model"] == "judge" for body in asked.judged)
    assert "What is <b>the</b> capital?" in str(asked.judged[0]["messages"])


@pytest.mark.heavy
def test_an_evaluation_with_references_and_a_judge_runs_end_to_end(tmp_path: Path) -> None:
    cases = [
        {
            "id": f"c{n}",
            "question": f"Question {n}?",
            "reference": f"Answer number {n}.",
            "facts": [f"number {n}"],
        }
        for n in range(8)
    ]
    texts = {"desk@2": "Surely answer number {n}.", "desk@1": "I do not know.", "base-model": "garble"}
    table = {f"Question {n}?": {who: text.format(n=n) for who, text in texts.items()} for n in range(8)}
    asked = Asked()
    with served(gateway(table, asked, ADAPTERS)) as url, served(judge(asked, {"Surely": "right"})) as judging:
        spec = {"judge": {"base_url": judging + "/v1", "model": "judge-1"}, "primary": "judged_correct"}
        folder = write_run(tmp_path / "run", cases, url, **spec)
        code, errors = run(folder)
    assert code == 0, errors
    report = EvaluationReport.model_validate(read(folder, "report.json"))
    assert report.judge == "judge-1"
    assert report.primary == "judged_correct"
    assert report.gate.verdict == "pass"
    found = {(one.contestant, one.metric): one for one in report.scores if one.slice == "all"}
    assert found["candidate", "judged_correct"].mean == 1.0
    assert found["candidate", "factual_correctness"].mean == 1.0
    assert found["live", "judged_correct"].mean == 0.0
    garbled = found["base", "judged_correct"]
    assert (garbled.mean, garbled.cases, garbled.failed) == (0.0, 8, 8)
    assert found["candidate", "ragas_chrf"].mean == pytest.approx(found["candidate", "chrf"].mean, abs=1e-6)
    assert "judge-1" in (folder / "report.html").read_text()
