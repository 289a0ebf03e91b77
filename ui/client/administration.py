"""The administrators' calls: people, keys, the journal and the state of the service."""

from typing import Any

import httpx

from service.contract.audit import AuditCheck, AuditEntry
from service.contract.house_rules import Going, HouseRules
from service.contract.status import Status
from service.contract.users import Key, KeyChange, KeyCreate, NewKey, User
from ui.client.door import Door, part


class Administration(Door):
    """All methods raise `Refused`."""

    # People, keys, status

    async def users(self, token: str) -> list[User]:
        return await self.list(User, token, "/api/users")

    async def create_user(self, token: str, name: str, role: str) -> User:
        return await self.one(User, token, "POST", "/api/users", json={"name": name, "role": role})

    async def change_user(self, token: str, user_id: str, **change: Any) -> User:
        return await self.one(User, token, "PATCH", f"/api/users/{part(user_id)}", json=change)

    async def create_link(self, token: str, user_id: str) -> str:
        """The address of a one-time sign-in link."""
        return (await self.call(token, "POST", f"/api/users/{part(user_id)}/link")).json()["url"]

    async def keys(self, token: str) -> list[Key]:
        return await self.list(Key, token, "/api/keys")

    async def create_key(self, token: str, wanted: KeyCreate) -> NewKey:
        return await self.one(NewKey, token, "POST", "/api/keys", json=wanted.model_dump(exclude_none=True))

    async def change_key(self, token: str, key_id: str, change: KeyChange) -> Key:
        body = change.model_dump()
        return await self.one(Key, token, "PATCH", f"/api/keys/{part(key_id)}", json=body)

    async def revoke_key(self, token: str, key_id: str) -> None:
        await self.call(token, "DELETE", f"/api/keys/{part(key_id)}")

    async def audit(self, token: str, **query: str) -> tuple[list[AuditEntry], bool]:
        """A page of the journal, and whether older entries follow."""
        answer = (await self.call(token, "GET", "/api/audit", params=query)).json()
        return [AuditEntry.model_validate(entry) for entry in answer["data"]], answer["has_more"]

    async def check_audit(self, token: str) -> AuditCheck:
        return await self.one(AuditCheck, token, "GET", "/api/audit/check", timeout=httpx.Timeout(120))

    async def export_audit(self, token: str) -> bytes:
        return (await self.call(token, "GET", "/api/audit/export", timeout=httpx.Timeout(120))).content

    async def house_rules(self, token: str) -> HouseRules:
        return await self.one(HouseRules, token, "GET", "/api/house-rules")

    async def change_house_rules(self, token: str, **change: Any) -> HouseRules:
        return await self.one(HouseRules, token, "PATCH", "/api/house-rules", json=change)

    async def going(self, token: str, days: int) -> Going:
        """What would be erased now if it were kept for so many days."""
        path = "/api/house-rules/going"
        return await self.one(Going, token, "GET", path, params={"days": days}, timeout=httpx.Timeout(120))

    async def status(self, token: str) -> Status:
        return await self.one(Status, token, "GET", "/api/status")

    async def ready(self) -> bool:
        """Whether a chat can be answered now."""
        return await self._is_well("/readyz")

    async def alive(self) -> bool:
        """Whether the gateway answers at all."""
        return await self._is_well("/healthz")

    async def _is_well(self, path: str) -> bool:
        try:
            return (await self.http.get(path, timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False
