"""The hand of somebody who sees a screen for the first time: what it presses, types and reads, and how long that takes.

Times are those of the keystroke-level model (Card, Moran and Newell, "The keystroke-level model for user performance
time with interactive systems", Communications of the ACM 23, 1980). It is a model of people who know their way, so each
press and each field gets its moment of thought, and what a newcomer has to read is read at the mean speed of silent
reading in English (Brysbaert, "How many words do we read per minute?", Journal of Memory and Language 109, 2019).
"""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page

KEY, POINT, PRESS, HOME, THINK = 0.28, 1.1, 0.2, 0.4, 1.35
"""K for somebody who types 40 words a minute, P, two times B, H and M of the model, in seconds."""
WORD = 60 / 238
"""Seconds for a word that is read."""


class Newcomer:
    """Counts what is done on one page. Clicks are the browser's own count of presses of the mouse."""

    def __init__(self, page: Page, look: Callable[[Page], None] = lambda _: None) -> None:
        self.page, self.clicks, self.seconds = page, 0, 0.0
        self._look, self._at_keys = look, False
        page.context.expose_binding("tailorbirdPressed", self._pressed)
        # Where the target moves under the hand, playwright keeps the press from the page and presses again.
        page.context.add_init_script(
            "addEventListener('pointerdown', (event) => { if (event.isTrusted) tailorbirdPressed(); })"
        )

    def click(self, target: Locator) -> None:
        """Think, point and press."""
        self.seconds += THINK + self._to(keys=False) + POINT + PRESS
        target.click()

    def write(self, text: str, target: Locator | None = None) -> None:
        """Think and type, in a field that is pointed at first, or where the cursor stands."""
        if target is not None:
            self.click(target)
        self.seconds += THINK + self._to(keys=True) + KEY * len(text)
        self.page.keyboard.type(text)

    def press(self, keys: str) -> None:
        """A key, or several held together."""
        self.seconds += THINK + self._to(keys=True) + KEY * len(keys.split("+"))
        self.page.keyboard.press(keys)

    def agree(self) -> None:
        """To a question of the browser, which the test has answered already: the Enter key."""
        self.seconds += THINK + self._to(keys=True) + KEY

    def read(self, target: Locator) -> None:
        """All the words in a place, as one reads what is new."""
        target.wait_for()
        self.seconds += WORD * len(target.inner_text().split())

    def look(self) -> None:
        """The moment that a picture of this task shows."""
        self._look(self.page)

    def _to(self, *, keys: bool) -> float:
        """Seconds to move the hand between mouse and keys, where it is not there yet."""
        moved, self._at_keys = keys != self._at_keys, keys
        return HOME if moved else 0.0

    def _pressed(self, _: Any) -> None:
        self.clicks += 1
