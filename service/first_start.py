"""What a new home gets: its folders and tables, the first administrator with a key, the sample assistant.

Each step looks first and does nothing when done, so it runs at every start. Commits, as a start is an edge.
"""

import json
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from service import sample
from service.contract.assistants import AssistantCreate
from service.contract.users import UserCreate
from service.db import tables
from service.db.session import Database, check, migrate
from service.domain import assistants, files, keys, users
from service.domain.keys import Hasher
from service.settings import Settings
from service.storage.local import Store

ADMIN = "admin"
TRAINING_FILE = "fanal-training.jsonl"
"""Name of the sample's training file among the uploaded files."""


async def prepare(settings: Settings) -> None:
    """Bring the home up to date. Leaves `admin.key` in it, mode 0600, the first time.

    Raises `DatabaseUnavailable` when the database is damaged."""
    store = Store(settings.home)
    store.prepare()
    await check(settings.database)
    await migrate(settings.database)
    database, hasher = Database(settings.database), Hasher.of_home(settings.home)
    try:
        async with database.writing() as session:
            admin = await users.first_administrator(session)
            if admin is None:
                admin = await users.create_user(session, UserCreate(name=ADMIN, role="administrator"))
                _, secret = await keys.create_key(
                    session, hasher, user_id=admin.id, kind="api", name="first administrator"
                )
                keys.write_private(settings.home / "admin.key", secret + "\n")
            if not await assistants.list_assistants(session):
                await add_sample(session, store, admin, reserved=settings.model_name)
    finally:
        await database.close()


async def sign_in_link(settings: Settings, name: str | None = None) -> str:
    """A one-time link for the user called `name`, or the first administrator."""
    database, hasher = Database(settings.database), Hasher.of_home(settings.home)
    try:
        async with database.writing() as session:
            user = await users.find_user(session, name) if name else await users.first_administrator(session)
            assert user is not None
            secret = await keys.create_link(session, hasher, user_id=user.id)
    finally:
        await database.close()
    return f"{settings.ui_url}/login?link={secret}"


async def add_sample(session: AsyncSession, store: Store, admin: tables.User, *, reserved: str) -> None:
    """The sample company's assistant, with its held-out questions and its training file."""
    company = sample.company()
    given = company["assistant"]
    cases = await _keep(session, store, admin, f"{given['name']}-cases.jsonl", "evals", sample.cases())
    await _keep(session, store, admin, TRAINING_FILE, "fine-tune", sample.training_rows())
    # People read it in either language, as it answers in both.
    welcome = f"{company['description_en']} {company['description_fr']}"
    wanted = AssistantCreate(
        **given, description=welcome, temperature=0.0, max_tokens=80, cases_file=cases.id
    )
    await assistants.create_assistant(session, wanted, reserved=reserved)


async def _keep(
    session: AsyncSession,
    store: Store,
    admin: tables.User,
    filename: str,
    purpose: str,
    rows: list[dict[str, Any]],
) -> tables.File:
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    sha256 = store.put_bytes(data)
    kind, count = files.check(Path(store.file(sha256)), purpose, filename)
    return await files.add_file(
        session, user_id=admin.id, filename=filename, purpose=purpose, sha256=sha256, size=len(data), kind=kind,
        rows=count,
    )  # fmt: skip
