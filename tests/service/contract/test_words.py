"""What is nearly the same is found without comparing all with all, and nothing of it is missed."""

import random

from service.contract.words import LIKE, Near, alike, words


def test_near_finds_exactly_what_comparing_all_with_all_finds():
    draw = random.Random(7)
    texts = [set(draw.choices("abcdefghi", k=draw.randint(1, 14))) for _ in range(300)]
    near, found = Near(texts), 0
    for text in [set(draw.choices("abcdefghijk", k=draw.randint(1, 14))) for _ in range(200)]:
        every = {at: alike(text, one) for at, one in enumerate(texts)}
        assert near.find(text) == {at: share for at, share in every.items() if share >= LIKE}
        found += len(near.find(text))
    assert found > 100
    assert near.find(set()) == {}


def test_scripts_without_spaces_are_told_apart_by_their_characters():
    assert words("Die Fähre um 9?") == ["die", "fähre", "um", "9"]
    assert words("船は何時") == ["船", "は", "何", "時"]
