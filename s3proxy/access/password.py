"""Passwords: verified with argon2id (RFC 9106) in threads of their own, remembered for a few minutes.

A verification is slow and takes memory on purpose: `HASHER` says how much for new hashes, a hash itself for itself.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import argon2

from s3proxy.access.recent import Recent
from s3proxy.errors import AccessUnavailable

HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""19 MiB and two passes in one lane: OWASP's parameters, small enough to run beside transfers."""

THREADS = 2

WAITING = 32
"""Verifications on their way at once; one more is told to come again."""

REMEMBERED = 300.0
"""Seconds for which a password that was right need not be verified."""

SIZE = 4_096
"""Passwords remembered, as keyed hashes; about 300 bytes each."""

_HASH = re.compile(
    r"\$argon2id\$v=19\$m=[1-9][0-9]{0,6},t=[1-9][0-9]?,p=[1-9][0-9]?\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})",
    re.ASCII,
)


def parse_hash(text: str) -> str:
    """The hash itself, when it is one of argon2id. Raises `ValueError` that does not show it."""
    found = _HASH.fullmatch(text)
    if found is None or any(len(part) % 4 == 1 for part in found.groups()):
        raise ValueError("not an argon2id hash, as `python -m s3proxy.access hash-password` prints")
    return text


def decoy(like: str) -> str:
    """A hash that no password has and that takes as long to verify as `like`, for names that do not exist."""
    made = [base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32)]
    return "$".join([*like.split("$")[:4], *made])


class PasswordVerifier:
    """Tells whether passwords fit hashes, without holding up the event loop.

    Who asks what is being asked already waits for the same answer, so a page of many parts costs one verification. Only
    right answers are remembered, under an HMAC of hash and password whose key never leaves the process; a hash that
    changes is another.
    """

    def __init__(self, *, waiting: int = WAITING, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        self._limit = waiting
        self._key = secrets.token_bytes(32)
        self._recent: Recent[bool] = Recent(SIZE, clock)
        self._running: dict[bytes, asyncio.Future[bool]] = {}

    async def fits(self, hashed: str, password: str) -> bool:
        """Whether it is the password of that hash. Raises `AccessUnavailable` when too many wait already."""
        digest = hmac.digest(self._key, f"{hashed}\0{password}".encode(), hashlib.sha256)
        if self._recent.get(digest):
            return True
        running = self._running.get(digest) or self._start(digest, hashed, password)
        # A client that goes away must not take the answer from the others who wait for it.
        return await asyncio.shield(running)

    def close(self) -> None:
        """Begin no further verification."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, digest: bytes, hashed: str, password: str) -> asyncio.Future[bool]:
        if len(self._running) >= self._limit:
            raise AccessUnavailable
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._pool, _fits, hashed, password)
        self._running[digest] = running
        running.add_done_callback(lambda done: self._finished(digest, done))
        return running

    def _finished(self, digest: bytes, done: asyncio.Future[bool]) -> None:
        del self._running[digest]
        if not done.cancelled() and done.exception() is None and done.result():
            self._recent.put(digest, True, REMEMBERED)


def _fits(hashed: str, password: str) -> bool:
    try:
        return HASHER.verify(hashed, password)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except argon2.exceptions.VerificationError:
        # No memory for it, as a rule: nothing is known about the password.
        raise AccessUnavailable from None
