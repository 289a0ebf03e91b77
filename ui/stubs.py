"""Lets Gradio be imported without writing stubs for editors beside its own files.

At each import it takes its source apart and compares every stub with what is there: two fifths of the time, 2 s of a
processor at every start of the screens. Knows no screen.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

MODULE, FUNCTION = "gradio.component_meta", "create_or_modify_pyi"


def leave_out() -> None:
    """From now on, if Gradio is not imported yet."""
    if MODULE not in sys.modules:
        sys.meta_path.insert(0, _WithoutStubs())


class _WithoutStubs(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _then_replaced(spec.loader.exec_module)
        return spec


def _then_replaced(execute: Any) -> Any:
    def run(module: ModuleType) -> None:
        execute(module)
        setattr(module, FUNCTION, lambda *_: None)

    return run
