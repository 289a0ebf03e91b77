"""`/v1/chat/completions`: messages in, an answer out, by an assistant, a tuned model or the base model."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api import relay
from service.api.deps import CallerDep, HouseDep
from service.contract.chat import ChatRequest

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", response_model=None, responses=relay.DESCRIBED)
async def create_chat_completion(
    wanted: ChatRequest, request: Request, house: HouseDep, caller: CallerDep
) -> Response:
    """OpenAI's chat completion, streamed or whole."""
    return await relay.serve(wanted, request, house, caller)
