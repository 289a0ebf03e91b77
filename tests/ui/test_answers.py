import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.ui.screens import Screens
from ui.answers import Answer, Answers, later_half
from ui.client import Begun, Gateway, Refused

pytestmark = pytest.mark.heavy  # the screens themselves


@pytest.fixture
async def gateway(screens: Screens) -> AsyncIterator[Gateway]:
    gateway = Gateway(screens.gateway.url)
    yield gateway
    await gateway.close()


async def asked(gateway: Gateway, token: str, question: str) -> tuple[Answers, str]:
    answers = Answers(gateway)
    conversation = (await gateway.create_conversation(token, "fanal")).id
    answers.start(
        token,
        "me",
        model="fanal",
        conversation=conversation,
        title="Fanal",
        messages=[{"role": "user", "content": question}],
    )
    return answers, conversation


async def recorded(gateway: Gateway, token: str, conversation: str) -> tuple[str, str]:
    """Status and text of the conversation's one turn, once it has ended."""
    for _ in range(100):
        turns = (await gateway.conversation(token, conversation)).turns
        if turns and turns[-1].status != "running":
            return turns[-1].status, turns[-1].answer
        await asyncio.sleep(0.05)
    raise AssertionError("the answer did not end")


async def test_an_answer_grows_and_is_recorded_without_anybody_watching(screens: Screens, gateway: Gateway):
    answers, conversation = await asked(gateway, screens.gateway.key, "SLOW " + "word " * 8)
    answer = answers.of(conversation, "me")
    assert answer is not None
    for screen in ("page", "second tab"):
        answers.show(conversation, "me", screen)
    answers.show(conversation, "another", "a stranger's")
    assert answers.ended(conversation, "me", "page") is None
    seen = [text async for text in answers.growth(answer)]
    assert len(seen) >= 2
    assert all(later.startswith(earlier) for earlier, later in zip(seen, seen[1:], strict=False))
    assert answer.begun is not None
    assert answer.begun.release == "fanal@base"
    assert await recorded(gateway, screens.gateway.key, conversation) == ("complete", answer.text)
    assert answers.of(conversation, "me") is None
    assert answers.ended(conversation, "another", "page") is None
    assert answers.ended(conversation, "me", "a stranger's") is None
    for screen in ("page", "second tab"):
        assert answers.ended(conversation, "me", screen) is answer
        assert answers.ended(conversation, "me", screen) is None  # what is drawn as recorded keeps still


async def test_a_stopped_answer_is_recorded_as_interrupted_with_what_was_written(
    screens: Screens, gateway: Gateway
):
    answers, conversation = await asked(gateway, screens.gateway.key, "SLOW " + "word " * 200)
    answer = answers.of(conversation, "me")
    assert answer is not None
    async for _ in answers.growth(answer):
        break
    await answers.stop(conversation, "me")
    status, text = await recorded(gateway, screens.gateway.key, conversation)
    assert status == "interrupted"
    assert 0 < len(text) < 900


async def test_a_question_asked_while_another_is_answered_is_refused_and_the_same_one_is_not(
    screens: Screens, gateway: Gateway
):
    answers, conversation = await asked(gateway, screens.gateway.key, "SLOW word word")

    def again(question: str, **more: str) -> Answer:
        messages = [{"role": "user", "content": question}]
        return answers.start(
            screens.gateway.key, "me", model="fanal", conversation=conversation, title="", messages=messages, **more
        )  # fmt: skip

    assert again("SLOW word word") is answers.of(conversation, "me")
    for refused in (("Another question", {}), ("SLOW word word", {"follows": "chatcmpl-another"})):
        with pytest.raises(Refused) as told:
            again(refused[0], **refused[1])
        assert told.value.code == "answer_under_way"
    await answers.close()


async def test_an_answer_is_neither_seen_nor_stopped_by_somebody_else(screens: Screens, gateway: Gateway):
    answers, conversation = await asked(gateway, screens.gateway.key, "SLOW word word")
    assert answers.of(conversation, "another") is None
    await answers.stop(conversation, "another")
    assert answers.of(conversation, "me") is not None
    await answers.close()


async def test_an_answer_that_breaks_off_says_so(screens: Screens, gateway: Gateway):
    answers, conversation = await asked(gateway, screens.gateway.key, "BREAK off please now")
    answer = answers.of(conversation, "me")
    assert answer is not None
    await answer.done.wait()
    assert answer.refused is not None
    assert answer.text != ""
    assert (await recorded(gateway, screens.gateway.key, conversation))[0] == "failed"


def test_half_of_the_turns_are_left_out_and_never_the_question():
    turns = [{"role": "user", "content": str(n)} for n in range(9)]
    assert later_half(turns) == turns[4:]
    assert later_half(turns[:3]) == turns[2:3]
    assert later_half(turns[:5]) == turns[2:5]


def streaming(body: bytes, status: int = 200) -> Gateway:
    """A gateway's client whose every request is answered with `body`."""
    answer = httpx.MockTransport(
        lambda _: httpx.Response(status, content=body, headers={"x-tailorbird-release": "a@2"})
    )
    return Gateway("http://gateway", transport=answer)


async def pieces(gateway: Gateway) -> list[Begun | str]:
    return [
        piece
        async for piece in gateway.answer("t", model="a", messages=[], conversation="c", follows="start")
    ]


async def test_a_stream_without_its_end_mark_is_a_broken_answer():
    chunk = {"id": "chatcmpl-1", "choices": [{"delta": {"content": "Half"}}]}
    with pytest.raises(Refused) as refused:
        await pieces(streaming(f"data: {json.dumps(chunk)}\n\n".encode()))
    assert refused.value.code == "broken_off"


async def test_a_stream_begins_with_who_answers():
    chunk = {"id": "chatcmpl-1", "choices": [{"delta": {"content": "Whole"}}]}
    got = await pieces(streaming(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()))
    assert got == [Begun("chatcmpl-1", "a@2"), "Whole"]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [(503, b'{"error": {"message": "m", "type": "t", "code": "engine_unavailable"}}', "engine_unavailable"),
     (502, b"<html>Bad gateway</html>", "unknown"), (500, b'{"detail": "x"}', "unknown"), (400, b"[]", "unknown")],
)  # fmt: skip
async def test_every_refusal_is_read_whatever_its_body(status: int, body: bytes, code: str):
    with pytest.raises(Refused) as refused:
        await streaming(body, status).me("t")
    assert (refused.value.status, refused.value.code) == (status, code)
    assert refused.value.message != ""


async def test_a_gateway_that_is_gone_is_unreachable():
    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Refused) as refused:
        await Gateway("http://gateway", transport=httpx.MockTransport(gone)).me("t")
    assert refused.value.code == "unreachable"


async def test_an_id_from_a_browser_cannot_reach_another_address():
    asked: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(404, content=b"{}")

    gateway = Gateway("http://gateway", transport=httpx.MockTransport(note))
    for bad in ("../../users", "..", "a/../../x?y=1", ""):
        with pytest.raises(Refused):
            await gateway.conversation("t", bad)
    assert all(path.startswith("/api/conversations/") and path.count("/") == 3 for path in asked)
    assert {path.rpartition("/")[2] for path in asked} & {"", ".", ".."} == set()
