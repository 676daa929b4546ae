"""Whether this process lives, whether it should be sent requests, and what is no call of ours."""

from __future__ import annotations

import asyncio

from tornado.web import stream_request_body

from s3proxy.errors import NotFound, S3ProxyError, ShuttingDown, StoreError, StoreTimeout
from s3proxy.handlers.body import BodyHandler

PATIENCE = 5.0
"""Seconds the store has to answer before the process counts as not ready."""


@stream_request_body
class LiveHandler(BodyHandler):
    """`/healthz`: the process answers."""

    public = True

    async def get(self) -> None:
        """Always 200."""
        if not await self.ended():
            self.answer({"status": "alive"})

    async def head(self) -> None:
        """As `get`."""
        await self.get()


@stream_request_body
class ReadyHandler(BodyHandler):
    """`/readyz`: the store answers us and we are not draining."""

    async def get(self) -> None:
        """200, or 503 with the reason."""
        if await self.ended():
            return
        if self.service.traffic.draining:
            raise ShuttingDown
        try:
            async with asyncio.timeout(PATIENCE):
                await self.service.store.check()
        except TimeoutError:
            raise StoreTimeout from None
        self.answer({"status": "ready"})

    async def head(self) -> None:
        """As `get`."""
        await self.get()

    def explain(self, fault: S3ProxyError) -> tuple[int, str]:
        """Whatever the store's fault, it is a 503 here."""
        if isinstance(fault, StoreError):
            return 503, f"{fault.message} ({fault.reason})"
        return super().explain(fault)


@stream_request_body
class UnknownHandler(BodyHandler):
    """Everything that is not a call of ours: 404, whatever the method."""

    def check_method(self) -> None:
        """No method is wrong where there is nothing, and none is right."""
        raise NotFound
