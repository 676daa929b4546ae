"""Those who come to the door: callers with headers, and an access file that knows some of them."""

from __future__ import annotations

import base64
import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import argon2

from s3proxy.access import api_key
from s3proxy.access.credentials import Caller
from s3proxy.access.file import load
from s3proxy.access.snapshot import Policy

ADDRESS = "198.51.100.7"
KEY = "s3p_" + "k" * 43
OLD_KEY = "s3p_" + "o" * 43
UNKNOWN_KEY = "s3p_" + "u" * 43
PASSWORD = "pa:ss wörd"

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes that cost nothing, for tests that are not about cost."""


@functools.cache
def password_hash(password: str = PASSWORD) -> str:
    """A hash of the password, always the same."""
    return CHEAP.hash(password, salt=b"sixteen bytes ok")


def people() -> str:
    """An access file with a little of everything that needs no issuer."""
    return f"""
[groups.staff]
grants = [ {{ allow = ["read", "list"], on = "photos/**" }} ]
quota = {{ transfers = 3 }}

[groups.guests]
grants = [ {{ allow = ["read"], on = "public/*" }} ]

[principals.alice]
groups = ["staff"]
keys = [
    "{api_key.written_hash(KEY)}",
    {{ hash = "{api_key.written_hash(OLD_KEY)}", expires = 2027-01-01T00:00:00Z, label = "ci" }},
]
password = "{password_hash()}"
grants = [ {{ allow = ["read", "write", "list", "delete", "share"], on = "home/{{principal}}/**" }} ]
quota = {{ object_mb = 100, daily_mb = 1000, transfers = 4, requests_per_second = 10, bandwidth_kb = 1024 }}

[principals.bob]
password = "{password_hash("hunter2")}"
also = ["proxy", "oidc"]

[principals.robot]

[quota]
transfers = 16

[proxy]
addresses = ["10.0.0.0/8", "127.0.0.1", "::1"]
header = "X-Remote-User"
groups_header = "X-Remote-Groups"
groups = {{ wheel = "staff" }}
default_groups = ["guests"]
"""


def policy_of(text: str, directory: Path) -> Policy:
    """The policy in an access file of this text."""
    path = directory / "access.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def caller(*headers: tuple[str, str], peer: str = ADDRESS, address: str = ADDRESS) -> Caller:
    """Somebody who sends these headers."""

    def header(name: str) -> Sequence[str]:
        return [value for other, value in headers if other.lower() == name.lower()]

    return Caller(header=header, peer=peer, address=address)


def basic(name: str, password: str = PASSWORD) -> tuple[str, str]:
    """What `curl -u name:password` sends."""
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def bearer(token: str) -> tuple[str, str]:
    """A token, or a key, as RFC 6750 has it."""
    return "Authorization", f"Bearer {token}"


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now


class Records(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Called by the logger."""
        self.lines.append(record)

    def fields(self) -> list[dict[str, Any]]:
        """What the lines say beside their message."""
        return [getattr(line, "fields", {}) for line in self.lines]


@contextmanager
def listening() -> Iterator[Records]:
    """All that `s3proxy.access` logs meanwhile, at any level."""
    logger, records = logging.getLogger("s3proxy.access"), Records()
    level = logger.level
    logger.addHandler(records)
    logger.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        logger.removeHandler(records)
        logger.setLevel(level)
