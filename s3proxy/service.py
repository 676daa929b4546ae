"""What the handlers of one process share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from s3proxy.access.guard import Guard, OpenGuard
from s3proxy.access.links import Links
from s3proxy.access.quotas import Quotas
from s3proxy.buckets import Buckets
from s3proxy.errors import Busy
from s3proxy.protocol.origins import Origins
from s3proxy.store.contract import ObjectStore
from s3proxy.transfer.cleanup import Cleanup
from s3proxy.transfer.reader import Downloads
from s3proxy.transfer.turns import Turns
from s3proxy.transfer.writer import Uploads

if TYPE_CHECKING:
    from s3proxy.access.reload import Reloader
    from s3proxy.ledger.database import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what clients send and how slowly. Sizes in bytes, times in seconds, rates in bytes per second."""

    form_hold_limit: int
    form_max_fields: int
    client_timeout: float
    linger: float
    client_min_rate: int = 0
    max_transfers: int = 1_000
    redirect_size: int = 64 * 1024 * 1024
    redirect_seconds: float = 300


QUIET_SECONDS = 0.2
"""How long there must be no request for a drain to be over."""


class Request(Protocol):
    """A request being served."""

    def stop(self) -> None:
        """End it now: abort its transfer and tell its client to come again."""
        ...


@dataclass(slots=True)
class Traffic:
    """The requests of this process, and whether it is about to end."""

    draining: bool = False
    _requests: set[Request] = field(default_factory=set)
    _transfers: set[Request] = field(default_factory=set)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        return len(self._requests)

    def enter(self, request: Request) -> None:
        """`request` is being served."""
        self._requests.add(request)

    @property
    def transfers(self) -> int:
        """How many uploads and downloads are under way."""
        return len(self._transfers)

    def transfer(self, request: Request, limit: int) -> None:
        """`request` is an upload or a download. Raises `Busy` when `limit` of them are under way."""
        if len(self._transfers) >= limit:
            raise Busy
        self._transfers.add(request)

    def leave(self, request: Request) -> None:
        """`request` is over. May be called twice."""
        self._requests.discard(request)
        self._transfers.discard(request)
        if not self._requests:
            self._idle.set()

    async def drain(self, grace: float) -> None:
        """Wait until no request is being served, at most `grace` seconds; then stop the rest."""
        self.draining = True
        if not await self.idle(grace):
            self.stop()

    async def idle(self, seconds: float) -> bool:
        """Wait until no request is being served, at most so long; whether there is none."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while self._requests:
                        self._idle.clear()
                        await self._idle.wait()
                    # A connection that was just accepted, or kept, may have a request on its way.
                    await asyncio.sleep(QUIET_SECONDS)
                    if not self._requests:
                        break
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """Stop every request now."""
        for request in list(self._requests):
            request.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process's store, transfers, limits and traffic, and who may come.

    `public_url` is how clients reach it, without a slash at the end; None where that is what they say themselves.
    """

    store: ObjectStore
    uploads: Uploads
    downloads: Downloads
    cleanup: Cleanup
    limits: Limits
    inline_types: Literal["safe", "all", "none"] = "safe"
    guard: Guard = field(default_factory=OpenGuard)
    links: Links | None = None
    quotas: Quotas = field(default_factory=lambda: Quotas(None))
    ledger: Ledger | None = None
    reloader: Reloader | None = None
    buckets: Buckets = field(default_factory=Buckets)
    origins: Origins = field(default_factory=Origins)
    public_url: str | None = None
    traffic: Traffic = field(default_factory=Traffic)
    turns: Turns = field(default_factory=Turns)
