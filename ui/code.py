"""Code in answers: coloured by its language, with its name and a button to copy it."""

from typing import Any

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LONGEST = 20_000
"""Characters that are coloured; longer code is shown plain."""


def block(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """A render rule of markdown-it for fenced code."""
    token = tokens[index]
    language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
    head = Markup(
        '<figcaption><span>{}</span><button type="button" class="icon" data-copy-code aria-label="{}" '
        'title="{}"></button></figcaption>'
    )
    copy = env.get("copy", "")
    return Markup('<figure class="code">{}<pre tabindex="0"><code>{}</code></pre></figure>').format(
        head.format(language, copy, copy), _coloured(token.content, language)
    )


def _coloured(code: str, language: str) -> str | Markup:
    if not language or len(code) > LONGEST:
        return code
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return code
    # Pygments escapes what it colours.
    return Markup(highlight(code, lexer, HtmlFormatter(nowrap=True)))
