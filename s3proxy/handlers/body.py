"""Taking a request body as it comes, and refusing one in such a way that the client reads why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from tornado.iostream import StreamClosedError

from s3proxy.errors import BadRequest, MethodNotAllowed, RequestTimeout, S3ProxyError
from s3proxy.handlers.base import Handler, logger
from s3proxy.transfer.part import Withdrawn


class BodyHandler(Handler):
    """Base of handlers that stream a body in. Subclasses are decorated with `stream_request_body`.

    They fill in `begin` and `receive`; each may raise `S3ProxyError`, at which the rest of the body is refused.
    Exceptions must not leave `prepare` or `data_received`: Tornado would close the connection without an answer, and
    closing while the client still sends destroys an answer on its way (RFC 9112 section 9.6).
    """

    async def prepare(self) -> None:
        """Called by Tornado when the headers are in, before it sends `100 Continue`."""
        self.refused = False
        self._heard = asyncio.get_running_loop().time()
        self._silence: asyncio.TimerHandle | None = None
        await self._guard(self._begin())
        if self.has_body and not self._finished and not self.closed:
            self._listen()

    async def data_received(self, chunk: bytes) -> None:
        """Called by Tornado with each chunk; the next is read when this returns."""
        self.received += len(chunk)
        if self.refused or self.closed:
            return
        if self._silence is not None:
            self._silence.cancel()
        await self._guard(self.receive(chunk))
        self._heard = asyncio.get_running_loop().time()
        if not self.refused and not self.closed:
            self._listen()

    async def _begin(self) -> None:
        if not self.serves(str(self.request.method)):
            raise MethodNotAllowed
        if self.has_body and self.request.method not in ("PUT", "POST"):
            raise BadRequest("This call takes no body.")
        await self.begin()

    async def begin(self) -> None:
        """The headers are in: refuse now what can be refused."""

    async def receive(self, chunk: bytes) -> None:
        """Take a chunk of the body."""

    async def ended(self) -> bool:
        """Called first by every method, when the body is complete: whether the request is over already."""
        self._hush()
        if self.refused and not self._finished:
            await self.finish()
        return self.refused or self.closed

    @property
    def has_body(self) -> bool:
        """Whether a body is to come (RFC 9112 section 6.3)."""
        headers = self.request.headers
        return "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"

    def close_transfer(self) -> None:
        """See `Handler.close_transfer`."""
        self._hush()

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except S3ProxyError as fault:
            await self.refuse(fault)
        except Withdrawn:
            return  # The client left, or `stop` has answered already.
        except Exception:
            logger.exception("unexpected error in a request body")
            await self.refuse(S3ProxyError())

    async def refuse(self, fault: S3ProxyError) -> None:
        """Answer now, then read and drop the rest of the body for a while, as nginx's `lingering_close` does."""
        if self.closed or self._finished:
            return
        self.refused = True
        self.close_transfer()
        self.clear()
        self.write_fault(fault)
        waits_for_continue = self.request.headers.get("Expect", "").lower() == "100-continue" and not self.received
        if not self.has_body or waits_for_continue:
            await self.finish()
            return
        self.set_header("Connection", "close")
        self.set_header("Content-Length", str(sum(map(len, self._write_buffer))))
        try:
            await self.flush()
        except StreamClosedError:
            return
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(self.service.limits.linger, self._hang_up)

    def _listen(self) -> None:
        """Expect the next chunk within the client timeout."""
        loop = asyncio.get_running_loop()
        self._silence = loop.call_at(self._heard + self.service.limits.client_timeout, self._too_quiet)

    def _hush(self) -> None:
        silence = getattr(self, "_silence", None)
        if silence is not None:
            silence.cancel()

    def _too_quiet(self) -> None:
        if not self.closed and not self._finished:
            self.refused = True
            self.close_transfer()
            self.clear()
            self.write_fault(RequestTimeout())
            self._hang_up()

    def _hang_up(self) -> None:
        """Finish; the connection closes, because the body was not read to its end."""
        if not self.closed and not self._finished:
            self.finish()
