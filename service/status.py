"""`tailorbird status`: one screen for an operator. Asks the running gateway, and says plainly when there is none.

Owns the screen. What is wrong is judged by the gateway (`service.domain.status`).
"""

import httpx

from service.contract.jobs import ENDED
from service.contract.status import Status
from service.settings import Settings

PATIENCE = 10.0
"""Seconds to wait for the gateway, which itself waits two for a slow engine."""


async def read(settings: Settings) -> tuple[list[str], bool]:
    """The screen's lines, and whether all is well."""
    key = settings.home / "admin.key"
    if not key.exists():
        return [
            f"There is no service in {settings.home} yet (no admin.key). 'make run' starts one; TAILORBIRD_HOME "
            "names another folder."
        ], False
    headers = {"authorization": f"Bearer {key.read_text().strip()}"}
    try:
        async with httpx.AsyncClient(base_url=settings.api_url, headers=headers, timeout=PATIENCE) as client:
            answer = await client.get("/api/status")
    except httpx.TimeoutException:
        return [
            f"The gateway at {settings.api_url} takes the call and says nothing for {PATIENCE:g} s: it hangs, or the "
            f"machine is overloaded. Its log is {settings.home / 'logs' / 'gateway.log'}."
        ], False
    except httpx.HTTPError:
        return [
            f"The service does not run: nothing answers at {settings.api_url}. Start it with 'make run'; what it "
            f"last said is in {settings.home / 'logs'}."
        ], False
    if answer.status_code != 200:
        return [_refused(settings, answer)], False
    status = Status.model_validate(answer.json())
    return screen(status, settings.api_url), not status.wrong


def screen(status: Status, address: str) -> list[str]:
    """What is served, what is under way, what is wrong."""
    lines = [f"gateway    {address}, {status.chats_under_way} answers under way"]
    for engine in status.engines:
        loaded = f"{len(engine.adapters)} adapters loaded, {engine.answering} answers"
        lines.append(f"engine     {engine.state}, {engine.release}, {loaded}  ({engine.url})")
        lines += [f"             {digest[:12]}" for digest in engine.adapters]
    lines.append(f"base       {status.base_model}")
    for one in status.assistants:
        live = f"release {one.release}, adapter {one.adapter[:12]}" if one.adapter else "the base model"
        lines.append(f"assistant  {one.name}: {live}")
    for job in status.jobs_under_way:
        lines.append(f"job        {job.id} ({job.kind}{_for(job.assistant)}): {job.status}")
    counts = [f"{len(status.jobs_under_way)} under way"]
    counts += [f"{count} {name}" for name, count in sorted(status.jobs.items()) if name in ENDED]
    lines.append(f"jobs       {', '.join(counts)}")
    lines.append(f"disk       {status.disk_free / 2**30:.1f} GB free")
    lines += ["", *(f"WRONG      {said}" for said in status.wrong)] if status.wrong else ["", "All is well."]
    return lines


def _for(assistant: str | None) -> str:
    return f" for {assistant}" if assistant else ""


def _refused(settings: Settings, answer: httpx.Response) -> str:
    if answer.status_code in (401, 403):
        return (
            f"The service at {settings.api_url} runs, but does not take the key in {settings.home / 'admin.key'}. "
            "Put an administrator's key there, or name the right folder with TAILORBIRD_HOME."
        )
    return (
        f"The gateway at {settings.api_url} answers with status {answer.status_code}; its log is "
        f"{settings.home / 'logs' / 'gateway.log'}."
    )
