import zipfile
from pathlib import Path

import pytest

from service.contract.words import words
from service.intake import docx as word
from service.intake.passages import MOST
from service.intake.problems import BadFile
from tests.service.intake.brought_documents import docx, kept, paragraph, pdf

LONG = " ".join(f"This is sentence number {n} of the rules for the quay." for n in range(120))
MARKDOWN = f"""---
title: "# no heading"
---
Before the first heading.

# Ferry *rules*

## Can I take a [bicycle](http://b.example)?

Yes, for six crowns.

```
# no heading either

pay --bike
```

Luggage
-------
{LONG}
"""


def test_markdown_is_cut_along_its_headings_which_propose_the_questions(tmp_path: Path):
    read = kept(tmp_path, "rules.md", MARKDOWN)
    first, bicycle, *luggage = read.passages
    assert (first.text, first.headings, first.question, first.line) == (
        "Before the first heading.", [], "", 4,
    )  # fmt: skip
    assert bicycle.headings == ["Ferry rules", "Can I take a bicycle?"]
    assert bicycle.question == "Can I take a bicycle?"
    assert bicycle.text == "Yes, for six crowns.\n\n```\n# no heading either\n\npay --bike\n```"
    assert luggage[0].question == "What should I know about “Luggage” (Ferry rules)?"
    assert {tuple(one.headings) for one in luggage} == {("Ferry rules", "Luggage")}


WRAPPED = """\
# Fares

A bicycle travels for six crowns, and a cart
for **twelve**, whatever it
carries.

1. Buy the ticket on the quay, where the office
   opens at eight.
2. Keep it.
- A child goes free,
  a dog does not.

> Quoted
> twice

Office__
Quay 4\\
Port

| From | Fare |
|------|------|
| Quay | 6    |

    pay --bike
    pay --cart

Then run
```
one

two
```
and wait for
the whistle.
"""


def test_lines_of_markdown_that_end_with_the_page_are_whole_again_and_others_stay(tmp_path: Path):
    read = kept(tmp_path, "fares.md", WRAPPED.replace("__", "  "))
    assert [one.text for one in read.passages] == [
        "A bicycle travels for six crowns, and a cart for **twelve**, whatever it carries.\n\n"
        "1. Buy the ticket on the quay, where the office opens at eight.\n2. Keep it.\n"
        "- A child goes free, a dog does not.\n\n> Quoted\n> twice\n\nOffice\nQuay 4\\\nPort\n\n"
        "| From | Fare |\n|------|------|\n| Quay | 6    |\n\npay --bike\n    pay --cart\n\n"
        "Then run\n```\none\n\ntwo\n```\nand wait for the whistle."
    ]


def test_lines_of_plain_text_are_whole_again_where_the_next_word_had_no_room(tmp_path: Path):
    prose = "The ferry leaves at nine from the northern quay and takes\nbicycles. It waits for nobody."
    address = "The Ferry Office\nQuay 4\nNorthern Harbour"
    steps = "Whoever wants to travel with a dog buys a ticket for the animal:\n- at the office\n- on board"
    table = "Northern quay          nine o'clock in the morning   6\nSouthern quay          noon   12"
    read = kept(tmp_path, "fares.txt", "\n\n".join([prose, address, steps, table]))
    said = "\n\n".join(one.text for one in read.passages)
    assert said == "\n\n".join([prose.replace("\n", " "), address, steps, table])


@pytest.mark.parametrize(
    "lines",
    [
        "Monday to Friday from nine in the morning to six in the evening\nSaturday from ten to noon\nSunday closed",
        "Q: How much does a bicycle cost on the northern ferry today?\nA: Six crowns.",
        "2026-11-30 09:00:01 the ferry has left the quay\n2026-11-30 09:40:12 the ferry reached the island",
        "a) whoever travels with a bicycle buys a ticket there\nb) whoever travels with a cart asks the office first",
    ],
)
def test_lines_of_plain_text_that_say_something_each_stay(tmp_path: Path, lines: str):
    assert [one.text for one in kept(tmp_path, "fares.txt", lines).passages] == [lines]


@pytest.mark.parametrize(
    ("lines", "whole"),
    [
        ("Some text\n***\nOther text", None),
        ("One\nand two\n---\nthree", "One and two\n---\nthree"),
        ("<pre>\nline one\n  line two\n</pre>", None),
        ("It is a well-\nknown ferry", "It is a well-known ferry"),
    ],
)
def test_markdown_that_is_no_wrapped_prose_stays(tmp_path: Path, lines: str, whole: str | None):
    assert [one.text for one in kept(tmp_path, "fares.md", lines).passages] == [whole or lines]


def test_a_long_section_is_cut_where_sentences_end_without_losing_a_word(tmp_path: Path):
    read = kept(tmp_path, "rules.txt", LONG)
    assert len(read.passages) > 3
    assert all(len(one.text) <= MOST and one.text.endswith(".") for one in read.passages)
    assert [word for one in read.passages for word in words(one.text)] == words(LONG)
    assert len(kept(tmp_path, "wall.txt", "x" * 10 * MOST).passages) == 10


def test_only_the_first_piece_of_a_section_gets_its_question(tmp_path: Path):
    read = kept(tmp_path, "rules.md", f"# Luggage\n\n{LONG}\n\n# Ports\n\nThere are two of them in the bay.")
    questions = [one.question for one in read.passages]
    assert [bool(question) for question in questions] == [True, *[False] * (len(questions) - 2), True]


def test_a_french_passage_is_asked_for_in_french_and_an_unclear_one_by_its_heading(tmp_path: Path):
    text = "# Bagages\n\nLes bagages sont dans la soute et ne sont pas à vous.\n\n# Tarif\n\n6 kr."
    french, unclear = kept(tmp_path, "regles.md", text).passages
    assert (french.question, french.language) == ("Que faut-il savoir sur « Bagages » ?", "fr")
    assert (unclear.question, unclear.language) == ("Tarif", "unclear")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "windows-1252"])
