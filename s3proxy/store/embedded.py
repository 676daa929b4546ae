"""An S3 of our own for trying the service out: moto's server in a process of its own, data for as long as it runs."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import logging
import multiprocessing
import signal
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

BUCKET = "demo"


def is_available() -> bool:
    """Whether moto is installed, as `make setup` does and the production image does not."""
    return importlib.util.find_spec("moto") is not None


class EmbeddedStore:
    """A running S3 with a bucket `demo`. A context manager; `endpoint_url` is valid inside."""

    def __init__(self) -> None:
        self.endpoint_url = ""
        context = multiprocessing.get_context("spawn")
        self._pipe, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child,), daemon=True, name="embedded-s3")

    def __enter__(self) -> Self:
        self._process.start()
        self.endpoint_url = self._pipe.recv()
        client = http.client.HTTPConnection(urlsplit(self.endpoint_url).netloc, timeout=30)
        client.request("PUT", f"/{BUCKET}")
        client.getresponse().read()
        client.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection) -> None:
    from moto.server import ThreadedMotoServer  # Not installed where nobody tries the service out.

    # Ctrl-C goes to every process of the terminal; this one ends when its owner does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    pipe.send(f"http://{host}:{port}")
    with contextlib.suppress(EOFError):
        pipe.recv()
