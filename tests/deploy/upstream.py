"""A stand-in for the service, to see what nginx sends it and how nginx takes what it does."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Behaviour = Callable[[socket.socket], None]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def answer(connection: socket.socket) -> None:
    """Say 200."""
    connection.sendall(ANSWER)


def reset(connection: socket.socket) -> None:
    """Break the connection without an answer, as a process does that is killed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Upstream:
    """Reads the head of each request, keeps it in `heads`, and then behaves as told. One connection at a time."""

    def __init__(self, behaviour: Behaviour = answer) -> None:
        self.heads: list[str] = []
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Wakes the thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                head = b""
                while b"\r\n\r\n" not in head and (chunk := connection.recv(1)):
                    head += chunk
                if head:
                    self.heads.append(head.decode("latin-1"))
                    self._behaviour(connection)
