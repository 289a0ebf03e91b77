"""From values to HTML: the templates, and the few filters they use.

Everything is escaped unless a filter here made it. Markdown of answers is rendered without raw HTML and
without images, so that no answer can run anything or fetch anything.
"""

import datetime
import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markdown_it import MarkdownIt
from markupsafe import Markup

from ui import code
from ui.attachments import parted
from ui.maths import formulas, typesetter
from ui.words import Words, figure, number


def render(template: str, words: Words, **values: Any) -> str:
    """`templates/<template>.html` in the language of `words`, which it sees as `w`."""
    return _environment().get_template(f"{template}.html").render(w=words, **values)


def static(name: str) -> str:
    """The text of a file in `static/`."""
    return files("ui").joinpath("static", name).read_text(encoding="utf-8")


def alone() -> dict[str, str]:
    """`styles` and `script` of a page that stands outside the screens and looks as they do."""
    names = ("tokens", "screens", "chat", "phone", "shared")
    stubs = "const element = document.body, trigger = () => {}, watch = () => {};"
    maths = f"window.tailorbirdMaths = {json.dumps(typesetter())};"
    return {
        "styles": "".join(static(f"{name}.css") for name in names),
        "script": f"{maths}{static('page.js')}(() => {{ {stubs}{static('panel.js')} }})();",
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ui", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "markdown": _markdown,
        "question": _question,
        "when": _when,
        "day": _day,
        "short": _short,
        "figure": _figure,
        "number": _number,
    }
    return environment


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("fence", code.block)
    formulas(parser)
    return parser


@pass_context
def _markdown(context: Context, text: str) -> Markup:
    return Markup(_parser().render(text, {"copy": context["w"]("copy")}))


@pass_context
def _figure(context: Context, value: Any, digits: int | None = None) -> str:
    return figure(context["w"], value, digits)


@pass_context
def _number(context: Context, value: int) -> str:
    return number(context["w"].language, value)


def _question(message: str) -> str:
    """A message without the files that went along."""
    return parted(message)[0]


def _link_open(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("target", "_blank")
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    return renderer.renderToken(tokens, index, options, env)


def _when(seconds: int | float | None) -> Markup:
    """A moment; the browser rewrites it in its own time zone and language."""
    if not seconds:
        return Markup("")
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(), moment.strftime("%Y-%m-%d %H:%M UTC")
    )


@pass_context
def _day(context: Context, seconds: int | float) -> str:
    """A day where no element may stand for the browser to write, as in a choice."""
    day = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{day.day} {context['w']('months').split()[day.month - 1]} {day.year}"


def _short(digest: str) -> str:
    return digest[:12]
