"""Documents as people bring them, made by code: Word's parts by hand, PDF by pypdf's writer."""

import io
import zipfile
from pathlib import Path

from service.contract.documents import DocumentRead
from service.intake.documents import read

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STYLES = (
    f'<w:styles xmlns:w="{W}"><w:style w:styleId="Titre1"><w:name w:val="heading 1"/></w:style>'
    '<w:style w:styleId="Titre2"><w:name w:val="heading 2"/></w:style>'
    '<w:style w:styleId="T"><w:name w:val="Title"/></w:style></w:styles>'
)


def kept(place: Path, name: str, content: bytes | str) -> DocumentRead:
    path = place / "brought"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path, name)


def paragraph(text: str, style: str = "", more: str = "") -> str:
    styled = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{styled}{more}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def docx(body: str, before: str = "", **parts: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/styles.xml", STYLES)
        archive.writestr(
            "word/document.xml", f'{before}<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>'
        )
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def pdf(*pages: list[str], outline: tuple[tuple[str, int], ...] = (), password: str | None = None) -> bytes:
    """A page for each list of lines; an empty one holds no text, as a scanned one does."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    def named(**values: object) -> DictionaryObject:
        return DictionaryObject(
            {NameObject(f"/{name}"): NameObject(value) if isinstance(value, str) else value
             for name, value in values.items()}
        )  # fmt: skip

    writer = PdfWriter()
    font = named(Type="/Font", Subtype="/Type1", BaseFont="/Helvetica", Encoding="/WinAnsiEncoding")
    for lines in pages:
        page = writer.add_blank_page(595, 842)
        said = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in lines]
        stream = DecodedStreamObject()
        text = "".join(f"({line}) Tj T*\n" for line in said)
        stream.set_data(f"BT /F1 11 Tf 60 780 Td 14 TL\n{text}ET".encode("cp1252") if lines else b"")
        page[NameObject("/Resources")] = named(Font=named(F1=font))
        page[NameObject("/Contents")] = writer._add_object(stream)
    for title, number in outline:
        writer.add_outline_item(title=title, page_number=number)
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()
