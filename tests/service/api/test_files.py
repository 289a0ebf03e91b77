import json

import httpx
import openai
import pytest

from tests.conftest import Gateway

ROW = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def upload(gateway: Gateway, content: bytes, purpose: str = "fine-tune") -> httpx.Response:
    return gateway.admin.post("/v1/files", files={"file": ("rows.jsonl", content)}, data={"purpose": purpose})


def lines(*rows: object) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def count(gateway: Gateway) -> int:
    return len(gateway.admin.get("/v1/files").json()["data"])


def test_the_sdk_uploads_lists_reads_and_deletes(gateway: Gateway):
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key)
    content = lines(ROW, ROW, ROW)
    file = client.files.create(file=("mine.jsonl", content), purpose="fine-tune")
    assert (file.status, file.bytes, file.filename) == ("processed", len(content), "mine.jsonl")
    assert client.files.wait_for_processing(file.id).id == file.id
    assert file.id in [one.id for one in client.files.list(limit=1)]
    assert client.files.content(file.id).read() == content
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\n\n  \n", "empty"),
        (lines(ROW, "{broken"), "Line 2: not valid JSON"),
        (lines(ROW, ROW, "[1]"), "Line 3: a JSON object"),
        (lines(ROW, {"messages": [{"role": "wizard", "content": "x"}]}), "Line 2: 'messages"),
        (lines(ROW, {"messages": [{"role": "user", "content": "x"}]}), "Line 2:"),
        (
            lines({"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "x"}]}),
            "last message",
        ),
        (lines({"text": "x"}), "Line 1: neither 'messages'"),
        (b'{"messages": "\xff\xfe"}', "Line 1: not UTF-8"),
        (lines("[" * 100_000), "Line 1:"),
    ],
)
def test_a_file_that_cannot_train_is_refused_with_its_line_and_leaves_nothing(
    gateway: Gateway, content, said
):
    before = count(gateway)
    answer = upload(gateway, content)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert count(gateway) == before
    assert list((gateway.settings.home / "incoming").iterdir()) == []


def test_a_file_past_the_limit_is_refused_and_leaves_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gateway.settings, "max_upload_mb", 1)
    answer = upload(gateway, lines(*[ROW] * 20_000))
    assert answer.status_code == 413
    assert list((gateway.settings.home / "incoming").iterdir()) == []


def test_fifty_megabytes_of_text_are_read_or_refused_by_line(gateway: Gateway):
    answer = upload(gateway, b"x" * 50_000_000)
    assert answer.status_code == 400
    assert "Line 1: longer than 4 MiB" in answer.json()["error"]["message"]


def test_paging_goes_on_behind_the_last_id(gateway: Gateway):
    made = [upload(gateway, lines(ROW, {**ROW, "n": i})).json()["id"] for i in range(3)]
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key)
    seen = [file.id for file in client.files.list(limit=1, order="asc", purpose="fine-tune")]
    assert len(seen) == len(set(seen))
    assert set(made) <= set(seen)


def test_a_user_sees_only_their_own_files(gateway: Gateway):
    file = upload(gateway, lines(ROW)).json()["id"]
    with gateway.client_of("Oscar") as other:
        assert other.get(f"/v1/files/{file}").status_code == 404
        assert other.get(f"/v1/files/{file}/content").status_code == 404
        assert other.delete(f"/v1/files/{file}").status_code == 404
        assert other.get("/v1/files").json()["data"] == []


def test_held_out_questions_need_something_to_be_scored_against(gateway: Gateway):
    assert upload(gateway, lines({"question": "q", "facts": ["f"]}), "evals").status_code == 200
    answer = upload(gateway, lines({"question": "q"}), "evals")
    assert "Line 1: a case needs" in answer.json()["error"]["message"]
