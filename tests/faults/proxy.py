"""An HTTP proxy in front of the store that breaks the calls it is told to, and remembers all of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.faults.calls import Operation, StoreCall, parse_head, read_body, read_head

PIECE = 256 * 1024
"""Bytes of an answer passed on at a time."""

UPLOAD_ID = re.compile(rb"<UploadId>([^<]+)</UploadId>")

LISTED_UPLOAD = re.compile(rb"<Upload>.*?</Upload>", re.DOTALL)

INITIATED = re.compile(rb"(?<=<Initiated>)[^<]+")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that can happen to a call, by a name for people."""

    name: str
    act: Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rule:
    """From the `nth` call of `operation` on, `count` calls meet `fault`. Counts from 1; `ALWAYS` never ends."""

    operation: Operation | None
    fault: Fault
    count: int = 1
    nth: int = 1

    def __str__(self) -> str:
        often = "" if self.count == 1 else " always" if self.count >= ALWAYS else f" x{self.count}"
        return f"{self.operation or 'any call'}: {self.fault.name}{often}"


ALWAYS = 1_000_000

Chooser = Callable[[StoreCall], Fault | None]


@dataclass(slots=True)
class Reply:
    """The store's answer: its head, and its body still on the way (or at hand)."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, piece by piece."""
        while data := await self.reader.read(PIECE):
            yield data

    async def body(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])


class Exchange:
    """One call at the proxy: what came, and the means to answer it, or not."""

    def __init__(
        self, proxy: FaultProxy, call: StoreCall, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.call = call
        self.over = False
        self._proxy = proxy
        self._reader = reader
        self._writer = writer

    async def forward(self) -> Reply:
        """Let the call take effect at the store."""
        async with self._proxy.turn(self.call):
            reader, writer = await asyncio.open_connection(*self._proxy.upstream, limit=1 << 20)
            writer.write(self.call.encode())
            await writer.drain()
            first, headers = parse_head(await reader.readuntil(b"\r\n\r\n"))
        reply = Reply(int(first.split()[1]), headers, reader, writer)
        if self.call.operation == "create" and reply.status == 200:
            # Until the answer is delivered, nobody knows of this upload.
            body = await reply.body()
            reply.reader = asyncio.StreamReader()
            reply.reader.feed_data(body)
            reply.reader.feed_eof()
            if found := UPLOAD_ID.search(body):
                self._proxy.orphans.add(found[1].decode())
                self._proxy.begun[found[1]] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()).encode()
        return reply

    async def relay(self) -> None:
        """Pass the call and its answer on, as if nobody were between."""
        reply = await self.forward()
        try:
            await self.deliver(reply)
        finally:
            reply.writer.close()

    async def deliver(self, reply: Reply) -> None:
        """Pass an answer on."""
        await self.send_head(reply.status, reply.headers)
        known = b""
        async for piece in reply.pieces():
            if self.call.operation == "list_uploads":
                piece = self._proxy.date_uploads(piece)
            known = piece if self.call.operation == "create" else b""
            await self.send(piece)
        if (found := UPLOAD_ID.search(known)) and not self.client_left:
            self._proxy.orphans.discard(found[1].decode())

    async def send_head(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of an answer; the connection ends with it when only its end shows the body's."""
        kept = {name: value for name, value in headers.items() if name != "connection"}
        bodiless = self.call.method == "HEAD" or status in (204, 304)
        if "content-length" not in kept and not bodiless:
            kept["connection"] = "close"
            self.over = True
        lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in kept.items())]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def answer(self, status: int, body: bytes, content_type: str = "application/xml") -> None:
        """An answer of our own."""
        await self.send_head(status, {"content-type": content_type, "content-length": str(len(body))})
        if self.call.method != "HEAD":
            await self.send(body)

    async def send(self, data: bytes) -> None:
        """Bytes of an answer, at the pace they are taken."""
        self._writer.write(data)
        await self._writer.drain()

    @property
    def client_left(self) -> bool:
        """Whether the service has closed its end."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def until_client_leaves(self) -> None:
        """Wait for the service to give up."""
        with contextlib.suppress(ConnectionError):
            await self._reader.read(1)
        self.over = True

    def reset(self) -> None:
        """Break the connection with RST."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self.over = True

    def close(self) -> None:
        """End the connection with FIN."""
        self._writer.close()
        self.over = True


