"""A client on a plain socket, which can leave, stall and lie where libraries would not."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PATIENCE = 90.0
"""Seconds without a byte after which a client gives up; the server has to act long before."""

PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client read. `whole` tells whether the body was as long as announced; `status` is 0 without an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def code(self) -> str:
        """The service's error code; empty on success."""
        return self.headers.get("x-error-code", "")

    @property
    def detail(self) -> str:
        """What an error says; empty when it is no JSON."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(json.loads(self.body)["detail"])
        return ""


NOTHING = Answer(0, {}, b"", False)


class Client:
    """One connection. A context manager that closes it."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def ask(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send the head of a request."""
        lines = [f"{method} {target} HTTP/1.1", "Host: test", *(f"{name}: {text}" for name, text in headers.items())]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes | memoryview) -> bool:
        """Send; false when the server hung up meanwhile, which leaves its answer to be read."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            return False
        return True

    def send_chunked(self, pieces: Iterable[bytes | memoryview], *, end: bool = True) -> bool:
        """Send in the chunked coding, with the last chunk or without."""
        going = all(self.send(b"%x\r\n%b\r\n" % (len(piece), bytes(piece))) for piece in pieces)
        return self.send(b"0\r\n\r\n") if going and end else going

    def answer(self, method: str = "GET", sink: Callable[[bytes], None] | None = None) -> Answer:
        """Read the answer, its body also when it is cut off; `sink` gets the body when there is one."""
        response = http.client.HTTPResponse(self.socket, method=method)
        pieces: list[bytes] = []
        take = sink or pieces.append
        received = 0
        whole = True
        try:
            response.begin()
        except (http.client.HTTPException, OSError):
            response.close()
            return NOTHING
        headers = {name.lower(): value for name, value in response.getheaders()}
        announced = response.length
        try:
            while data := response.read(PIECE):
                received += len(data)
                take(data)
        except (http.client.HTTPException, OSError):
            whole = False
        response.close()
        if announced is not None and method != "HEAD":
            whole = whole and received == announced
        return Answer(response.status, headers, b"".join(pieces), whole)

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        pieces = []
        with contextlib.suppress(ConnectionError):
            while data := self.socket.recv(65536):
                pieces.append(data)
        return b"".join(pieces)

    def finish(self) -> None:
        """Say that nothing more will be sent (FIN), and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def pieces_of(data: bytes | memoryview, size: int = PIECE) -> Iterable[memoryview]:
    """`data` a piece at a time."""
    view = memoryview(data)
    return (view[start : start + size] for start in range(0, len(view), size))


def exchange(
    port: int,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | memoryview | None = None,
    *,
    chunked: bool = False,
    sink: Callable[[bytes], None] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    try:
        with Client(port) as client:
            if body is None:
                client.ask(method, target, headers)
            elif chunked:
                client.ask(method, target, {**headers, "Transfer-Encoding": "chunked"})
                client.send_chunked(pieces_of(body))
            else:
                client.ask(method, target, {**headers, "Content-Length": str(len(body))})
                client.send(body)
            return client.answer(method, sink)
    except ConnectionError:
        return NOTHING


BOUNDARY = "----faults"

FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def field(name: str, value: str) -> bytes:
    """A field of a form."""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(data: bytes | memoryview, name: str = "file_request") -> bytes:
    """A file of a form."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="f.bin"\r\n'
    return head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + bytes(data) + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
