import pytest

from evals.metrics import METRICS, chrf, exact_match, fact_recall, facts_found, length_ratio, rouge_l
from service.contract.evaluations import Case


def test_fact_recall_is_the_share_of_facts_stated() -> None:
    facts: list[str | list[str]] = ["45 jours", ["sans frais", "gratuit"], "étiquette"]
    answer = "Vous avez 45\u00a0jours ; le retour est gratuit."
    assert facts_found(answer, facts) == [True, True, False]
    assert fact_recall(answer, facts) == pytest.approx(2 / 3)


def test_exact_match_forgives_case_and_a_full_stop_only() -> None:
    assert exact_match("  PARIS. ", "Paris") == 1.0
    assert exact_match("Paris, France", "Paris") == 0.0


def test_chrf_is_sacrebleus_sentence_score() -> None:
    from sacrebleu import sentence_chrf

    answer, reference = "La livraison prend trois jours.", "La livraison prend 3 jours ouvrés."
    assert chrf(answer, reference) == pytest.approx(sentence_chrf(answer, [reference]).score / 100)
    assert 0.5 < chrf(answer, reference) < 0.9
    assert chrf("ok", "ok") == 1.0


@pytest.mark.heavy  # rouge brings nltk and scipy: two seconds
def test_rouge_l_counts_the_longest_common_run_of_words() -> None:
    # LCS of 'the cat sat' and 'the cat ran off' is 'the cat': P = 2/3, R = 2/4, F1 = 4/7.
    assert rouge_l("the cat sat", "the cat ran off") == pytest.approx(4 / 7)


@pytest.mark.heavy
def test_rouge_l_sees_accents_where_the_default_tokenizer_tears_words_apart() -> None:
    # 'été' and 'âtre' share no word; without accents both break into pieces ('t', 'tre').
    assert rouge_l("été", "âtre") == 0.0
    assert rouge_l("L’été arrive", "l'été arrive") == 1.0
    assert rouge_l("un péché", "un pêche") == pytest.approx(0.5)


def test_length_ratio_falls_on_both_sides_of_the_reference() -> None:
    assert length_ratio("one two", "one two three four") == 0.5
    assert length_ratio("a b c d e f g h", "one two three four") == 0.5
    assert length_ratio("one", "two") == 1.0


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_answer_scores_worst_on_every_metric(empty: str) -> None:
    case = Case(question="Q?", reference="A reference.", facts=["fact"])
    assert [metric.score(empty, case) for metric in METRICS if metric.score] == [0.0] * len(METRICS)


def test_a_perfect_answer_scores_best_on_every_metric() -> None:
    case = Case(question="Q?", reference="Il répond en 24 heures.", facts=["24 heures"])
    scores = [metric.score("Il répond en 24 heures.", case) for metric in METRICS if metric.score]
    assert scores == pytest.approx([1.0] * len(METRICS))


def test_what_a_case_holds_decides_which_metrics_apply() -> None:
    only_facts = Case(question="Q?", facts=["fact"])
    only_reference = Case(question="Q?", reference="R")
    assert [metric.name for metric in METRICS if metric.applies(only_facts)] == ["fact_recall"]
    assert "fact_recall" not in [metric.name for metric in METRICS if metric.applies(only_reference)]
