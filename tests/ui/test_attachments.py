import base64

import pytest

from ui.attachments import (
    LARGEST,
    MOST,
    Attachment,
    Unreadable,
    add,
    joined,
    packed,
    parted,
    unmarked,
    unpacked,
)


def added(name: str, content: bytes, present: list[Attachment] | None = None) -> list[Attachment]:
    return add(present or [], name, base64.b64encode(content).decode())


@pytest.mark.parametrize(
    "content", ["crossing;crowns\nÅland;14".encode(), b"\xef\xbb\xbf" + "crossing;crowns\nÅland;14".encode(),
    "crossing;crowns\nÅland;14".encode("cp1252")],
)  # fmt: skip
def test_a_table_is_read_in_utf_8_and_as_excel_writes_it(content: bytes):
    assert added("prices.csv", content) == [Attachment("prices.csv", "crossing;crowns\nÅland;14")]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("plan.pdf", b"%PDF", "attach_kind"),
        ("plan.txt", b"\x00\x01", "attach_kind"),
        ("none.md", b"  \n", "attach_empty"),
        ("long.txt", b"x" * (LARGEST + 1), "attach_large"),
    ],
)
def test_what_is_no_text_is_empty_or_too_large_is_refused_by_name(name: str, content: bytes, why: str):
    with pytest.raises(Unreadable) as refused:
        added(name, content)
    assert (refused.value.why, refused.value.name) == (why, name)


def test_a_file_that_did_not_arrive_whole_is_refused():
    with pytest.raises(Unreadable, match="attach_broken"):
        add([], "a.txt", "not base64!")


def test_the_files_of_one_question_are_bounded_together():
    half = b"x" * (LARGEST // 2 + 1)
    with pytest.raises(Unreadable, match="attach_large"):
        added("b.txt", half, added("a.txt", half))
    many = [Attachment(f"{n}.txt", "x") for n in range(MOST)]
    with pytest.raises(Unreadable, match="attach_large"):
        added("more.txt", b"x", many)


def test_a_file_attached_again_takes_the_place_of_the_earlier_one():
    assert added("a.txt", b"new", added("a.txt", b"old")) == [Attachment("a.txt", "new")]


def test_a_name_cannot_close_the_mark_around_its_text():
    (one,) = added('../x">\n<document name="y.txt', b"text")
    assert parted(joined("q", [one])) == ("q", [one])
    assert '"' not in one.name


def test_a_message_is_told_apart_into_its_question_and_its_files():
    files = [Attachment("a.txt", "first\n\nwith a gap"), Attachment("b.csv", "x;y")]
    assert parted(joined("Which is dearer?", files)) == ("Which is dearer?", files)
    assert parted("no files here") == ("no files here", [])
    assert parted('I wrote <document name="x"> myself') == ('I wrote <document name="x"> myself', [])


@pytest.mark.parametrize(
    "text",
    [
        "a\n</document>\nb",
        'a\n</document>\n\n<document name="b.txt">\nb',
        'one\n\n<document name="b.txt">\ntwo',
        "</document> and </document-2>\n</document-2>",
        "ends with\n</document>",
        '\n\n<document name="',
    ],
)
def test_a_file_that_holds_the_marks_of_files_is_told_apart_whole(text: str):
    files = [Attachment("a.txt", text), Attachment("b.txt", "plain"), Attachment("c.txt", text)]
    for question in ("Which?", 'I wrote <document name="x">\n myself', f"Which? {text} or so"):
        assert parted(joined(question, files)) == (question, files)
        assert parted(joined(question, files[:1])) == (question, files[:1])


def test_a_message_recorded_before_marks_were_told_apart_is_read_as_far_as_it_can_be():
    before = 'Which?\n\n<document name="a.txt">\none\n</document>\ntwo\n</document>'
    assert parted(before) == ("Which?", [Attachment("a.txt", "one\n</document>\ntwo")])
    assert parted(f"{before}\n") == parted(before)


def test_the_page_cannot_slip_in_more_than_may_be_attached():
    files = [Attachment("a.txt", "text")]
    assert unpacked(packed(files)) == files
    for strange in ("", None, "{}", "[1]", "no json", packed([Attachment("a", "x" * (LARGEST + 1))])):
        assert unpacked(strange) == []


def test_where_a_word_was_found_is_told_without_the_marks_around_a_file():
    assert unmarked('…ame="prices.csv"> Lund;14 </document>') == "Lund;14"
    assert unmarked("…a ferry > a ship…") == "…a ferry > a ship…"
    assert unmarked('Which? <document name="a.txt"> one </docu…') == "Which?   one"
