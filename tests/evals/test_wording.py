import pytest

from evals.wording import normalise, says, words


@pytest.mark.parametrize("written", ["1 200", "1,200", "1'200", "1’200", "1\u202f200", "1\u00a0200", "1200"])
def test_a_thousand_is_the_same_however_it_is_grouped(written: str) -> None:
    assert normalise(written) == "1200"


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("1 200,50 €", "1200.50€"),
        ("1,200.50", "1200.50"),
        ("1.200,50", "1200.50"),
        ("1.234.567", "1234567"),
        ("3,5 %", "3.5%"),
        ("2.10", "2.10"),
        ("0800 123 456", "0800 123 456"),
        ("01 23 45 67 89", "01 23 45 67 89"),
        ("1, 2, 3", "1, 2, 3"),
        ("in 2024 100 people", "in 2024 100 people"),
    ],
)
def test_numbers_are_read_as_people_read_them(written: str, plain: str) -> None:
    assert normalise(written) == plain


def test_typography_does_not_matter_and_accents_do() -> None:
    assert normalise("« L’ÉTÉ » — **bientôt** !") == "l'été - bientôt!"
    assert normalise("e\u0301te\u0301") == normalise("été") != normalise("ete")
    assert normalise("Œuvre") == normalise("oeuvre")


def test_words_keep_their_accents() -> None:
    assert words("L’été, 3,5 % déjà") == ["l", "été", "3", "5", "déjà"]


@pytest.mark.parametrize(
    ("answer", "fact", "found"),
    [
        ("It takes 12 days.", "12", True),
        ("It takes 120 days.", "12", False),
        ("It takes 12.5 days.", "12", False),
        ("Call at 12:30.", "12", False),
        ("It ends at 12.", "12", True),
        ("Le seuil est de 1 200 € d'achat.", "1,200 €", True),
        ("Comptez 3,50 € par mois.", "3.50 €", True),
        ("Réponse sous 24 heures", "24 HEURES", True),
        ("un péché", "pêche", False),
        ("the carpet", "car", False),
        ("Write to help@lumen.example, please", "help@lumen.example", True),
        ("C++ and C", "C++", True),
        ("anything", " ", False),
    ],
)
def test_a_fact_is_found_as_whole_words_only(answer: str, fact: str, found: bool) -> None:
    assert says(answer, fact) is found
