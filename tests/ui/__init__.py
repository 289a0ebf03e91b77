"""The screens. `ui` comes first: before Gradio, which a module may import by its name (see `ui.stubs`)."""

import ui  # noqa: F401
