import asyncio
import os
from pathlib import Path

import pytest

from service.contract import folder
from service.contract.imports import Preview
from service.intake import process
from tests.service.intake.files import Brought, jsonl

pytestmark = pytest.mark.heavy


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


async def test_what_the_process_makes_comes_back_and_what_it_refuses_is_raised(tmp_path: Path):
    good = Brought(tmp_path, jsonl({"prompt": "q", "completion": "a"}))
    look = good.spec.model_copy(update={"task": "preview"})
    assert Preview.model_validate(await process.run(tmp_path / "place", look)).kind == "sft"
    bad = Brought(tmp_path, b"PAR1").spec
    with pytest.raises(process.Refused, match="Parquet"):
        await process.run(tmp_path / "place", bad)


async def test_a_file_that_wants_too_much_memory_is_refused_and_nothing_else_notices(tmp_path: Path):
    path = tmp_path / "long.json"
    with open(path, "wb") as file:
        file.write(b'[{"prompt": "')
        for _ in range(300):
            file.write(b"x" * (1 << 20))
    with pytest.raises(process.Refused, match="longer than 4 MiB"):
        await process.run(tmp_path / "place", Brought(tmp_path, path).spec)


async def test_the_process_ends_with_who_waits_for_it(tmp_path: Path):
    rows = jsonl(*({"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(20_000)))
    place = tmp_path / "place"
    waiting = asyncio.create_task(process.run(place, Brought(tmp_path, rows).spec))
    for _ in range(1200):
        if (place / "state.json").exists():
            break
        await asyncio.sleep(0.05)
    [pid] = [
        int(one.name)
        for one in Path("/proc").iterdir()
        if one.name.isdigit() and str(place).encode() in _command_of(one)
    ]
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gone(pid)
    assert not (place / folder.REPORT).exists()


def _command_of(process_folder: Path) -> bytes:
    try:
        return (process_folder / "cmdline").read_bytes()
    except OSError:
        return b""
