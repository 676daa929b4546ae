"""API keys: 256 random bits that only their holder knows; here is kept a SHA-256 of each.

So much chance cannot be guessed, so the hash needs no salt and no work factor. The prefix is for secret scanners.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "s3p_"

_KEY = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}", re.ASCII)
_HASH = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key: its hash, whose it is, when it ends (seconds since 1970; None: never), what it is for."""

    digest: bytes
    principal: str
    expires: float | None = None
    label: str = ""


def new_key() -> str:
    """A key nobody had before."""
    return PREFIX + secrets.token_urlsafe(32)


def is_one(text: str) -> bool:
    """Whether the text has the form of a key."""
    return _KEY.fullmatch(text) is not None


def digest(key: str) -> bytes:
    """The hash of a key, 32 bytes. All of its characters count."""
    return hashlib.sha256(key.encode()).digest()


def written_hash(key: str) -> str:
    """The hash of a key as the access file has it: `sha256:HEX`."""
    return "sha256:" + digest(key).hex()


def parse_hash(text: str) -> bytes:
    """The hash in `sha256:HEX`. Raises `ValueError` that does not show the text: it may be a key, pasted in error."""
    found = _HASH.fullmatch(text)
    if found is None:
        raise ValueError("not sha256: and 64 small hexadecimal digits, as `python -m s3proxy.access new-key` prints")
    return bytes.fromhex(found[1])


def find(records: Mapping[bytes, KeyRecord], key: str) -> KeyRecord | None:
    """The record of a key, expired or not. How long it takes tells nothing: who tries cannot choose the hash."""
    hashed = digest(key)
    record = records.get(hashed)
    return record if record is not None and hmac.compare_digest(record.digest, hashed) else None
