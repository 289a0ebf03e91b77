from pathlib import Path

import pytest

from service.contract.batches import Answer, AnsweredLine
from service.storage.results import Results


def line(custom_id: str, status: int = 200) -> AnsweredLine:
    body = {"usage": {"prompt_tokens": 3, "completion_tokens": 2}} if status == 200 else {"error": {}}
    answer = Answer(status_code=status, request_id="req_1", body=body)
    return AnsweredLine(id=f"batch_req_{custom_id}", custom_id=custom_id, response=answer)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_line_that_a_kill_cut_off_is_not_done_and_all_others_are(tmp_path: Path, cut: int):
    results = Results(tmp_path / "batch")
    results.add([line("a"), line("b", 400), line("c")])
    results.close()
    whole = results.output.read_bytes()
    results.output.write_bytes(whole[:-cut])
    again = Results(tmp_path / "batch")
    assert again.done == {"a", "b"}
    assert (again.completed, again.failed, again.usage.total_tokens) == (1, 1, 5)
    again.add([line("c")])
    again.close()
    assert again.output.read_bytes() == whole


def test_every_line_is_on_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results = Results(tmp_path / "batch")
    synced: list[tuple[int, set[str]]] = []
    monkeypatch.setattr(
        "service.storage.results.os.fsync", lambda _: synced.append((len(whole()), {*results.done}))
    )

    def whole() -> bytes:
        return results.output.read_bytes()

    results.add([line("a")])
    assert synced == [(len(whole()), set())]
    assert len(whole()) > 0
    assert results.done == {"a"}
    results.close()
