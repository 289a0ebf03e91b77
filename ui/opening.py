"""What a screen shows until Gradio has started: its colours, its frame and a mark that something is coming.

Gradio puts a page's own head in by script, seconds later on a slow phone. Until then the page would be white, also
in the dark; so the styles are written into the page as it passes. Gradio also calls every page English, and then
names the browser's language instead of the page's; the page's own is written in, and kept. Knows nothing of what
stands on it.
"""

import re
from functools import cache

from starlette.types import Message, Send

from ui.pages import static

LOOK = (
    "const look = /(?:^|; )tailorbird_look=(light|dark)/.exec(document.cookie)?.[1];"
    "if (look) { document.documentElement.style.colorScheme = look; document.documentElement.dataset.look = look; }"
)
KEPT = (
    "const page = document.documentElement, language = page.lang;"
    "const keep = () => { if (page.lang !== language) page.lang = language; };"
    "new MutationObserver(keep).observe(page, { attributeFilter: ['lang'] });"
)
LANGUAGE = re.compile(rb'(<html\b[^>]*?\blang=")[^"]*')


def opening(send: Send, language: str) -> Send:
    """A `send` that writes the styles and the language into an HTML page, and leaves every other answer as it is."""
    held: list[Message] = []
    parts: list[bytes] = []

    async def written(message: Message) -> None:
        if message["type"] == "http.response.start" and _is_page(message):
            held.append(message)
        elif not held:
            await send(message)
        else:
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                page = LANGUAGE.sub(rb"\g<1>" + language.encode(), b"".join(parts), count=1)
                page = page.replace(b"</head>", _head() + b"</head>", 1)
                await send(_of_length(held.pop(), len(page)))
                await send({"type": "http.response.body", "body": page})

    return written


@cache
def _head() -> bytes:
    styles = static("tokens.css") + static("page.css") + static("opening.css")
    return f"<style>{styles}</style><script>{{ {LOOK} {KEPT} }}</script>".encode()


def _is_page(message: Message) -> bool:
    headers = dict(message["headers"])
    page = headers.get(b"content-type", b"").startswith(b"text/html")
    return message["status"] == 200 and page and b"content-encoding" not in headers


def _of_length(start: Message, length: int) -> Message:
    kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    return {**start, "headers": [*kept, (b"content-length", str(length).encode())]}
