import re

from starlette.types import Message

from ui.opening import opening
from ui.pages import static


async def passed(*messages: Message) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    through = opening(send, "fr")
    for message in messages:
        await through(message)
    return sent


def start(kind: bytes, length: int, *more: tuple[bytes, bytes], status: int = 200) -> Message:
    headers = [(b"content-type", kind), (b"content-length", str(length).encode()), *more]
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(content: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def test_a_page_gets_its_colours_and_its_language_before_any_script_has_run():
    page = b'<html\n\tlang="en"><head><title>x</title></head><body></body></html>'
    head, sent = await passed(
        start(b"text/html; charset=utf-8", len(page)), body(page[:20], more=True), body(page[20:])
    )
    assert b"--page:" in sent["body"].partition(b"</head>")[0]
    assert sent["body"].startswith(b'<html\n\tlang="fr"><head>')
    assert sent["body"].endswith(b"</head><body></body></html>")
    assert dict(head["headers"])[b"content-length"] == str(len(sent["body"])).encode()


async def test_everything_else_passes_untouched_and_at_once():
    for first in (
        start(b"text/event-stream", 9), start(b"text/html", 9, (b"content-encoding", b"gzip")),
        start(b"text/html", 9, status=503),
    ):  # fmt: skip
        answer = [first, body(b"</head>", more=True), body(b"ab")]
        assert await passed(*answer) == answer


def test_no_border_is_lost_on_the_way_through_gradio():
    """Gradio writes each rule anew, in which a shorthand that holds a variable goes when a longhand follows it."""
    for name in ("screens.css", "chat.css", "phone.css"):
        for body in re.findall(r"\{([^{}]*)\}", static(name)):
            found = re.search(r"\bborder: [^;]*var\([^;]*;.*\bborder-(\w+-)?(width|style|color):", body)
            assert found is None, body
