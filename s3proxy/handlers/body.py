"""Taking a request body as it comes, and refusing one in such a way that the client reads why."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError

from s3proxy.access.guard import BEARER, Caller
from s3proxy.errors import (
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    RequestTimeout,
    S3ProxyError,
    ShuttingDown,
    TooLarge,
    Unauthorized,
)
from s3proxy.handlers.base import Handler, logger
from s3proxy.handlers.stream import ClientStream, Room
from s3proxy.handlers.visit import Visit
from s3proxy.protocol.pace import Pace
from s3proxy.transfer.part import Withdrawn

LINGER_SIZE = 256 * 1024 * 1024
"""Bytes of a refused body that are read and dropped, at most."""

DIGITS = re.compile(r"[0-9]+")
MAX_DIGITS = 18
"""Of a length in bytes; more than any object has."""


class BodyHandler(Handler):
    """Base of handlers that stream a body in. Subclasses are decorated with `stream_request_body`.

    They fill in `begin` and `receive`; each may raise `S3ProxyError`, at which the rest of the body is refused.
    Exceptions must not leave `prepare` or `data_received`: Tornado would close the connection without an answer, and
    closing while the client still sends destroys an answer on its way (RFC 9112 section 9.6).
    """

    refused = False

    public = False
    """Whether anyone may come, without a credential and without being looked at."""

    transfers: tuple[str, ...] = ()
    """Methods that move an object, and of which only so many are served at once."""

    length: int | None = 0
    """Bytes of the body; None when they come in chunks."""

    _silence: asyncio.TimerHandle | None = None
    _listening = False
    _lingered = 0

    async def prepare(self) -> None:
        """Called by Tornado when the headers are in, before it sends `100 Continue`."""
        limits = self.service.limits
        self.pace = Pace(limits.client_min_rate, limits.client_timeout)
        await self._guard(self._begin())
        self._heard = asyncio.get_running_loop().time()
        if self.length != 0 and not self.refused and not self.closed:
            self._listen()

    async def data_received(self, chunk: bytes) -> None:
        """Called by Tornado with each chunk, bytes or a view of them; the next is read when this returns."""
        self.received += len(chunk)
        if self.refused:
            self._linger(len(chunk))
        if self.refused or self.closed:
            return
        self._listening = False
        waited = asyncio.get_running_loop().time() - self._heard
        if self.pace.too_slow(waited, len(chunk)) and self.received != self.length:
            await self.refuse(RequestTimeout("The data arrived too slowly. Nothing was stored."))
            return
        await self._guard(self._take(chunk))
        await self.service.turns.take(len(chunk))
        self._heard = asyncio.get_running_loop().time()
        if not self.refused and not self.closed:
            self._listen()

    async def _begin(self) -> None:
        self.length = _declared_length(self.request)
        if self.request.method == "OPTIONS" and self._allow_preflight():
            return
        if not self.public:
            self.visit = await self._identify()
        if self.closed:
            return  # The client left meanwhile, and nothing would be given back.
        self.check_method()
        if self.request.method in self.transfers:
            self.service.traffic.transfer(self, self.service.limits.max_transfers)
            if self.visit is not None:
                self.visit.enter()
        await self.begin()

    async def _identify(self) -> Visit:
        """Who this is. Raises `Unauthorized`, `Forbidden`, `QuotaExceeded`, `AccessUnavailable`."""
        service, request = self.service, self.request
        token = self.query("link")
        if token:
            if service.links is None:
                raise Unauthorized
            principal, link = await service.links.identify(token)
            visit = Visit(service, principal, link)
        else:
            caller = Caller(header=request.headers.get_list, peer=self._peer, address=str(request.remote_ip))
            visit = Visit(service, await service.guard.identify(caller), None)
        self.visit = visit
        visit.allowance.admit()
        forgeable = visit.principal.via.ambient and request.method not in ("GET", "HEAD")
        if forgeable and service.origins.forged(request.headers):
            raise Forbidden("Another site's page sent this request.")
        return visit

    @property
    def _peer(self) -> str:
        """The address of who holds the connection, whatever the headers say."""
        context = getattr(self.request.connection, "context", None)
        address = getattr(context, "address", None)
        return str(address[0]) if isinstance(address, tuple) else ""

    def _allow_preflight(self) -> bool:
        """Answer a browser that asks what a page of another site may send; false when this is no such question."""
        allowed = self.service.origins.preflight(self.request.headers, self.methods)
        if allowed is None:
            return False
        for name, value in allowed.items():
            self.set_header(name, value)
        self.answer(None, status=204)
        return True

    def check_method(self) -> None:
        """Refuse a method that this call does not have, and a body that it does not take."""
        if not self.serves(str(self.request.method)):
            raise MethodNotAllowed
        if self.length != 0 and self.request.method not in ("PUT", "POST"):
            raise BadRequest("This call takes no body.")

    async def begin(self) -> None:
        """The headers are in: refuse now what can be refused."""

    async def receive(self, chunk: bytes) -> None:
        """Take a chunk of the body."""

    def receive_into(self, room: Room) -> None:
        """Have the body's bytes received where `room` says, so that `receive` finds them there already."""
        stream = getattr(self.request.connection, "stream", None)
        if isinstance(stream, ClientStream):
            stream.room = room

    async def _take(self, chunk: bytes) -> None:
        if self.visit is not None:
            await self.visit.spend(len(chunk))
        await self.receive(chunk)

    @property
    def guest(self) -> Visit:
        """The visit, in a call that is not public, once it is known who it is from."""
        assert self.visit is not None
        return self.visit

    async def ended(self) -> bool:
        """Called first by every method, when the body is complete: whether the request is over already."""
        self._hush()
        if self.refused:
            self.break_off()
        return self.refused or self.closed

    def stop(self) -> None:
        """See `service.Request`. A body under way is refused like any other, so that its client reads why."""
        if self.length == 0 or self._headers_written:
            if not self.refused:
                super().stop()
        else:
            self._stopping = asyncio.ensure_future(self.refuse(ShuttingDown()))

    def close_transfer(self) -> None:
        """See `Handler.close_transfer`."""
        self._hush()

    def write_fault(self, fault: S3ProxyError) -> None:
        """See `Handler.write_fault`. Who came by a link has no password that a browser could ask for."""
        super().write_fault(fault)
        if "WWW-Authenticate" in self._headers and "link" in self.request.query_arguments:
            self.set_header("WWW-Authenticate", BEARER)

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
        finally:
            if self.closed and self.visit is not None:
                self.visit.close()  # The client left meanwhile.

    async def refuse(self, fault: S3ProxyError) -> None:
        """Answer now, then read and drop the rest of the body for a while, as nginx's `lingering_close` does."""
        if self.refused or self.closed or self._finished:
            return
        self.refused = True
        self.close_transfer()
        self.clear()
        self.write_fault(fault)
        waits_for_continue = self.request.headers.get("Expect", "").lower() == "100-continue" and not self.received
        if self.length == 0 or waits_for_continue:
            await self.finish()
            return
        self.set_header("Connection", "close")
        self.set_header("Content-Length", str(sum(map(len, self._write_buffer))))
        try:
            await self.flush()
        except StreamClosedError:
            return
        self._end_answers()
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(self.service.limits.linger, self._hang_up)

    def _end_answers(self) -> None:
        """Close our direction only (RFC 9112 section 9.6): what comes is still read, and Tornado cannot answer it."""
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None and not stream.closed():
            with contextlib.suppress(OSError):
                stream.socket.shutdown(socket.SHUT_WR)

    def _listen(self) -> None:
        """Expect the next chunk within the client timeout."""
        self._listening = True
        # One timer for all chunks: a new one for each of them is a good part of what a small chunk costs.
        if self._silence is None:
            due = self._heard + self.service.limits.client_timeout
            self._silence = asyncio.get_running_loop().call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        """See whether the client was silent since the timer was set, or whether it is to be set anew."""
        self._silence = None
        if self._listening and self._heard + self.service.limits.client_timeout <= due:
            self._too_quiet()
        elif self._listening:
            self._listen()

    def _hush(self) -> None:
        self._listening = False
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _too_quiet(self) -> None:
        if not self.closed and not self._finished:
            self.refused = True
            self.close_transfer()
            self.clear()
            self.write_fault(RequestTimeout())
            self._hang_up()

    def _linger(self, size: int) -> None:
        """Count what is dropped of a refused body; enough is enough."""
        self._lingered += size
        if self._lingered > LINGER_SIZE:
            self._hang_up()

    def _hang_up(self) -> None:
        """Finish; the connection closes, because the body was not read to its end."""
        if not self.closed and not self._finished:
            self.finish()


def _declared_length(request: HTTPServerRequest) -> int | None:
    """The bytes of the body, None when it is chunked (RFC 9112 section 6.3).

    Raises `BadRequest` where two programs could find the body's end in two places, and `TooLarge` for more bytes than
    any object has. Tornado refuses these as well, but later and without a word.
    """
    headers = request.headers
    if "Transfer-Encoding" in headers:
        chunked = headers["Transfer-Encoding"].lower() == "chunked"
        if not chunked or "Content-Length" in headers or request.version == "HTTP/1.0":
            raise BadRequest("The end of the body is ambiguous.")
        return None
    lengths = set(re.split(r",[ \t]*", headers.get("Content-Length", "0")))
    length = lengths.pop()
    if lengths or not DIGITS.fullmatch(length):
        raise BadRequest("Content-Length is not a number.")
    if len(length) > MAX_DIGITS:
        raise TooLarge
    return int(length)
