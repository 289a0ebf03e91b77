"""The journal as it is drawn, without a browser."""

from typing import Any

import pytest

from service.contract.audit import AuditEntry
from tests.ui.test_views import NO_LINEAGE, adapter, gateway_of, listed
from ui import audit, releases
from ui.acts import Act
from ui.words import words


def entry(number: int, **more: Any) -> dict[str, Any]:
    fields = {
        "id": number, "at": 1.0, "by": "<b>Ada", "key": "key_1", "action": "key.made", "subject": "key_2", "seal": "s",
        "detail": {"name": "<i>till", "role": "user", "limits": {"tokens_per_day": 5}, "url": None},
    }  # fmt: skip
    return AuditEntry.model_validate(fields | more).model_dump()


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["made a key", "role: User", "limits: Tokens a day 5"]),
        ("fr", ["a créé une clé", "rôle\u00a0: Utilisateur", "limites\u00a0: Jetons par jour 5"]),
    ],
)
async def test_an_act_is_told_in_the_readers_language_and_nothing_in_it_is_markup(language, said):
    gateway = gateway_of({"/api/audit": listed(entry(1), entry(2, action="session.opened", detail={}))})
    page = await audit.listing(gateway, "token", words(language))
    for words_of_it in ["&lt;b&gt;Ada", "&lt;i&gt;till", *said]:
        assert words_of_it in page
    assert "None" not in page


@pytest.mark.parametrize(
    ("language", "said"), [("en", "Tokens a day default"), ("fr", "Jetons par jour par défaut")]
)
async def test_a_limit_that_is_left_to_the_house_is_called_the_default(language: str, said: str):
    limits = {"requests_per_minute": 3, "tokens_per_minute": None, "tokens_per_day": None}
    gateway = gateway_of({"/api/audit": listed(entry(1, detail={"limits": limits}))})
    page = await audit.listing(gateway, "token", words(language))
    assert said in page
    assert "None" not in page


@pytest.mark.parametrize("intact", [True, False])
async def test_a_check_says_what_it_found(intact):
    checked = {"intact": intact, "entries": 4, "broken_at": None if intact else 3}
    gateway = gateway_of({"/api/audit": listed(entry(1)), "/api/audit/check": checked})
    page = await audit.listing(gateway, "token", words("en"), Act(act="check"))
    assert ("All 4 entries" in page) == intact
    assert ("Entry 3 was changed" in page) != intact


async def test_a_trial_shows_both_releases_and_that_few_opinions_prove_nothing():
    told = {"answers": 9, "people": 3, "up": 2, "down": 1, "corrected": 0}
    trial = {
        "assistant": "desk", "release": 2, "share": 10, "since": 1, "staged": told | {"release": 2},
        "live": told | {"release": None, "answers": 77},
    }  # fmt: skip
    release = {
        "id": "rel_2", "assistant": "desk", "number": 2, "adapter": "ab" * 32, "model": "ft:m", "job": None,
        "state": "staged", "gate": None, "evaluation": None, "created_at": 1, "promoted_at": None, "promoted_by": None,
        "override_reason": None,
    }  # fmt: skip
    answers = {
        "/api/releases": listed(release), "/api/evaluations": listed(), "/api/assistants/desk/trial": trial,
        f"/api/adapters/{'ab' * 32}": adapter(),
        f"/api/adapters/{'ab' * 32}/lineage": NO_LINEAGE,
    }  # fmt: skip
    page = await releases.listing(gateway_of(answers), "token", words("en"), "desk", releases.Kept())
    for said in ("on trial with 10%", "Release 2", "Base model", "77", "Too few opinions", "End the trial"):
        assert said in page
