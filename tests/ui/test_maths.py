import pytest
from markdown_it import MarkdownIt

from ui.maths import formulas, typesetter


def html(text: str) -> str:
    parser = MarkdownIt("commonmark", {"html": False})
    formulas(parser)
    return parser.render(text)


@pytest.mark.parametrize("text", ["so $a_1 * b_2$ is", "so \\(a_1 * b_2\\) is"])
def test_a_formula_in_a_line_keeps_its_own_signs(text: str):
    assert '<span class="formula" data-tex="a_1 * b_2">a_1 * b_2</span>' in html(text)


@pytest.mark.parametrize(
    "text", ["$$\nx^2\n$$", "\\[\nx^2\n\\]", "$$x^2$$", "Then\n$$x^2$$", "1. Take\n   $$x^2$$"]
)
def test_a_formula_of_its_own_is_displayed(text: str):
    assert 'data-tex="x^2" data-display="true"' in html(text)


@pytest.mark.parametrize(
    "text",
    ["It costs $5, or $6 on Sundays.", "from $5 to $10", "`$x$`", "a $ b $ c", "$$\nnever closed", "$$"],
)
def test_money_code_and_what_is_never_closed_are_no_formulas(text: str):
    assert "formula" not in html(text)


def test_a_formula_is_only_text_until_it_is_set():
    assert "<script>" not in html('$\\text{<script>"x"</script>}$')
    assert 'data-tex="\\text{&lt;script&gt;&#34;x' in html('$\\text{<script>"x"</script>}$')


def test_what_sets_them_is_among_gradios_own_files():
    assert set(typesetter()) == {"js", "css"}
    assert all(address.startswith("/assets/katex-") for address in typesetter().values())
