"""The documentation cannot lie: trees, settings, targets and commands are held against the code."""

import re
import subprocess
import sys
from pathlib import Path

from service.settings import Settings
from tests.readme_tree import BEGIN, END, tree

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    *(ROOT / room / "README.md" for room in ("service", "training", "evals", "ui", "tests/bench")),
    ROOT / "ui" / "usability.md",
]


def test_the_readmes_tree_is_the_disks():
    assert README.partition(BEGIN)[2].partition(END)[0] == tree(), "run: python -m tests.readme_tree"


def test_every_setting_is_described_once_with_its_default():
    page = (ROOT / "service" / "README.md").read_text()
    for name, field in Settings.model_fields.items():
        assert page.count(f"| `TAILORBIRD_{name.upper()}` |") == 1, name
        assert field.description, name


def test_every_make_target_named_in_a_page_exists_and_is_listed():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for page in PAGES:
        for target in re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", page.read_text(), re.MULTILINE):
            assert f"make {''.join(target)} " in listed, (page, target)


def test_every_subcommand_is_described():
    page = (ROOT / "service" / "README.md").read_text()
    helped = subprocess.run(
        [sys.executable, "-m", "service", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for command in re.findall(r"^    ([a-z]+) ", helped, re.MULTILINE):
        assert f"`tailorbird {command}" in page, command


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), (page, target)
