"""When two pieces of text say the same: one spelling for quotes, spaces, hyphens and numbers.

Owns normalisation and the search for a fact in an answer. Accents are kept: they tell words apart
('pêche', 'péché'). Knows no metric.
"""

import re
import unicodedata

_SINGLE_QUOTES = dict.fromkeys(map(ord, "’‘‛ʼ′`´"), "'")
_DOUBLE_QUOTES = dict.fromkeys(map(ord, '“”„‟«»″"'), " ")
_HYPHENS = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")
_LIGATURES = {ord("œ"): "oe", ord("æ"): "ae", ord("Œ"): "oe", ord("Æ"): "ae"}
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_TABLE = {**_SINGLE_QUOTES, **_DOUBLE_QUOTES, **_HYPHENS, **_LIGATURES, **_INVISIBLE}

# '1 200', "1'200", '1,200', also in several groups; a group that follows other digits is part of a
# telephone or card number and is left alone.
_GROUPED = re.compile(r"(?<![\d.,])(?<!\d[ '])[1-9]\d{0,2}(?:([ ',])\d{3})(?:\1\d{3})*(?![\d])(?![ ']\d)")
_DOTTED = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:\.\d{3})(?:(?:\.\d{3})+(?![\d.])|(?=,\d))")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d+)(?![\d]|[.,]\d)")


def normalise(text: str) -> str:
    """Lower case (`str.casefold`), Unicode NFKC, plain quotes and hyphens, single spaces, plain numbers.

    `1 200`, `1,200` and `1'200` become `1200`; `3,5` becomes `3.5`; `12 %` becomes `12%`; `**bold**`
    loses its stars. `1.200` stays as it is, for in most texts it is a decimal.
    """
    # Primes and accents that stand for quotes go first: NFKC would tear '´' into a space and a mark.
    text = unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE).casefold()
    text = re.sub(r"\*\*|__", "", text)
    text = re.sub(r"\s+", " ", text).strip()
    text = _DOTTED.sub(lambda match: match.group().replace(".", ""), text)
    text = _GROUPED.sub(lambda match: re.sub("[ ',]", "", match.group()), text)
    text = _DECIMAL_COMMA.sub(r"\1.\2", text)
    return re.sub(r" (?=[%€$£°:;!?])", "", text)


def words(text: str) -> list[str]:
    """The words and numbers of a text after `normalise`, accents and all."""
    return re.findall(r"\w+", normalise(text))


def says(answer: str, fact: str) -> bool:
    """Whether `answer` holds `fact` as whole words: '12' is not in '120', '12.5' or '12:30'.

    A plain search, as good as the wording of the fact: it does not see that a fact is denied.
    """
    wanted = normalise(fact)
    if not wanted:
        return False
    before = r"(?<!\w)(?<!\d[.,:/])" if re.match(r"\w", wanted) else ""
    after = r"(?!\w)(?![.,:/]\d)" if re.search(r"\w$", wanted) else ""
    return re.search(before + re.escape(wanted) + after, normalise(answer)) is not None
