"""Releases: what was proved of each and what it learned from, which one is live, and moving between them with a reason.

Owns the drawing and the acts: try with some people, promote, roll back, evaluate. The gateway decides whether
one is allowed.
"""

from dataclasses import dataclass, field

from service.contract.lineage import Lineage
from service.contract.releases import Adapter
from ui import lineage
from ui.acts import Act
from ui.client import Gateway, Refused
from ui.gate import reasons
from ui.pages import render
from ui.words import Words

SHARES = (5, 10, 25, 50)
"""Of every hundred people, so many may be given a release on trial."""


@dataclass(frozen=True)
class Kept:
    """What was read before, by digest: neither an adapter nor what it learned from ever changes."""

    adapters: dict[str, Adapter] = field(default_factory=dict)
    lineages: dict[str, Lineage] = field(default_factory=dict)


async def listing(gateway: Gateway, token: str, w: Words, assistant: str, kept: Kept) -> str:
    """Releases, newest first, with gate, proof and origin, as HTML."""
    found = await gateway.releases(token, assistant)
    for release in found:
        if release.adapter not in kept.adapters:
            kept.adapters[release.adapter] = await gateway.adapter(token, release.adapter)
        if release.adapter not in kept.lineages:
            kept.lineages[release.adapter] = await gateway.lineage(token, release.adapter)
    evaluations = await gateway.evaluations(token, assistant) if found else []
    measuring = {one.release for one in evaluations if one.status in ("queued", "running")}
    live = next((release for release in found if release.state == "live"), None)
    trial = None
    if any(release.state == "staged" for release in found):
        trial = await gateway.trial(token, assistant)
    why = {
        release.id: reasons(w, release.gate)[0]
        for release in found
        if release.gate and release.gate.verdict == "hold" and release.state not in ("live", "deleted")
    }
    origins = {release.id: lineage.drawn(w, release, kept.lineages[release.adapter]) for release in found}
    return render(
        "releases", w, releases=found, adapters=kept.adapters, origins=origins, live=live, trial=trial,
        shares=SHARES, why=why, measuring=measuring,
    )  # fmt: skip


async def do(gateway: Gateway, token: str, w: Words, assistant: str, act: Act) -> str:
    """Do what was pressed and say what was done; empty when there was nothing to do. Raises `Refused`."""
    reason = act.text("reason")
    if act.act == "promote":
        if act.value == "held" and len(reason) < 10:
            raise Refused(400, "reason_needed", "Say why, in at least ten characters.")
        release = await gateway.promote(token, act.id, reason or None)
        return w("promoted", number=release.number)
    if act.act == "stage":
        if act.value == "held" and len(reason) < 10:
            raise Refused(400, "reason_needed", "Say why, in at least ten characters.")
        share = next((share for share in (0, *SHARES) if str(share) == act.text("share")), SHARES[0])
        release = await gateway.stage(token, act.id, share, reason or None)
        return w("staged" if share else "stage_ended", number=release.number, share=share)
    if act.act == "roll_back":
        if not reason:
            raise Refused(400, "reason_needed", "Say why, in at least ten characters.")
        now = await gateway.roll_back(token, assistant, act.id, reason)
        return w("rolled_back_to", number=now.live_release) if now.live_release else w("rolled_back_to_base")
    if act.act == "evaluate":
        await gateway.create_evaluation(token, act.id)
        return w("evaluation_started")
    if act.act == "cancel_evaluation":
        await gateway.cancel_evaluation(token, act.id)
        return w("cancelled")
    return ""