@dataclass(slots=True)
class _Installed:
    rule: Rule
    seen: int = 0

    def meets(self, operation: Operation) -> bool:
        if self.rule.operation not in (None, operation):
            return False
        self.seen += 1
        return self.rule.nth <= self.seen < self.rule.nth + self.rule.count


@dataclass(slots=True)
class Record:
    """What a proxy has seen since it was last told to forget: `journal` holds beginnings and ends in order."""

    calls: Counter[Operation] = field(default_factory=Counter)
    targets: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    journal: list[tuple[str, Operation]] = field(default_factory=list)


class FaultProxy:
    """The proxy, in a thread with an event loop of its own. A context manager; `port` is valid inside.

    What S3 does and moto does not is done here: commits to one key are atomic, one after the other, a checksum that
    came with an object is kept also when no `x-amz-sdk-checksum-algorithm` names it, and a listing of multipart uploads
    tells when each was begun.

    `in_flight` is how many calls it is busy with; `orphans` are multipart uploads whose id never reached the service.
    """

    def __init__(self, store_port: int) -> None:
        self.upstream = ("127.0.0.1", store_port)
        self.port = 0
        self.in_flight = 0
        self.record = Record()
        self.orphans: set[str] = set()
        self.begun: dict[bytes, bytes] = {}
        self._rules: list[_Installed] = []
        self._chooser: Chooser | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Lock] = {}
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="fault-proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def install(self, rules: Iterable[Rule], chooser: Chooser | None = None) -> None:
        """Break calls by these rules from now on, or as `chooser` says; forget what was seen so far."""
        self.record = Record()
        self._turns.clear()
        self._rules = [_Installed(rule) for rule in rules]
        self._chooser = chooser

    def heal(self) -> None:
        """Break nothing more."""
        self._rules = []
        self._chooser = None

    def turn(self, call: StoreCall) -> AbstractAsyncContextManager[object]:
        """To be held while a call takes effect: S3's commits to one key are one after the other."""
        if call.operation not in ("put", "complete"):
            return contextlib.nullcontext()
        return self._turns.setdefault(call.target.partition("?")[0], asyncio.Lock())

    def date_uploads(self, listing: bytes) -> bytes:
        """A listing of uploads with the times they were begun: for moto, all were in 2010."""

        def date(upload: re.Match[bytes]) -> bytes:
            found = UPLOAD_ID.search(upload[0])
            begun = self.begun.get(found[1]) if found else None
            return INITIATED.sub(begun, upload[0]) if begun else upload[0]

        return LISTED_UPLOAD.sub(date, listing)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set_result(None)
        await self._stop.wait()
        server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._serve(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # Both sides may leave at any time, and so may we.
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one call; whether the connection goes on."""
        call = await read_head(reader)
        if call is None:
            return False
        record = self.record
        record.calls[call.operation] += 1
        record.targets.append(f"{call.method} {call.target}")
        record.journal.append(("begin", call.operation))
        self.in_flight += 1
        try:
            if "expect" in call.headers:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            call = dataclasses.replace(call, body=await read_body(reader, call.headers))
            exchange = Exchange(self, call, reader, writer)
            fault = self._choose(call)
            if fault is None:
                await exchange.relay()
            else:
                record.injected[fault.name] += 1
                await fault.act(exchange)
            return not exchange.over
        finally:
            self.in_flight -= 1
            record.journal.append(("end", call.operation))

    def _choose(self, call: StoreCall) -> Fault | None:
        met = [installed.rule.fault for installed in self._rules if installed.meets(call.operation)]
        if met:
            return met[0]
        return self._chooser(call) if self._chooser is not None else None
