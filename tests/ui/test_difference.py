from ui.difference import difference


def test_what_was_struck_out_and_put_in_is_marked_word_by_word():
    shown = difference("It costs six crowns on Sundays.", "It costs four crowns on Sundays.")
    assert shown == "It costs <del>six</del><ins>four</ins> crowns on Sundays."


def test_neighbouring_changes_are_one():
    shown = difference(
        "Come ten minutes before the ship leaves.", "Come a quarter hour before the ship leaves."
    )
    assert shown == "Come <del>ten minutes</del><ins>a quarter hour</ins> before the ship leaves."


def test_nothing_in_it_is_markup():
    shown = difference("a <b>bold</b> word", "a <i>bold</i> word")
    assert shown is not None
    assert "<b>" not in shown
    assert "&lt;" in shown


def test_texts_with_hardly_a_word_in_common_or_far_too_long_are_not_compared():
    assert difference("Alpha.", "Nothing of this was there before!") is None
    assert difference("word " * 4000, "word " * 4001) is None
