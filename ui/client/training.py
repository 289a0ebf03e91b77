"""The studio's calls: data, jobs, evaluations and releases."""

from pathlib import Path
from typing import Any

import httpx

from service.contract.adapters import AdapterBrought, AdapterCreate
from service.contract.assistants import Assistant
from service.contract.datasets import Dataset
from service.contract.documents import Document, Draft, DraftChange, DraftFile, DraftStatus
from service.contract.estimates import Estimate
from service.contract.evaluations import Evaluation
from service.contract.files import File, Parts
from service.contract.imports import Import, ImportPlan, Preview
from service.contract.jobs import Job, JobCreate, JobEvent
from service.contract.lineage import Lineage
from service.contract.releases import Adapter, Release, Trial
from service.contract.reports import JobReport
from service.contract.sheets import DataSheet, Said
from service.contract.timeline import Moment
from ui.client.door import Door, Refused, part

LOOK = httpx.Timeout(120)
"""A look at the rows before a job may take so long."""


class Training(Door):
    """All methods raise `Refused`."""

    # Files and jobs

    async def upload(self, token: str, filename: str, content: bytes, purpose: str) -> File:
        files = {"file": (filename, content, "application/jsonl")}
        return await self.one(
            File,
            token,
            "POST",
            "/v1/files",
            files=files,
            data={"purpose": purpose},
            timeout=httpx.Timeout(300),
        )

    async def files(self, token: str, purpose: str) -> list[File]:
        return await self.list(File, token, "/v1/files", purpose=purpose, limit=200)

    async def split(self, token: str, file_id: str) -> Parts:
        """A file in two, by what its rows tell."""
        return await self.one(
            Parts, token, "POST", f"/api/splits/{part(file_id)}", timeout=httpx.Timeout(600)
        )

    async def sheet(self, token: str, file_id: str, said: Said | None = None) -> DataSheet:
        """What is in a file, and what is said of it; one that was not measured yet is measured now."""
        path, body = f"/api/sheets/{part(file_id)}", (said or Said()).model_dump(exclude_none=True)
        return await self.one(DataSheet, token, "POST", path, json=body, timeout=httpx.Timeout(600))

    async def bring(self, token: str, path: Path) -> Import:
        """Hand a file of any format on, as it lies on disk: it may be large."""
        with open(path, "rb") as file:
            files = {"file": (path.name, file, "application/octet-stream")}
            return await self.one(
                Import, token, "POST", "/api/imports", files=files, timeout=httpx.Timeout(300)
            )

    async def imports(self, token: str, limit: int) -> list[Import]:
        return await self.list(Import, token, "/api/imports", limit=limit)

    async def one_import(self, token: str, import_id: str) -> Import:
        return await self.one(Import, token, "GET", f"/api/imports/{part(import_id)}")

    async def preview_import(self, token: str, import_id: str, plan: ImportPlan) -> Preview:
        path, body = f"/api/imports/{part(import_id)}/preview", plan.model_dump()
        return await self.one(Preview, token, "POST", path, json=body, timeout=httpx.Timeout(90))

    async def start_import(self, token: str, import_id: str, plan: ImportPlan) -> Import:
        path = f"/api/imports/{part(import_id)}/start"
        return await self.one(Import, token, "POST", path, json=plan.model_dump())

    async def cancel_import(self, token: str, import_id: str) -> Import:
        return await self.one(Import, token, "POST", f"/api/imports/{part(import_id)}/cancel")

    # Documents and their drafts

    async def bring_document(self, token: str, path: Path) -> Document:
        with open(path, "rb") as file:
            files = {"file": (path.name, file, "application/octet-stream")}
            return await self.one(
                Document, token, "POST", "/api/documents", files=files, timeout=httpx.Timeout(300)
            )

    async def documents(self, token: str, limit: int) -> list[Document]:
        return await self.list(Document, token, "/api/documents", limit=limit)

    async def document(self, token: str, document_id: str) -> Document:
        return await self.one(Document, token, "GET", f"/api/documents/{part(document_id)}")

    async def delete_document(self, token: str, document_id: str) -> None:
        await self.call(token, "DELETE", f"/api/documents/{part(document_id)}")

    async def drafts(
        self, token: str, document_id: str, status: DraftStatus, after: str, limit: int
    ) -> tuple[list[Draft], bool]:
        """In the document's order, and whether more follow."""
        params: dict[str, Any] = {"status": status, "limit": limit} | ({"after": after} if after else {})
        answer = await self.call(token, "GET", f"/api/documents/{part(document_id)}/drafts", params=params)
        found = answer.json()
        return [Draft.model_validate(item) for item in found["data"]], found["has_more"]

    async def decide_draft(self, token: str, document_id: str, draft_id: str, change: DraftChange) -> Draft:
        path = f"/api/documents/{part(document_id)}/drafts/{part(draft_id)}"
        return await self.one(Draft, token, "PATCH", path, json=change.model_dump())

    async def propose_question(self, token: str, document_id: str, draft_id: str, model: str) -> Draft:
        path = f"/api/documents/{part(document_id)}/drafts/{part(draft_id)}/question"
        return await self.one(Draft, token, "POST", path, json={"model": model}, timeout=LOOK)

    async def file_drafts(self, token: str, wanted: DraftFile) -> Import:
        return await self.one(
            Import, token, "POST", "/api/documents/file", json=wanted.model_dump(exclude_none=True)
        )

    async def datasets(self, token: str, assistant: str) -> list[Dataset]:
        return await self.list(Dataset, token, "/api/datasets", assistant=assistant)

    async def estimate_job(self, token: str, wanted: JobCreate) -> Estimate:
        body = wanted.model_dump(exclude_none=True)
        return await self.one(Estimate, token, "POST", "/api/estimates", json=body, timeout=LOOK)

    async def estimate_round(
        self, token: str, assistant: str, method: str, hyperparameters: dict[str, Any]
    ) -> Estimate:
        body = {"assistant": assistant, "method": method, "hyperparameters": hyperparameters}
        return await self.one(Estimate, token, "POST", "/api/estimates/round", json=body, timeout=LOOK)

    async def start_round(
        self,
        token: str,
        assistant: str,
        method: str,
        hyperparameters: dict[str, Any],
        reason: str | None = None,
    ) -> Job:
        body = {
            "assistant": assistant, "method": method, "hyperparameters": hyperparameters, "override_reason": reason,
        }  # fmt: skip
        answer = await self.call(token, "POST", "/api/rounds", json=body)
        return Job.model_validate(answer.json()["job"])

    async def create_job(self, token: str, wanted: JobCreate) -> Job:
        body = wanted.model_dump(exclude_none=True)
        return await self.one(Job, token, "POST", "/v1/fine_tuning/jobs", json=body)

    async def jobs(self, token: str, assistant: str) -> list[Job]:
        params = {"metadata[assistant]": assistant, "limit": 50}
        return await self.list(Job, token, "/v1/fine_tuning/jobs", **params)

    async def job(self, token: str, job_id: str) -> Job:
        return await self.one(Job, token, "GET", f"/v1/fine_tuning/jobs/{part(job_id)}")

    async def job_events(self, token: str, job_id: str, limit: int = 10_000) -> list[JobEvent]:
        """Newest first."""
        return await self.list(JobEvent, token, f"/v1/fine_tuning/jobs/{part(job_id)}/events", limit=limit)

    async def job_report(self, token: str, job_id: str) -> JobReport:
        return await self.one(JobReport, token, "GET", f"/api/jobs/{part(job_id)}/report")

    async def pause_job(self, token: str, job_id: str) -> Job:
        return await self.one(Job, token, "POST", f"/v1/fine_tuning/jobs/{part(job_id)}/pause")

    async def resume_job(self, token: str, job_id: str) -> Job:
        return await self.one(Job, token, "POST", f"/v1/fine_tuning/jobs/{part(job_id)}/resume")

    async def cancel_job(self, token: str, job_id: str) -> Job:
        return await self.one(Job, token, "POST", f"/v1/fine_tuning/jobs/{part(job_id)}/cancel")

    # Adapters from elsewhere

    async def upload_adapter(self, token: str, path: Path) -> File:
        """Hand a ZIP on as it lies on disk: it may be large."""
        with open(path, "rb") as file:
            form: dict[str, Any] = {
                "files": {"file": (path.name, file, "application/zip")}, "data": {"purpose": "adapter"}
            }  # fmt: skip
            return await self.one(File, token, "POST", "/v1/files", timeout=httpx.Timeout(300), **form)

    async def bring_adapter(self, token: str, wanted: AdapterCreate) -> AdapterBrought:
        body = wanted.model_dump(exclude_none=True)
        return await self.one(AdapterBrought, token, "POST", "/api/adapters", json=body, timeout=LOOK)

    # Evaluations and releases

    async def evaluations(self, token: str, assistant: str) -> list[Evaluation]:
        return await self.list(Evaluation, token, "/api/evaluations", assistant=assistant)

    async def evaluation_events(self, token: str, evaluation_id: str) -> list[JobEvent]:
        """The newest: what is being done, and before it how far the asking came."""
        return await self.list(JobEvent, token, f"/api/evaluations/{part(evaluation_id)}/events", limit=4)

    async def create_evaluation(self, token: str, release_id: str) -> Evaluation:
        return await self.one(Evaluation, token, "POST", "/api/evaluations", json={"release": release_id})

    async def cancel_evaluation(self, token: str, evaluation_id: str) -> Evaluation:
        return await self.one(Evaluation, token, "POST", f"/api/evaluations/{part(evaluation_id)}/cancel")

    async def report(self, token: str, evaluation_id: str, language: str) -> tuple[bytes, str]:
        """The report page and its content security policy, both as the gateway gives them."""
        path = f"/api/evaluations/{part(evaluation_id)}/report"
        response = await self.call(token, "GET", path, params={"lang": language})
        return response.content, response.headers.get(
            "content-security-policy", "default-src 'none'; sandbox"
        )

    async def releases(self, token: str, assistant: str) -> list[Release]:
        return await self.list(Release, token, "/api/releases", assistant=assistant)

    async def promote(self, token: str, release_id: str, reason: str | None) -> Release:
        path = f"/api/releases/{part(release_id)}/promote"
        return await self.one(Release, token, "POST", path, json={"override_reason": reason})

    async def stage(self, token: str, release_id: str, share: int, reason: str | None) -> Release:
        path = f"/api/releases/{part(release_id)}/stage"
        return await self.one(Release, token, "POST", path, json={"share": share, "override_reason": reason})

    async def trial(self, token: str, assistant: str) -> Trial | None:
        """The release on trial; none while there is none."""
        try:
            return await self.one(Trial, token, "GET", f"/api/assistants/{part(assistant)}/trial")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def roll_back(self, token: str, assistant: str, release: str, reason: str) -> Assistant:
        path = f"/api/assistants/{part(assistant)}/rollback"
        body = {"reason": reason, "release": release}
        return await self.one(Assistant, token, "POST", path, json=body)

    async def timeline(self, token: str, assistant: str, after: str | None) -> tuple[list[Moment], bool]:
        """Newest first, and whether older ones follow."""
        params = {"after": after} if after else {}
        answer = await self.call(token, "GET", f"/api/assistants/{part(assistant)}/timeline", params=params)
        found = answer.json()
        return [Moment.model_validate(item) for item in found["data"]], found["has_more"]

    async def adapter(self, token: str, digest: str) -> Adapter:
        return await self.one(Adapter, token, "GET", f"/api/adapters/{part(digest)}")

    async def card(self, token: str, digest: str) -> str:
        """An adapter's model card, in Markdown."""
        return (await self.call(token, "GET", f"/api/adapters/{part(digest)}/card")).text

    async def lineage(self, token: str, digest: str) -> Lineage:
        """What an adapter learned from, without the single pieces of feedback."""
        return await self.one(
            Lineage, token, "GET", f"/api/adapters/{part(digest)}/lineage", params={"limit": 1}
        )
