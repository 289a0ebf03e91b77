"""What happened to an assistant, as who asks meets it."""

import httpx
import pytest

from tests.gateway import Gateway


@pytest.mark.parametrize(("role", "status"), [("user", 403), ("reviewer", 200), ("administrator", 200)])
def test_reviewers_read_it_and_who_only_chats_does_not(gateway: Gateway, role: str, status: int):
    path = "/api/assistants/fanal/timeline"
    with gateway.client_of("Tess", role) as client:
        assert client.get(path).status_code == status
    assert httpx.get(f"{gateway.url}{path}").status_code == 401


def test_it_tells_who_changed_what_page_by_page(gateway: Gateway):
    admin = gateway.admin
    me = admin.get("/api/me").json()["name"]
    admin.post("/api/assistants", json={"name": "told", "title": "Told"}).raise_for_status()
    admin.patch("/api/assistants/told", json={"temperature": 0.5}).raise_for_status()
    path = "/api/assistants/told/timeline"
    newest = admin.get(path, params={"limit": 1}).raise_for_status().json()
    assert (newest["has_more"], newest["data"][0]["fields"]) == (True, ["temperature"])
    older = admin.get(path, params={"limit": 1, "after": newest["last_id"]}).json()
    assert [(one["what"], one["by"]) for one in newest["data"] + older["data"]] == [
        ("changed", me), ("created", me),
    ]  # fmt: skip
    assert older["has_more"] is False
    for query, status in (({"after": "9-x"}, 400), ({"limit": 0}, 400), ({"limit": 201}, 400)):
        assert admin.get(path, params=query).status_code == status
    assert admin.get("/api/assistants/nobody/timeline").status_code == 404
