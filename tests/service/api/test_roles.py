"""Who may call what: every route of the gateway by hand, so that one that nobody thought of is found."""

import httpx
import pytest
from starlette.routing import Route

from service.contract.users import RANK, Role
from tests.gateway import Gateway

STRANGERS = """
GET /openapi.json, GET /docs, GET /docs/oauth2-redirect, GET /healthz, GET /readyz, POST /api/session
"""
USERS = """
POST /v1/chat/completions, GET /v1/chat/completions, GET /v1/chat/completions/{completion_id},
POST /v1/chat/completions/{completion_id}, DELETE /v1/chat/completions/{completion_id},
GET /v1/chat/completions/{completion_id}/messages, POST /v1/completions,
POST /v1/responses, GET /v1/responses/{response_id}, GET /v1/responses/{response_id}/input_items,
DELETE /v1/responses/{response_id},
GET /v1/models, GET /v1/models/{model:path}, DELETE /v1/models/{model:path},
POST /v1/files, GET /v1/files, GET /v1/files/{file_id}, GET /v1/files/{file_id}/content, DELETE /v1/files/{file_id},
POST /v1/uploads, POST /v1/uploads/{upload_id}/parts, POST /v1/uploads/{upload_id}/complete,
POST /v1/uploads/{upload_id}/cancel,
POST /v1/batches, GET /v1/batches, GET /v1/batches/{batch_id}, POST /v1/batches/{batch_id}/cancel,
POST /v1/fine_tuning/jobs, GET /v1/fine_tuning/jobs, GET /v1/fine_tuning/jobs/{job_id},
GET /v1/fine_tuning/jobs/{job_id}/events, GET /v1/fine_tuning/jobs/{job_id}/checkpoints,
POST /v1/fine_tuning/jobs/{job_id}/cancel, POST /v1/fine_tuning/jobs/{job_id}/pause,
POST /v1/fine_tuning/jobs/{job_id}/resume,
POST /api/estimates, GET /api/assistants, GET /api/assistants/{name},
GET /api/conversations, POST /api/conversations, GET /api/conversations/shared/{share},
GET /api/conversations/{conversation_id}, PATCH /api/conversations/{conversation_id},
DELETE /api/conversations/{conversation_id}, POST /api/conversations/{conversation_id}/share,
DELETE /api/conversations/{conversation_id}/share, GET /api/conversations/{conversation_id}/export,
POST /api/feedback, GET /api/feedback, GET /api/feedback/learnt, GET /api/feedback/{feedback_id}/lineage,
DELETE /api/feedback/{feedback_id},
POST /api/duels, GET /api/duels, GET /api/duels/{duel_id}, POST /api/duels/{duel_id}/vote,
POST /api/duels/{duel_id}/reveal, DELETE /api/duels/{duel_id},
POST /api/imports, GET /api/imports, GET /api/imports/{import_id}, POST /api/imports/{import_id}/preview,
POST /api/imports/{import_id}/start, POST /api/imports/{import_id}/cancel, GET /api/imports/{import_id}/refused,
GET /api/sheets/{file_id}, POST /api/sheets/{file_id}, POST /api/splits/{file_id}, GET /api/adapters/{digest}/files,
GET /api/adapters/{digest}/card, GET /api/jobs/{job_id}/report,
DELETE /api/session, GET /api/me, GET /api/keys, POST /api/keys, DELETE /api/keys/{key_id},
GET /api/webhooks, POST /api/webhooks, GET /api/webhooks/{webhook_id}, PATCH /api/webhooks/{webhook_id},
DELETE /api/webhooks/{webhook_id}, POST /api/webhooks/{webhook_id}/test, GET /api/webhooks/{webhook_id}/deliveries
"""
REVIEWERS = """
POST /api/rounds, POST /api/estimates/round,
GET /api/assistants/{name}/readiness, GET /api/assistants/{name}/timeline, GET /api/assistants/{name}/trial,
POST /api/assistants/{name}/rollback,
POST /api/reviews/next, POST /api/reviews, GET /api/reviews, GET /api/reviews/agreement, GET /api/reviews/golden,
PUT /api/reviews/golden/{completion_id}, DELETE /api/reviews/golden/{completion_id}, DELETE /api/reviews/{review_id},
POST /api/documents, GET /api/documents, POST /api/documents/file, GET /api/documents/{document_id},
DELETE /api/documents/{document_id}, GET /api/documents/{document_id}/drafts,
PATCH /api/documents/{document_id}/drafts/{draft_id}, POST /api/documents/{document_id}/drafts/{draft_id}/question,
POST /api/datasets, GET /api/datasets, GET /api/datasets/{dataset_id}, GET /api/datasets/{dataset_id}/lineage,
GET /api/adapters/{digest}, GET /api/adapters/{digest}/lineage,
GET /api/releases, GET /api/releases/{release_id}, GET /api/releases/{release_id}/lineage,
POST /api/releases/{release_id}/promote, POST /api/releases/{release_id}/stage,
POST /api/evaluations, GET /api/evaluations, GET /api/evaluations/{evaluation_id},
GET /api/evaluations/{evaluation_id}/events, GET /api/evaluations/{evaluation_id}/report,
POST /api/evaluations/{evaluation_id}/cancel
"""
ADMINISTRATORS = """
POST /api/assistants, PATCH /api/assistants/{name}, POST /api/adapters,
GET /api/users, POST /api/users, PATCH /api/users/{user_id}, POST /api/users/{user_id}/link,
PATCH /api/keys/{key_id}, GET /api/audit, GET /api/audit/check, GET /api/audit/export,
GET /api/house-rules, PATCH /api/house-rules, GET /api/house-rules/going,
GET /metrics, GET /api/status
"""

