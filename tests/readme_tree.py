"""The tree in the README: every file with the first sentence it says of itself.

`python -m tests.readme_tree` writes it; `tests/test_docs.py` holds it against the disk.
"""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- tree: begin -->\n```\n", "```\n<!-- tree: end -->"
WIDTH = 34

SAID = {
    ".ci/run": "what continuous integration runs",
    "CHANGELOG.md": "what changed for people who use it",
    "DECISIONS.md": "why it is built this way",
    "Dockerfile": "one image for processors, one for GPUs",
    "LICENSE": "Apache-2.0",
    "Makefile": "run, test, check, bench, demo",
    "constraints.txt": "every package, pinned",
    "install.sh": "creates the environment, once",
    "pyproject.toml": "packages, tools and the layers' laws",
    "ui/usability.md": "ten tasks, with what each costs a newcomer, and pictures",
}
ROOMS = {
    "service": "the gateway, the worker and the command `tailorbird`",
    "service/api": "HTTP only: parse, call one domain function, return",
    "service/contract": "the vocabulary every room shares",
    "service/db": "tables, transactions, migrations",
    "service/db/tables": "what is stored, by subject",
    "service/domain": "the rules; a session comes first, nothing commits",
    "service/engine": "the local vLLM: kept alive, spoken to, proved",
    "service/intake": "files that people bring: recognised, converted, measured, in a process of its own",
    "service/sample": "an invented company with its facts, questions and corrections",
    "service/storage": "files and adapters, by digest",
    "training": "a run folder in, an adapter out: `python -m training FOLDER`",
    "evals": "a run folder in, scores and a gate out: `python -m evals FOLDER`",
    "ui": "the screens; a client of the gateway like any other",
    "ui/client": "the only door to the gateway, a file for each kind of person",
    "ui/words": "every sentence on the screens: a folder for each language, a file for each page",
    "ui/words/en": "the same names in `fr`",
    "tests": "mirrors the rooms",
}


def tree() -> str:
    """The annotated tree as text: root files, then each room; tests only as a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = sorted({Path(name) for name in listed.stdout.splitlines() if (ROOT / name).exists()})
    lines = [_line(str(path), SAID[str(path)]) for path in files if str(path) in SAID]
    for room, said in ROOMS.items():
        inside = [p for p in files if str(p.parent) == room and p.suffix == ".py" and p.name != "__init__.py"]
        lines += ["", _line(f"{room}/", said)]
        if room != "tests":
            lines += [_line(f"  {path.name}", _first_sentence(ROOT / path)) for path in inside]
    return "\n".join(lines) + "\n"


def _line(name: str, said: str) -> str:
    return f"{name:<{WIDTH}}{said}"


def _first_sentence(path: Path) -> str:
    said = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
    sentence = " ".join(said.split()).split(". ")[0].rstrip(".")
    return sentence if len(sentence) <= 110 else sentence[:107].rsplit(" ", 1)[0] + " …"


if __name__ == "__main__":
    text = README.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    README.write_text(head + BEGIN + tree() + END + tail)
