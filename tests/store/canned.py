"""An HTTP server that says what it is told to say, and remembers what it was asked: S3's answers word for word."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said. `after` is what becomes of the connection then: kept, closed, reset, or left open in silence."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    after: Literal["keep", "close", "reset", "silence"] = "keep"


SILENCE = Answer(status=0, after="silence")
CLOSED = Answer(status=0, after="close")
RESET = Answer(status=0, after="reset")


def error(status: int, code: str) -> Answer:
    """An error as S3 writes it."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>'
        f"<Message>Secret details of {code} at s3.internal</Message><RequestId>1</RequestId></Error>"
    )
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


class CannedServer(ThreadingHTTPServer):
    """See the module. `answers` are given one after the other, then `default` to everything."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: deque[Answer] = deque()
        self.default = Answer(headers={"ETag": '"etag"'})
        self.requests: list[Request] = []
        self.connections = 0
        self.over = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_answer(self) -> Answer:
        """Called by the handler's threads."""
        return self.answers.popleft() if self.answers else self.default

    def verify_request(self, request: object, client_address: object) -> bool:
        """Take every connection, and count it."""
        self.connections += 1
        return True

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break here; that is what they are for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: CannedServer

    def serve(self) -> None:
        """Any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Request(self.command, self.path, headers, body))
        answer = self.server.next_answer()
        if answer.status:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "Transfer-Encoding" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            self.wfile.flush()
        if answer.after == "silence":
            self.server.over.wait()
        elif answer.after == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = answer.after != "keep"

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def canned_server() -> Iterator[CannedServer]:
    """A running server."""
    with CannedServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