Call = tuple[str, ...]


def calls(text: str) -> set[Call]:
    return {tuple(one.split()) for one in text.split(",")}


OPEN = calls(STRANGERS)
BY_ROLE: dict[Role, set[Call]] = {
    "user": calls(USERS), "reviewer": calls(REVIEWERS), "administrator": calls(ADMINISTRATORS),
}  # fmt: skip


def answered(client: httpx.Client, wanted: set[Call]) -> dict[Call, int]:
    """What each is answered with, asked for what is not there."""
    return {
        (method, path): client.request(method, path, json=None if method == "GET" else {}).status_code
        for method, path in sorted(wanted)
    }


def test_every_route_stands_in_the_list_of_who_may_call_it(gateway: Gateway):
    routes = gateway.app.routes
    assert all(isinstance(route, Route) for route in routes), "a mount has routes of its own"
    there = {
        (method, route.path)
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    listed = OPEN.union(*BY_ROLE.values())
    assert there - listed == set(), "who may call it?"
    assert listed - there == set(), "gone"
    assert sum(map(len, BY_ROLE.values())) + len(OPEN) == len(listed), "listed twice"


def test_a_stranger_is_answered_by_the_open_routes_alone(gateway: Gateway):
    with httpx.Client(base_url=gateway.url) as stranger:
        closed = answered(stranger, set().union(*BY_ROLE.values()))
    assert {call for call, status in closed.items() if status != 401} == set()


@pytest.mark.parametrize("role", ["user", "reviewer"])
def test_a_role_is_refused_what_is_for_more_powerful_ones_and_nothing_else_that_is_read(
    gateway: Gateway, role: Role
):
    above = {call for other, routes in BY_ROLE.items() if RANK[other] > RANK[role] for call in routes}
    own = {call for other, routes in BY_ROLE.items() if RANK[other] <= RANK[role] for call in routes}
    with gateway.client_of(f"Only a {role}", role) as person:
        assert {call for call, status in answered(person, above).items() if status != 403} == set()
        reading = answered(person, {call for call in own if call[0] == "GET"})
        assert {call for call, status in reading.items() if status in (401, 403)} == set()
