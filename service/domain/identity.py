"""Ids and times, made in one place so that every record looks alike."""

import hashlib
import secrets
import time


def new_id(prefix: str) -> str:
    """`prefix` and 96 random bits in hexadecimal."""
    return f"{prefix}{secrets.token_hex(12)}"


def now() -> int:
    """Unix time in whole seconds, as OpenAI's objects carry it."""
    return int(time.time())


def pseudonym(user_id: str) -> str:
    """A stable name for a person that says nothing of who it is; ids are random, so it cannot be guessed."""
    return "p_" + hashlib.sha256(f"person:{user_id}".encode()).hexdigest()[:12]
