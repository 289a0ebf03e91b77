"""`/v1/models`: the base model, assistants and tuned models, from our own records."""

from typing import Any

from fastapi import APIRouter

from service.api.deps import CallerDep, HouseDep, NoteDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract.files import Deleted
from service.domain import assistants, chat, models, releases

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
async def list_models(session: ReadDep, house: HouseDep, _: CallerDep) -> dict[str, Any]:
    """Everything that can stand in `model` of a chat request."""
    found = [_model(house.settings.model_name, 0)]
    found += [_model(a.name, a.created_at) for a in await assistants.list_assistants(session)]
    found += [_model(a.model, a.created_at) for a in await releases.list_adapters(session)]
    return as_list(found)


@router.get("/{model:path}")
async def retrieve_model(model: str, session: ReadDep, house: HouseDep, _: CallerDep) -> dict[str, Any]:
    await chat.resolve(session, model, base_name=house.settings.model_name)
    created = {a.name: a.created_at for a in await assistants.list_assistants(session)}
    created |= {a.model: a.created_at for a in await releases.list_adapters(session)}
    return _model(model, created.get(model.partition("@")[0], created.get(model, 0)))


@router.delete("/{model:path}")
async def delete_model(
    model: str, session: WriteDep, house: HouseDep, caller: CallerDep, note: NoteDep
) -> Deleted:
    """Withdraw a tuned model that is neither live nor under way. Its releases can be promoted no more."""
    await models.delete_model(session, caller, model, base_name=house.settings.model_name)
    await note("model.deleted", model)
    return Deleted(id=model, object="model")


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "tailorbird"}
