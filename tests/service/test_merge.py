import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from service import merge
from service.errors import BadInput, NotFound
from service.settings import Settings

DIGEST = "ab" * 32


@pytest.fixture
def home(tmp_path: Path, schema: Path) -> Settings:
    shutil.copy(schema, tmp_path)
    with closing(sqlite3.connect(tmp_path / schema.name)) as database, database:
        database.execute(
            "insert into adapters (digest, model, job_id, user_id, manifest, proof, report, bytes, created_at)"
            " values (?, 'ft:b:desk', 'ftjob-1', 'user', '{}', '{}', '{}', 1, 1)",
            (DIGEST,),
        )
    return Settings(home=tmp_path)


def test_a_tuned_models_name_becomes_the_trainers_command(
    home: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    started: list[list[str]] = []
    monkeypatch.setattr(merge.os, "execv", lambda _, command: started.append(command))
    monkeypatch.chdir(tmp_path)
    merge.merge(home, "ft:b:desk", "out")
    folders = [home.home / "adapters" / DIGEST, home.base_folder, tmp_path / "out"]
    assert started == [[sys.executable, "-m", "training.merge", *map(str, folders)]]


def test_a_name_without_an_adapter_and_a_home_without_a_service_are_refused(home: Settings, tmp_path: Path):
    with pytest.raises(BadInput, match="nothing to merge"):
        merge.merge(home, home.model_name, "out")
    with pytest.raises(NotFound):
        merge.merge(home, "ft:b:other", "out")
    with pytest.raises(NotFound, match="no service"):
        merge.merge(Settings(home=tmp_path / "none"), "ft:b:desk", "out")
