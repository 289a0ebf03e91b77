"""The laws of the house that no linter knows. A rule that is stated is checked, here or by import-linter."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROOMS = ("service", "training", "evals", "ui")
MODULES = sorted(
    path for room in ROOMS for path in (ROOT / room).rglob("*.py") if "migrations" not in path.parts
)
HEAVY = {
    "torch", "transformers", "trl", "peft", "datasets", "vllm", "gradio", "ragas", "matplotlib", "openpyxl",
    "pypdf", "tokenizers",
}  # fmt: skip


@cache
def nodes(path: Path) -> list[Any]:
    """The syntax tree, the module itself first."""
    return list(ast.walk(ast.parse(path.read_text())))


def functions(path: Path):
    return [node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def names(path: Path) -> set[str]:
    return {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)} | {
        node.id for node in nodes(path) if isinstance(node, ast.Name)
    }


def test_a_module_is_short_and_says_what_it_is():
    texts = {path: path.read_text() for path in MODULES}
    assert [path for path, text in texts.items() if len(text.splitlines()) > 400] == []
    silent = [path for path, text in texts.items() if text.strip() and not ast.get_docstring(nodes(path)[0])]
    assert silent == [], "a module opens by saying what it is"


def test_a_function_is_short():
    long = [
        f"{path.relative_to(ROOT)}: {function.name}"
        for path in MODULES
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno >= 60
    ]
    assert long == []


def test_no_module_has_a_name_that_says_nothing():
    empty = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert [path for path in MODULES if path.stem in empty] == []


def test_only_the_edges_commit():
    edges = {"service/db/session.py", "service/db/sqlite.py"}  # the second is the driver under the first
    for path in MODULES:
        if str(path.relative_to(ROOT)) not in edges:
            assert "commit" not in names(path), path


def test_the_domain_knows_no_http():
    for path in (ROOT / "service" / "domain").glob("*.py"):
        assert not {"HTTPException", "Request", "Response", "APIRouter"} & names(path), path


def test_nothing_but_their_own_rules_reads_drafts_of_documents():
    """A draft that no person confirmed must not reach training: whoever could read it is known here."""
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        for node in nodes(path)
        if isinstance(node, ast.Attribute)
        and node.attr == "Draft"
        and getattr(node.value, "id", "") == "tables"
    }
    assert readers == {"service/domain/documents.py"}
    assert "drafts" not in (ROOT / "service/domain/datasets.py").read_text()


def test_every_word_of_the_api_has_its_rules_in_the_domain():
    aside = {"deps", "lists", "looks", "reader", "relay", "health", "models", "__init__"}
    words = {path.stem for path in (ROOT / "service" / "api").glob("*.py")} - aside
    rules = {path.stem for path in (ROOT / "service" / "domain").glob("*.py")}
    assert words <= rules


def test_nothing_happens_on_import_and_the_gateway_imports_nothing_heavy():
    code = (
        "import sys, pathlib;"
        "sys.addaudithook(lambda e, a: (_ for _ in ()).throw(RuntimeError(e)) if e in"
        " ('socket.connect', 'subprocess.Popen', 'os.mkdir') else None);"
        "import service.app, service.launch, service.cli;"
        f"print(sorted(set(sys.modules) & {HEAVY | {'training', 'evals', 'ui'}!r}));"
        "import service.worker, service.demo, evals, ui, training"
    )
    result = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout.strip() == "[]"


def test_the_migrations_lead_to_the_tables(tmp_path: Path):
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ROOT / "service" / "db" / "migrations"))
    config.set_main_option("sqlalchemy.url", f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    command.upgrade(config, "head")
    command.check(config)


def test_nothing_outside_the_house_is_spoken_of():
    here = ("/work/", "/opt/wheels", "/opt/pypi", "../shared", "pythonhosted", "pypi.org", "download.pytorch")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".sh", ".txt"} and path != Path(__file__):
            text = path.read_text()
            assert not [word for word in here if word in text], name
