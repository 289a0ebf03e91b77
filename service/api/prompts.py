"""`/v1/completions`: a raw prompt in, what follows it out, by a tuned model or the base model."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api import relay
from service.api.deps import CallerDep, HouseDep
from service.contract.prompts import PromptRequest

router = APIRouter(tags=["completions"])


@router.post("/v1/completions", response_model=None, responses=relay.DESCRIBED)
async def create_completion(
    wanted: PromptRequest, request: Request, house: HouseDep, caller: CallerDep
) -> Response:
    """OpenAI's older completion, streamed or whole. No chat template and no instructions are applied."""
    return await relay.serve(wanted, request, house, caller)
