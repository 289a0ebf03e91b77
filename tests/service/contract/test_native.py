"""C++ is compiled once for a processor, kept where nobody else can write, and what is missing is said with its mend."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.contract import native

ROOT = Path(__file__).parents[3]
SOURCE = '#include "vectors.h"\nextern "C" int answer() { return LANES; }\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "small.cpp"
    made.write_text(SOURCE)
    return made


def _load(source: Path, cache: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """In a process of its own: a library that was loaded once stays loaded."""
    code = (
        "from pathlib import Path; from service.contract import native; "
        f"print(native.library(Path({str(source)!r}), Path({str(cache)!r}), 'small things').answer())"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_compiled_once_for_a_processor_and_then_needs_only_to_be_loaded(
    source: Path, tmp_path: Path
) -> None:
    cache, empty = tmp_path / "cache", tmp_path / "bin"
    empty.mkdir()
    assert _load(source, cache).stdout == "16\n"
    (made,) = cache.iterdir()
    stamp = made.stat().st_mtime_ns
    assert _load(source, cache, PATH=str(empty)).stdout == "16\n", "what is there needs no compiler"
    assert [(one, one.stat().st_mtime_ns) for one in cache.iterdir()] == [(made, stamp)]
    made.write_text("no library")
    assert _load(source, cache).stdout == "16\n", "what does not load is made anew"
    assert made.stat().st_size > 1000


def test_a_changed_source_is_another_library(source: Path, tmp_path: Path) -> None:
    before = native.digest(source)
    assert native.library(source, tmp_path / "cache", "small things").answer() == 16
    source.write_text(SOURCE.replace("LANES", "LANES + 1"))
    assert native.digest(source) != before
    assert native.library(source, tmp_path / "cache", "small things").answer() == 17
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_compiler_that_is_missing_or_fails_leaves_nothing_and_says_the_next_step(
    source: Path, tmp_path: Path
) -> None:
    cache, empty = tmp_path / "cache", tmp_path / "bin"
    empty.mkdir()
    missing = _load(source, cache, PATH=str(empty), CXX="")
    assert "No C++ compiler here: small things are compiled" in missing.stderr
    assert "apt-get install build-essential" in missing.stderr
    failing = _load(source, cache, CXX="g++ -lnowhere")
    assert "could not compile small things (" in failing.stderr
    assert "cannot find -lnowhere" in failing.stderr
    assert "set CXX" in failing.stderr
    assert list(cache.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named_with_the_next_step(source: Path, tmp_path: Path) -> None:
    refused = _load(source, source / "cache")
    assert "Small things cannot be kept in" in refused.stderr
    assert "VLLM_CACHE_ROOT" in refused.stderr


def test_a_folder_that_others_can_write_to_is_not_loaded_from(source: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    refused = _load(source, tmp_path / "open")
    assert "can be written to by others" in refused.stderr
    assert list((tmp_path / "open").iterdir()) == []


def test_the_folder_lies_beside_what_vllm_compiles_and_moves_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_CACHE_ROOT", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert native.cache() == Path("/home/somebody/.cache/vllm/tailorbird")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert native.cache() == Path("/cache/vllm/tailorbird")
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/elsewhere")
    assert native.cache() == Path("/elsewhere/tailorbird")
