"""What becomes of a finished run, up to the moment where the engine would hear of it."""

from pathlib import Path
from typing import Any

import pytest

from service import outcomes
from service.contract import folder
from service.contract.jobs import TrainingReport
from service.db import tables
from service.db.session import Database
from service.domain.keys import Hasher
from service.engine.client import Engine
from service.errors import BadInput
from service.settings import Settings
from service.storage.local import Store
from tests.service.engine.double import double_engine
from tests.service.storage.adapters import adapter, lora, made_for, servable, settings


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": settings(init_lora_weights="pissa")}, "changes the base model too"),
        ({"config": settings(use_bdlora={"nblocks": 2})}, "plain LoRA"),
        ({"config": settings(r=2)}, "has rank 1 and"),
        ({"manifest": {"base_model": "base", "base_sha256": "0" * 64}}, "another checkpoint"),
        ({"weights": lora(rank=32), "config": settings(r=32)}, "rank 32; at most 16"),
    ],
)
async def test_an_adapter_that_is_refused_never_reaches_the_engine(
    tmp_path: Path, change: dict[str, Any], said: str
):
    place, base = tmp_path / "run", servable(tmp_path).base
    place.mkdir()
    adapter(place / folder.ADAPTER, **{"manifest": made_for(base)} | change)
    report = TrainingReport(steps=1, epochs=1, rows=1, held_out=0, trained_tokens=1, seconds=1, metrics={})
    folder.write_json(place / folder.REPORT, report.model_dump())
    settings = Settings(home=tmp_path / "home", base_model=str(base))
    store = Store(settings.home)
    store.prepare()
    async with double_engine(tmp_path) as double:
        engine = Engine(double.url)
        parts = outcomes.Parts(settings, store, Hasher.of_home(settings.home), [engine])
        with pytest.raises(BadInput, match=said):
            await outcomes.take_in(
                Database(settings.database), parts, tables.Job(id="ftjob-1", kind="sft"), place
            )
        await engine.close()
    assert double.loads == 0
    assert list((settings.home / "adapters").iterdir()) == []
