"""How alike people judge: Krippendorff's alpha for any number of people and missing values, Cohen's kappa for two.

Both are 1 for full agreement and 0 for what chance gives. Names are only names: no verdict is nearer to another.
Knows nothing of reviews and no database.

Sources: K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), nominal data with missing values;
J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20 (1960).
"""

from collections import Counter
from collections.abc import Iterable, Sequence


def krippendorff_alpha(units: Iterable[Sequence[str]]) -> float | None:
    """`units` are the values given to each item. None when nothing was judged twice, or everything got one value.

    A unit of m values holds m(m-1) ordered pairs of them, each of which counts 1/(m-1) (the coincidence matrix).
    """
    pairable = [Counter(unit) for unit in units if len(unit) > 1]
    totals = sum(pairable, Counter[str]())
    n = totals.total()
    expected = n * n - sum(count * count for count in totals.values())
    if not expected:
        return None
    observed = sum(
        (unit.total() ** 2 - sum(count * count for count in unit.values())) / (unit.total() - 1)
        for unit in pairable
    )
    return 1 - (n - 1) * observed / expected


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """`pairs` are the two people's values for each item. None without items, or when both gave one value to all."""
    n = len(pairs)
    if not n:
        return None
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = sum(a == b for a, b in pairs) / n
    by_chance = sum(first[value] * second[value] for value in first) / n**2
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)
