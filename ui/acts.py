"""What a person pressed.

Owns the shape in which the parts of a screen get it, and knows nothing of Gradio: `panel` reads it from an event.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Act:
    """What was pressed. Everything in it comes from a browser and is only text."""

    act: str = ""
    id: str = ""
    value: str = ""
    once: str = ""
    fields: dict[str, list[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """One field of the form, without the spaces around it."""
        return next(iter(self.fields.get(name, [])), "").strip()
