"""Formulas in Markdown: `$x$`, `$$x$$`, `\\(x\\)` and `\\[x\\]` become elements that the browser sets.

Owns what counts as a formula and what does not: an amount in dollars is none. The setting itself is done by the
KaTeX that Gradio brings along, so nothing is fetched from elsewhere; without it the formula's source is read.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markupsafe import escape


def formulas(parser: MarkdownIt) -> None:
    """Teach `parser` formulas."""
    parser.inline.ruler.before("escape", "formula", _inline)
    parser.block.ruler.before("fence", "formula", _block, {"alt": ["paragraph", "list", "blockquote"]})
    parser.add_render_rule("formula", _drawn)


@cache
def typesetter() -> dict[str, str]:
    """The addresses of KaTeX's script and style sheet among Gradio's files; empty where a release has none."""
    spec = find_spec("gradio")  # to import it would take seconds, and only the page needs it
    if spec is None or spec.origin is None:
        return {}
    assets = Path(spec.origin).parent / "templates" / "frontend" / "assets"
    found = {path.suffix[1:]: f"/assets/{path.name}" for path in sorted(assets.glob("katex-*.[cj]s*"))}
    return found if {"js", "css"} <= found.keys() else {}


def _drawn(renderer: object, tokens: list, index: int, options: object, env: object) -> str:
    token = tokens[index]
    tag = "div" if token.block else "span"
    display = ' data-display="true"' if token.markup == "display" else ""
    return (
        f'<{tag} class="formula" data-tex="{escape(token.content)}"{display}>{escape(token.content)}</{tag}>'
    )


def _inline(state: StateInline, silent: bool) -> bool:
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if not state.src.startswith(opening, state.pos):
            continue
        start = state.pos + len(opening)
        end = state.src.find(closing, start, state.posMax)
        if end < 0 or not _is_formula(state.src, start, end, opening):
            return False
        if not silent:
            token = state.push("formula", "", 0)
            token.content = state.src[start:end].strip()
            token.markup = "display" if opening in ("$$", "\\[") else "inline"
        state.pos = end + len(closing)
        return True
    return False


def _is_formula(source: str, start: int, end: int, opening: str) -> bool:
    """Pandoc's rule: no space inside a single dollar, and no digit after the closing one."""
    content = source[start:end]
    if not content.strip():
        return False
    following = source[end + 1 : end + 2]
    return opening != "$" or not (content[0].isspace() or content[-1].isspace() or following.isdigit())


def _block(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A formula on lines of its own."""
    line = _line(state, first)
    closing = {"$$": "$$", "\\[": "\\]"}.get(line[:2])
    if closing is None or state.is_code_block(first):
        return False
    lines, at = [line[2:]], first
    while closing not in lines[-1]:
        at += 1
        if at >= last or not _line(state, at):
            return False
        lines.append(_line(state, at))
    lines[-1], _, rest = lines[-1].partition(closing)
    content = "\n".join(lines).strip()
    if rest.strip() or not content:
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.block, token.content, token.markup, token.map = True, content, "display", [first, at + 1]
        state.line = at + 1
    return True


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].strip()
