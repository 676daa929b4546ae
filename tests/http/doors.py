"""A server with an access file in front of a bucket, and those who knock at it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path

from s3proxy.access.access_guard import AccessGuard
from s3proxy.access.file import load

LINK_SECRET = "bGluayBzZWNyZXQgb2YgdGVzdHMgdGhhdCBpcyAzMiBi"
"""Base64 of 33 bytes."""


def api_key(name: str) -> str:
    """The API key of a principal of these tests, always the same."""
    return "s3p_" + hashlib.sha256(name.encode()).hexdigest()[:43]


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key or a token."""
    return {"Authorization": f"Bearer {key}"}


def principal(name: str, *grants: str, extra: str = "") -> str:
    """A principal of the access file with an API key. A grant is written `read,write BUCKET/PATTERN`."""
    rows = []
    for grant in grants:
        actions, _, pattern = grant.partition(" ")
        allow = ", ".join(f'"{action}"' for action in actions.split(","))
        rows.append(f'{{ allow = [{allow}], on = "{pattern}" }}')
    digest = hashlib.sha256(api_key(name).encode()).hexdigest()
    return f'[principals.{name}]\nkeys = ["sha256:{digest}"]\ngrants = [{", ".join(rows)}]\n{extra}\n'


def links(days: float = 30) -> str:
    """The section about links."""
    return f'[links]\nsecrets = ["{LINK_SECRET}"]\nlongest_days = {days}\n'


def guard_of(directory: Path, *sections: str) -> AccessGuard:
    """A guard by an access file of these sections."""
    path = directory / f"access-{secrets.token_hex(4)}.toml"
    path.write_text("\n".join(sections))
    return AccessGuard(load(path))


def without_ids(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of an answer without what differs from one to the next."""
    return {name: value for name, value in headers.items() if name not in ("X-Request-Id", "Date")}
