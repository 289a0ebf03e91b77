import pytest

from service.domain.agreement import cohen_kappa, krippendorff_alpha


def units(*coders: str) -> list[list[str]]:
    """What each coder said of each unit, in turn; a dot is a missing value."""
    rows = [coder.split() for coder in coders]
    return [[value for value in unit if value != "."] for unit in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("coders", "alpha"),
    [
        # Krippendorff (2011), sections A to C: two values; several values; four coders with missing ones.
        (("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"), 0.095),
        (("a a b b d c c c e d d a", "b a b b b c c c e d d d"), 0.692),
        (
            (
                "1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .",
                "1 2 3 3 2 4 4 1 2 5 1 .",
            ),
            0.743,
        ),
    ],
)  # fmt: skip
def test_alpha_is_that_of_the_published_examples(coders: tuple[str, ...], alpha: float):
    found = krippendorff_alpha(units(*coders))
    assert found == pytest.approx(alpha, abs=0.0005)


def test_kappa_is_that_of_cohens_own_table():
    # Cohen (1960), table 1, as counts of 200: 0.29 agree where 0.35 would by chance.
    table = {"aa": 50, "ab": 26, "ac": 24, "ba": 24, "bb": 4, "bc": 32, "ca": 6, "cb": 30, "cc": 4}
    pairs = [(cell[0], cell[1]) for cell, count in table.items() for _ in range(count)]
    assert cohen_kappa(pairs) == pytest.approx((0.29 - 0.35) / (1 - 0.35))


def test_full_agreement_is_one():
    both = [("approve", "approve"), ("reject", "reject")]
    assert krippendorff_alpha(both) == 1
    assert cohen_kappa(both) == 1


@pytest.mark.parametrize("judged", [[], [["approve"]], [["approve", "approve"]], [["approve"], ["reject"]]])
def test_too_little_to_compare_gives_no_figure(judged: list[list[str]]):
    assert krippendorff_alpha(judged) is None


def test_two_who_never_differ_nor_choose_have_no_kappa():
    assert cohen_kappa([]) is None
    assert cohen_kappa([("approve", "approve")] * 3) is None