def test_plain_text_is_read_in_the_encoding_it_begins_in(tmp_path: Path, encoding: str):
    read = kept(
        tmp_path, "notes.txt", "Première ligne où l’été dure.\r\nSuite.\r\n\r\n— Fin".encode(encoding)
    )
    assert read.passages[0].text.startswith("Première ligne où l’été dure.\nSuite.")
    assert (read.kind, read.passages[0].line) == ("text", 1)


def test_a_word_document_gives_its_headings_lists_and_tables(tmp_path: Path):
    cells = "".join(
        f"<w:tr>{''.join(f'<w:tc>{paragraph(cell)}</w:tc>' for cell in row)}</w:tr>"
        for row in (("Port", "Fare"), ("Fanal", "6"))
    )
    twice = (
        '<w:p><w:r><mc:AlternateContent xmlns:mc="http://m"><mc:Choice><w:t>Once only.</w:t></mc:Choice>'
        "<mc:Fallback><w:t>Once only.</w:t></mc:Fallback></mc:AlternateContent>"
        "<w:delText>Struck out.</w:delText></w:r></w:p>"
    )
    body = "".join([
        paragraph("Handbook", "T"), paragraph("Fares", "Titre1"), paragraph("By port", "Titre2"),
        f"<w:tbl>{cells}</w:tbl>", paragraph("bikes", more="<w:numPr/>"), paragraph("dogs", more="<w:numPr/>"),
        twice, paragraph("Ports", "Titre1"), paragraph("There are two &amp; no more."),
    ])  # fmt: skip
    fares, ports = kept(tmp_path, "handbook.docx", docx(body)).passages
    assert fares.headings == ["Handbook", "Fares", "By port"]
    table = "| Port | Fare |\n| --- | --- |\n| Fanal | 6 |"
    assert fares.text == f"{table}\n\n- bikes\n- dogs\n\nOnce only."
    assert (ports.headings, ports.text) == (["Handbook", "Ports"], "There are two & no more.")


def test_a_pdf_gives_paragraphs_with_their_page_and_the_headings_of_its_contents(tmp_path: Path):
    def page(number: int, *lines: str) -> list[str]:
        return ["Ferry handbook", *lines, f"Page {number}"]

    content = pdf(
        page(1, "Fares", "A ticket costs ten crowns and is good for the whole of a day on any fer-",
             "ry of the line.", "Dogs go free (on a lead)."),
        page(2, "Ports", "There are two."), page(3, "They close at nine in the evening."), [],
        outline=(("Fares", 0), ("Ports", 1)),
    )  # fmt: skip
    read = kept(tmp_path, "handbook.pdf", content)
    assert (read.kind, read.pages, read.empty_pages) == ("pdf", 4, 1)
    fares, ports = read.passages
    assert (fares.headings, fares.page, ports.headings, ports.page) == (["Fares"], 1, ["Ports"], 2)
    assert fares.text == (
        "A ticket costs ten crowns and is good for the whole of a day on any ferry of the line.\n\n"
        "Dogs go free (on a lead)."
    )
    assert ports.text == "There are two.\n\nThey close at nine in the evening."


BOMB = docx("<w:p/>" + " " * 3_000_000)
ENTITIES = docx(paragraph("&lol;"), '<!DOCTYPE w [<!ENTITY lol "lol">]>')
REFUSED = {
    "empty_document": [("a.md", b" \n"), ("a.pdf", b"")],
    "no_text": [("a.txt", b"-----\n12\n"), ("a.docx", docx("<w:p/>"))],
    "not_a_document": [("a.csv", b"q,a\n"), ("readme", b"Hello.")],
    "wrong_ending": [("a.pdf", b"Hello."), ("a.txt", docx("")), ("a.docx", b"%PDF-1.7"), ("a.docx", b"Hello.")],
    "foreign_document": [("a.docx", b"\xd0\xcf\x11\xe0aaaa"), ("a.txt", b"a\x00b"), ("a.txt", b"{\\rtf1 a}")],
    "mixed_encoding": [("a.txt", b"Fine. " * 50_000 + b"\xff")],
    "unknown_document": [("a.docx", b"PK\x03\x04")],
    "broken_document": [
        ("a.docx", docx("<w:p>")), ("a.docx", docx(paragraph("a"))[:-30]), ("a.pdf", b"%PDF-1.7\nnot one"),
    ],
    "unpacks_too_large": [("a.docx", BOMB)],
    "entities": [("a.docx", ENTITIES)],
    "scanned": [("a.pdf", pdf([], []))],
    "locked": [("a.pdf", pdf(["Hello."], password="secret"))],
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "name", "content"),
    [(code, name, content) for code, files in REFUSED.items() for name, content in files],
)
def test_what_cannot_be_read_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, name: str, content: bytes
):
    monkeypatch.setattr(word, "UNPACKED", 2_000_000)
    if code == "unknown_document":
        with zipfile.ZipFile(tmp_path / "other", "w") as archive:
            archive.writestr("notes.txt", "Hello.")
        content = (tmp_path / "other").read_bytes()
    with pytest.raises(BadFile) as refused:
        kept(tmp_path, name, content)
    assert refused.value.code == code
    assert refused.value.message.count(".") >= 2, "the fact, and the next step"


def test_a_scanned_pdf_says_how_many_pages_it_has(tmp_path: Path):
    with pytest.raises(BadFile, match="None of the PDF's 3 pages holds text"):
        kept(tmp_path, "scan.pdf", pdf([], [], []))
