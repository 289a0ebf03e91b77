from ui.difference import difference
from ui.words import words

EN = words("en")
GONE, COME = '<span class="hidden">removed: </span>', '<span class="hidden">added: </span>'


def test_what_was_struck_out_and_put_in_is_marked_word_by_word():
    shown = difference(EN, "It costs six crowns on Sundays.", "It costs four crowns on Sundays.")
    assert shown == f"It costs <del>{GONE}six</del><ins>{COME}four</ins> crowns on Sundays."


def test_neighbouring_changes_are_one():
    shown = difference(
        EN, "Come ten minutes before the ship leaves.", "Come a quarter hour before the ship leaves."
    )
    assert (
        shown == f"Come <del>{GONE}ten minutes</del><ins>{COME}a quarter hour</ins> before the ship leaves."
    )


def test_nothing_in_it_is_markup():
    shown = difference(EN, "a <b>bold</b> word", "a <i>bold</i> word")
    assert shown is not None
    assert "<b>" not in shown
    assert "&lt;" in shown


def test_texts_with_hardly_a_word_in_common_or_far_too_long_are_not_compared():
    assert difference(EN, "Alpha.", "Nothing of this was there before!") is None
    assert difference(EN, "word " * 4000, "word " * 4001) is None
