"""Following the access file: a change of it takes effect in seconds, a mistake in it never does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from s3proxy.access.file import AccessFileError, load
from s3proxy.access.snapshot import Policy

logger = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds between two looks at the file."""

Signature = tuple[int, int, int, int]


class HasPolicy(Protocol):
    """What is told of a new policy, in the event loop."""

    policy: Policy


class Reloader:
    """Gives a guard the policy of the access file whenever the file changes.

    A file that is broken, or gone, changes nothing: the last good policy stays in force, `broken` is true, and one
    ERROR line says why, again only when the file is another or `reload` is asked for. `reloads` counts the policies put
    in force, `failures` the files that were broken. What a symbolic link points at is what is watched, so to turn the
    link elsewhere is a change.
    """

    def __init__(
        self,
        path: Path,
        guard: HasPolicy,
        *,
        interval: float = INTERVAL,
        load: Callable[[Path], Policy] = load,
    ) -> None:
        self.broken = False
        self.reloads = 0
        self.failures = 0
        self._path = path
        self._guard = guard
        self._interval = interval
        self._load = load
        # The file may have changed since the guard's policy was read, so the first look always reads it.
        self._seen: Signature | str | None = "nothing"
        self._one_at_a_time = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look at the file every `interval` seconds from now on. Called in the event loop."""
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop looking."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def look(self) -> None:
        """Reload when the file is another than at the last look."""
        if await asyncio.to_thread(_signature, self._path) != self._seen:
            await self.reload()

    async def reload(self) -> None:
        """Read the file, in a thread, and put it in force if it is good. Raises nothing."""
        async with self._one_at_a_time:
            # Before it is read: what is written meanwhile is then another change.
            self._seen = await asyncio.to_thread(_signature, self._path)
            try:
                policy = await asyncio.to_thread(self._load, self._path)
            except Exception as fault:
                # Even a fault of ours must not end the watch, nor change who may do what.
                self._alarm(str(fault) if isinstance(fault, AccessFileError) else type(fault).__name__)
            else:
                self._put_in_force(policy)

    def _alarm(self, faults: str) -> None:
        self.broken = True
        self.failures += 1
        logger.error("access file broken, the last good one stays in force", extra={"fields": {"faults": faults}})

    def _put_in_force(self, policy: Policy) -> None:
        if policy.digest != self._guard.policy.digest:
            self._guard.policy = policy
            self.reloads += 1
        elif not self.broken:
            return
        self.broken = False
        logger.info("access file in force", extra={"fields": {"digest": policy.digest[:12]}})

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.look()


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
