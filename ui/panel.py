"""The one custom component: server-rendered HTML whose buttons speak to Python.

An element with `data-do` sends `{act, id, value, fields, once}` as a Gradio event when it is pressed: the
event is `click` unless `data-event` names another. `fields` are those of the form around it; `once` is new for
each press. Owns that small language and its reading. Knows no screen.
"""

from typing import Any

import gradio as gr

from ui.acts import Act
from ui.pages import static


def panel(elem_id: str, **more: Any) -> gr.HTML:
    return gr.HTML(
        js_on_load=static("panel.js"), elem_id=elem_id, elem_classes="panel", apply_default_css=False, **more
    )


def read(event: gr.EventData) -> Act:
    """The act in an event; what is not of its shape is left out."""
    data = event._data if isinstance(event._data, dict) else {}
    fields = data.get("fields")
    fields = fields if isinstance(fields, dict) else {}
    return Act(
        **{name: str(data.get(name) or "")[:200_000] for name in ("act", "id", "value", "once")},
        fields={str(k): [str(item) for item in v] for k, v in fields.items() if isinstance(v, list)},
    )
