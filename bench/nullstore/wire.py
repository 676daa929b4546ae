"""HTTP/1.1 on one blocking socket, as cheaply as Python allows: heads in, bodies drained, answers out."""

import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from bench.pattern import runs

SMALL_BODY = 64 * 1024
DOCUMENT_BODY = 4 * 1024 * 1024
HEAD_LIMIT = 64 * 1024
DRAIN_STEP = 4 * 1024 * 1024
SEND_STEP = 1024 * 1024

Checksum = Callable[[memoryview | bytes, int], int]


class Disconnected(Exception):
    """The client is gone, or speaks something that is not HTTP."""


class Head:
    """One request head; header names are looked for in the raw bytes, as only a few are ever asked for."""

    __slots__ = ("_lower", "_raw", "method", "target")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._lower = raw.lower()
        try:
            self.method, self.target, _ = raw[: raw.index(b"\r\n")].decode("latin-1").split(" ")
        except ValueError as error:
            raise Disconnected("not an HTTP request line") from error

    def get(self, name: bytes) -> str | None:
        """The value of the header called `name` (lower case), or None."""
        found = self._lower.find(b"\r\n" + name + b":")
        if found < 0:
            return None
        start = found + len(name) + 3
        return self._raw[start : self._raw.index(b"\r\n", start)].decode("latin-1").strip()

    def matching(self, prefix: bytes) -> tuple[tuple[str, str], ...]:
        """Every header whose name starts with `prefix` (lower case), as (name, value)."""
        if prefix not in self._lower:
            return ()
        lines = [line.partition(b":") for line in self._raw.split(b"\r\n")[1:]]
        return tuple(
            (name.decode("latin-1"), value.decode("latin-1").strip())
            for name, _, value in lines
            if name.lower().startswith(prefix)
        )


@dataclass(frozen=True, slots=True)
class Body:
    """What is left of a request body: its size, its bytes when they are few, its checksum when it was asked for."""

    size: int = 0
    data: bytes | None = b""
    crc: int | None = None


def decode_chunked(data: bytes) -> bytes:
    """Take the chunk framing (HTTP's or aws-chunked) off a whole body; trailers are dropped."""
    payload = bytearray()
    position = 0
    while True:
        line_end = data.index(b"\r\n", position)
        size = int(data[position:line_end].split(b";")[0], 16)
        if size == 0:
            return bytes(payload)
        payload += data[line_end + 2 : line_end + 2 + size]
        position = line_end + 2 + size + 2


class Connection:
    """One client connection. Large bodies never reach user memory: over plain TCP the kernel throws them away."""

    def __init__(self, sock: socket.socket, checksum: Checksum | None) -> None:
        self._sock = sock
        self._checksum = checksum
        self._pending = b""
        self._secure = isinstance(sock, ssl.SSLSocket)
        # MSG_TRUNC discards in the kernel (tcp(7)); MSG_WAITALL makes it one call for a whole step. TLS knows neither.
        self._flags = 0
        if not self._secure:
            self._flags = socket.MSG_WAITALL | (socket.MSG_TRUNC if checksum is None else 0)
        self._buffer: memoryview | None = None

    def read_head(self) -> Head | None:
        """The next request head, or None at a clean end of the connection."""
        data = self._pending
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > HEAD_LIMIT:
                raise Disconnected("request head too long")
            more = self._sock.recv(SMALL_BODY)
            if not more:
                return None
            data += more
        self._pending = data[end + 4 :]
        return Head(data[: end + 2])

    def read_body(self, head: Head) -> Body:
        """Read the body of `head` to its end; small bodies, and POSTed lists of parts, keep their bytes."""
        keep = DOCUMENT_BODY if head.method == "POST" else SMALL_BODY
        if (head.get(b"transfer-encoding") or "").lower() == "chunked":
            body = self._read_chunked(keep)
        else:
            length = int(head.get(b"content-length") or 0)
            if length == 0:
                return Body()
            body = self._read_sized(length, keep)
        if "aws-chunked" in (head.get(b"content-encoding") or ""):
            data = decode_chunked(body.data) if body.data is not None else None
            return Body(size=int(head.get(b"x-amz-decoded-content-length") or 0), data=data)
        return body

    def send_continue(self) -> None:
        """Ask the client for its body."""
        self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send(self, data: bytes) -> None:
        """Send a whole answer."""
        self._sock.sendall(data)

    def send_file(self, head: bytes, source: int, mapped: memoryview, offset: int, size: int) -> None:
        """Send `head` and `size` bytes of the pattern from `offset`: by sendfile, or from the map under TLS."""
        if self._secure:
            self._sock.sendall(head)
            for start, length in runs(offset, size):
                for position in range(start, start + length, SEND_STEP):
                    self._sock.sendall(mapped[position : min(position + SEND_STEP, start + length)])
            return
        self._sock.sendall(head, socket.MSG_MORE)
        for start, length in runs(offset, size):
            end = start + length
            while start < end:
                start += os.sendfile(self._sock.fileno(), source, start, end - start)

    def _read_sized(self, length: int, keep: int) -> Body:
        if length <= keep:
            data = self._take(length)
            return Body(size=length, data=data, crc=self._checksum(data, 0) if self._checksum else None)
        return Body(size=length, data=None, crc=self._drain(length, 0))

    def _read_chunked(self, keep: int) -> Body:
        size, crc = 0, 0
        kept: list[bytes] | None = []
        while (length := int(self._line().split(b";")[0], 16)) > 0:
            size += length
            if kept is not None and size <= keep:
                data = self._take(length)
                kept.append(data)
                crc = self._checksum(data, crc) if self._checksum else 0
            else:
                kept = None
                crc = self._drain(length, crc) or 0
            self._take(2)
        while self._line():
            pass  # trailers
        return Body(size=size, data=b"".join(kept) if kept is not None else None, crc=crc if self._checksum else None)

    def _line(self) -> bytes:
        while (end := self._pending.find(b"\r\n")) < 0:
            self._fill()
        line, self._pending = self._pending[:end], self._pending[end + 2 :]
        return line

    def _take(self, length: int) -> bytes:
        while len(self._pending) < length:
            self._fill()
        data, self._pending = self._pending[:length], self._pending[length:]
        return data

    def _fill(self) -> None:
        more = self._sock.recv(SMALL_BODY)
        if not more:
            raise Disconnected("end of connection inside a body")
        self._pending += more

    def _drain(self, length: int, crc: int) -> int | None:
        """Drop `length` bytes; with a checksum, pass them through it first."""
        data, self._pending = self._pending[:length], self._pending[length:]
        length -= len(data)
        if self._checksum:
            crc = self._checksum(data, crc)
        if self._buffer is None:
            self._buffer = memoryview(bytearray(DRAIN_STEP))  # not resident until written
        while length:
            step = min(length, DRAIN_STEP)
            got = self._sock.recv_into(self._buffer, step, self._flags)
            if not got:
                raise Disconnected("end of connection inside a body")
            length -= got
            if self._checksum:
                crc = self._checksum(self._buffer[:got], crc)
        return crc if self._checksum else None


def render(status: int, headers: dict[str, str], body: bytes = b"", *, size: int | None = None) -> bytes:
    """An answer, or with `size` (the length of a body sent apart, or of a HEAD's) only its head."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Server: null-store", "x-amz-request-id: 0"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if status not in (204, 304):
        lines.append(f"Content-Length: {len(body) if size is None else size}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
