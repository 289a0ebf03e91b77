"""What stops an installation is one line: the fact, and the next step."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = "bash awk cat cut df dirname env grep head mkdir rm sha256sum tail tee uname".split()
pytestmark = pytest.mark.heavy


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, Path]:
    """{"tools": the only folder of programs, "venv": an environment that is not there yet}."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    for name in (*TOOLS, "c++"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    return {"tools": tools, "venv": tmp_path / "venv"}


def test_without_a_compiler_it_says_what_to_install(machine: dict[str, Path]):
    (machine["tools"] / "c++").unlink()
    assert _refusal(machine) == (
        "tailorbird: A C++ compiler is missing; the engine compiles small kernels with it. "
        "On Debian: apt-get install build-essential."
    )
    assert not machine["venv"].exists()


def test_without_python_it_says_which_one(machine: dict[str, Path]):
    (machine["tools"] / "python3").unlink()
    assert "Install Python 3.11 or 3.12" in _refusal(machine)


def test_a_full_disk_is_told_before_anything_is_written(machine: dict[str, Path]):
    _program(machine, "df", "echo 'Filesystem 1024-blocks Used Available'; echo 'disk 9 8 1048576'")
    assert "The disk has 1 GB free; the packages need 8. Free some space" in _refusal(machine)
    assert not machine["venv"].exists()


def test_a_disk_that_fills_up_meanwhile_is_told(machine: dict[str, Path]):
    _pip_that_says(
        machine, "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    )
    assert _refusal(machine) == "tailorbird: The disk is full. Free some space, then try again."


def test_without_a_network_it_says_so_and_the_next_try_is_not_taken_for_done(machine: dict[str, Path]):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # a port where nothing listens
        index = f"http://127.0.0.1:{nobody.getsockname()[1]}/simple"
        said = _refusal(machine, PIP_INDEX_URL=index, PIP_RETRIES="1", PIP_CONFIG_FILE=os.devnull)
    assert said.startswith(
        "tailorbird: The package index cannot be reached. Check the network or pip's settings"
    )
    assert not (machine["venv"] / ".installed").exists()


def test_an_index_without_pytorchs_cpu_build_names_the_variable_to_set(machine: dict[str, Path]):
    _pip_that_says(machine, "ERROR: No matching distribution found for torch==2.13.0+cpu")
    assert "Set PIP_EXTRA_INDEX_URL to PyTorch's CPU index" in _refusal(machine)


def _refusal(machine: dict[str, Path], **more: str) -> str:
    """The last line of a failed installation, which is all it says on its error output."""
    env = {
        "PATH": str(machine["tools"]),
        "HOME": str(machine["venv"].parent),
        "TAILORBIRD_BUILD": "cpu",
    } | more
    done = subprocess.run(
        [str(machine["tools"] / "bash"), "install.sh", str(machine["venv"])],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def _pip_that_says(machine: dict[str, Path], line: str) -> None:
    """An environment whose pip fails with `line`."""
    (machine["venv"] / "bin").mkdir(parents=True)
    python = machine["venv"] / "bin" / "python"
    python.write_text(f"#!{machine['tools'] / 'bash'}\necho '{line}'\nexit 1\n")
    python.chmod(0o755)


def _program(machine: dict[str, Path], name: str, script: str) -> None:
    place = machine["tools"] / name
    place.unlink()
    place.write_text(f"#!{machine['tools'] / 'bash'}\n{script}\n")
    place.chmod(0o755)
