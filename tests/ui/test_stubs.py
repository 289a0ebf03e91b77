"""Gradio writes nothing into the packages while the screens start."""

import importlib
from pathlib import Path

import pytest

from ui import stubs


def test_a_component_gets_no_stub_beside_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import gradio.component_meta

    assert hasattr(gradio.component_meta, stubs.FUNCTION), "Gradio calls it otherwise now: look again"
    (tmp_path / "made.py").write_text("import gradio\n\n\nclass Made(gradio.Textbox):\n    EVENTS = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("made").Made(label="here").label == "here"
    assert list(tmp_path.glob("*.pyi")) == []
