"""Which language a text is in: English, French or another, by its commonest small words and its script.

A light rule on purpose: it names the language of a sentence or more and says `unclear` of less. Small words of
five more languages stand here only so that those are not taken for English or French.
"""

SMALL: dict[str, str] = {
    "en": "the of and to in is that it for was you with be this are not have from they what which how your can my "
    "do does will would there been has when who or an at by if we i but its his her their about",
    "fr": "le la les de des du et est que qui dans un une pour pas vous nous je il elle ce cette sur au aux avec ne "
    "se mon ma mes votre vos notre sont ont être avoir plus par ou où quel quelle comment puis-je ai peut c j l d qu "
    "n s y leur leurs son sa ses mais si",
    "de": "der die das und ist nicht ein eine ich zu den mit von für auf dem sie es im wie was wird sind auch bei",
    "es": "el los las y es en que un una para no con por se su lo como más del está pero mi qué cómo al son sus",
    "it": "il lo gli e è di che un una per non con si come più della sono nel mi dei ma ho questo le da",
    "pt": "o os as e é de que um uma para não com por se do da em no na mais como dos são eu ao você",
    "nl": "de het een en is van dat niet ik op te met voor zijn er aan ook als maar om hoe wat die",
}
WHOSE: dict[str, list[str]] = {}
"""The languages that a small word belongs to."""
for _language, _line in SMALL.items():
    for _word in _line.split():
        WHOSE.setdefault(_word, []).append(_language)
ENOUGH = 2
"""Small words that a verdict needs."""
LOOK = 200
"""Words that are looked at."""


def language(found: list[str]) -> str:
    """`en`, `fr`, `other` or `unclear`, from a text's words."""
    found = found[:LOOK]
    letters = "".join(found[:40])
    if not letters.isascii():
        foreign = sum(1 for letter in letters if letter.isalpha() and ord(letter) > 0x24F)
        if foreign * 2 > len(letters):
            return "other"
    counts = dict.fromkeys(SMALL, 0)
    for word in found:
        for owner in WHOSE.get(word, ()):
            counts[owner] += 1
    best, second = sorted(counts, key=lambda name: counts[name], reverse=True)[:2]
    if counts[best] < max(ENOUGH, len(found) / 12) or counts[best] == counts[second]:
        return "unclear"
    return best if best in ("en", "fr") else "other"
