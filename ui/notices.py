"""What a page itself has to say: that its connection is lost, and Gradio's own notices, which are in English.

Owns which of Gradio's sentences become which of ours. What it says beside these is an error that we did not foresee.
Knows no screen; `static/connection.js` says it.
"""

from html import escape
from typing import Any

from ui.words import Words

LARGEST = 512
"""Megabytes of one file brought to a screen; Gradio looks at its size before it is sent."""


def notices(w: Words) -> dict[str, Any]:
    """For `window.tailorbirdSaid`: a sentence for each pattern of Gradio's, in which `$1` is the first group's text,
    and a name for each button of its own that shows only a picture."""
    kind = w("upload_kind", name="$1", kinds="$2")
    return {
        "lost": w("connection_lost"), "failed": w("notice_title"), "done": w("done_title"), "close": w("close"),
        "unknown": w("error_unknown"),
        "names": {
            ".overflow-menu > button": w("more_tabs"), "#composer .submit-button": w("send"),
            "#composer .stop-button": w("stop_answer"),
        },
        "notices": [
            (r"currently busy", w("error_unreachable")),
            (r"^This screen is for the role", w("error_insufficient_permissions")),
            (r"^Invalid file types?: (.+)\. Only (.+) allowed", kind),
            (r'^File\(s\) exceed .*: "(.+)"', w("upload_large", name="$1", largest=LARGEST)),
            (r"^HTTP \d|Failed to fetch|NetworkError|Load failed", w("upload_broken")),
        ],
    }  # fmt: skip


def ours(text: str, *, lost: bool = False) -> str:
    """A notice that the page leaves as it is; of a connection that is `lost` it has a banner of its own.

    Notices are drawn as HTML, and `text` may quote what was typed.
    """
    return f"<span class='ours{' lost' if lost else ''}'>{escape(text)}</span>"
