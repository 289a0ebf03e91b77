from tests.ui.test_views import conversation, turn
from ui import conversations
from ui.words import words


def shown(answer: str) -> str:

    return conversations.thread(words("en"), conversation(turn(1, answer=answer)), None)


def test_code_is_coloured_by_its_language_and_can_be_copied():
    page = shown("```python\ndef f(): pass\n```")
    assert '<span class="k">def</span>' in page
    assert "data-copy-code" in page
    assert "<span>python</span>" in page


def test_code_of_an_unknown_language_is_plain_and_never_markup():
    page = shown("```klingon\n<script>x</script>\n```\n\n```python\n'<script>'\n```")
    assert "&lt;script&gt;x" in page
    assert "<script>" not in page
