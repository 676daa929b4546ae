"""Where rows are played: a store, the proxy before it, servers before that; and the invariants after every row."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults import client, invariants
from tests.faults.client import Answer, Client
from tests.faults.program import Program, free_port
from tests.faults.proxy import FaultProxy
from tests.faults.row import Row
from tests.faults.store import MotoProcess, Truth

MIB = 1024 * 1024

BUCKET = "faults"
SENTINEL = "sentinel"

THREADS = 8
BUDGET_MIB = 64
LIMIT_MIB = 48

RETRIES = 20
"""Faults after which rows get a fresh server: boto3 retries on a quota for the process, 35 retries long."""

CLIENT_TIMEOUT = 1.5
READ_TIMEOUT = 2.0

SETTINGS: Mapping[str, str] = {
    "HOST": "127.0.0.1",
    "PORT": "0",
    "S3_ADDRESSING_STYLE": "path",
    "S3_CONNECT_TIMEOUT_SECONDS": "1",
    "S3_READ_TIMEOUT_SECONDS": str(READ_TIMEOUT),
    "S3_ATTEMPTS": "3",
    "S3_THREADS": str(THREADS),
    "UPLOAD_MULTIPART_LIMIT_MB": "1",
    "UPLOAD_MULTIPART_CHUNK_SIZE": "5",
    "MAX_OBJECT_SIZE_MB": str(LIMIT_MIB),
    "FORM_HOLD_LIMIT_MB": "1",
    "CLIENT_TIMEOUT_SECONDS": str(CLIENT_TIMEOUT),
    "KEEPALIVE_TIMEOUT_SECONDS": "2",
    "LINGER_SECONDS": "2",
    "SHUTDOWN_GRACE_SECONDS": "5",
    "MEMORY_BUDGET_MB": str(BUDGET_MIB),
    "LOG_LEVEL": "DEBUG",
}
"""Short times and small parts, so that every row is over in seconds."""


@dataclass
class Scene:
    """One row being played: its key, its bodies, its server, and requests to it that are held to account."""

    stage: Stage
    row: Row
    server: Server
    key: str
    new: bytes = b""
    ids: list[str] = field(default_factory=list)
    kept_open: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where the server listens."""
        return self.server.program.port

    @property
    def proxy(self) -> FaultProxy:
        """What breaks the calls to the store."""
        return self.stage.proxy

    @property
    def truth(self) -> Truth:
        """The store itself."""
        return self.stage.truth

    @property
    def path(self) -> str:
        """The key's path at the service."""
        return self.path_of(self.key)

    def path_of(self, key: str) -> str:
        """A key's path at the service."""
        return f"/files/{BUCKET}/{key}"

    def headers(self, **more: str) -> dict[str, str]:
        """Headers with a request id of which the log must hold one record. Underscores stand for hyphens."""
        identity = f"request-{self.key}-{len(self.ids)}"
        self.ids.append(identity)
        return {"X-Request-Id": identity} | {name.replace("_", "-"): value for name, value in more.items()}

    def body(self, size: int) -> bytes:
        """The new bytes of the key, from now on."""
        self.new = random.Random(f"{self.key} {size}").randbytes(size)
        return self.new

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        chunked: bool = False,
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own."""
        return client.exchange(self.port, method, target, self.headers(**headers), body, chunked=chunked)

    def put(self, size: int, *, chunked: bool = False, **headers: str) -> Answer:
        """Store a new body under the key."""
        return self.request("PUT", self.path, self.body(size), chunked=chunked, **headers)

    def post(self, size: int) -> Answer:
        """The same as a form."""
        form = client.form(
            client.field("bucket_name", BUCKET), client.field("object_name", self.key), client.file(self.body(size))
        )
        return self.request("POST", "/files", form, Content_Type=client.FORM_TYPE)

    def open(self, *, receive_buffer: int | None = None) -> Client:
        """A connection, closed when the row is over."""
        connection = Client(self.port, receive_buffer=receive_buffer)
        self.kept_open.append(connection)
        return connection

    def begin_put(self, size: int, sent: int, **headers: str) -> Client:
        """Announce a new body of `size` bytes under the key and send the first `sent` of them."""
        connection = self.open()
        connection.ask("PUT", self.path, self.headers(Content_Length=str(size), **headers))
        connection.send(self.body(size)[:sent])
        return connection

    def alive(self) -> Answer:
        """Whether the process answers."""
        return self.request("GET", "/healthz")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and what it was like before any fault."""

    program: Program
    rest: invariants.Rest


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a row. `violations` are empty when all is as it must be."""

    row: Row
    status: str
    after: str
    left: int
    violations: tuple[str, ...]
    seconds: float


class Stage:
    """Store, proxy and one server for all rows that ask for no other. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self._server: Server | None = None
        self._shared = ExitStack()
        self._spent = 0

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="s3proxy-faults-")))
        store = self._stack.enter_context(MotoProcess(self.folder))
        self.proxy = self._stack.enter_context(FaultProxy(store.port))
        self.truth = self._stack.enter_context(Truth(store.port, BUCKET))
        self._stack.push(self._shared)
        self.truth.put(SENTINEL, b"still here")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def play(self, row: Row) -> Result:
        """Play a row and check all that must hold after it."""
        self.proxy.install(())
        with self._server_for(row) as server:
            key = f"{row.number}-{next(self._numbers)}"
            scene = Scene(self, row, server, key)
            if row.before == "old":
                self.truth.put(key, invariants.OLD)
            start = len(server.program.output())
            self.proxy.install(row.rules)
            started = time.monotonic()
            answer, faults = self._act(scene)
            took = time.monotonic() - started
            for connection in scene.kept_open:
                connection.socket.close()
            record = self.proxy.record
            if took > row.seconds:
                faults.append(f"took {took:.1f} s, more than {row.seconds:g}")
            faults += invariants.answered_right(row, answer, record)
            # What undoes the upload may still need the rules: an abort that fails at first is part of the row.
            uploads = invariants.uploads_left(scene, start)
            self.proxy.heal()
            after = invariants.object_after(scene)
            faults += invariants.check(scene, answer, after, uploads, start)
            for leftover in self.truth.uploads():
                self.truth.abort(*leftover)
            self.proxy.orphans.clear()
            self.truth.remove(key)
            status = "-" if answer is None else str(answer.status or "closed")
            if answer is not None and answer.status and not answer.whole:
                status += " cut off"
            return Result(row, status, after, uploads, tuple(faults), took)

    def _act(self, scene: Scene) -> tuple[Answer | None, list[str]]:
        try:
            return scene.row.act(scene), []
        except (AssertionError, OSError) as fault:
            return None, [f"{type(fault).__name__}: {fault}"]

    @contextlib.contextmanager
    def _server_for(self, row: Row) -> Iterator[Server]:
        if row.settings is None:
            if self._server is None or self._spent > RETRIES or self._server.program.process.poll() is not None:
                self._shared.close()
                self._server = self._shared.enter_context(self.serve({}))
                self._spent = 0
            yield self._server
            self._spent += self.proxy.record.injected.total()
        else:
            with self.serve(row.settings, descriptors=row.descriptors) as server:
                yield server

    @contextlib.contextmanager
    def serve(
        self, settings: Mapping[str, str], *, descriptors: int | None = None, warm: bool = True
    ) -> Iterator[Server]:
        """A server with these settings beside the usual ones, warmed up unless its store is not there."""
        folder = self.folder / f"server-{next(self._numbers)}"
        (folder / "spool").mkdir(parents=True)
        endpoint = f"http://127.0.0.1:{self.proxy.port}"
        usual = {**SETTINGS, "S3_ENDPOINT_URL": endpoint, "SPOOL_DIR": str(folder / "spool")}
        if "WORKERS" in settings:
            usual["PORT"] = str(free_port())  # One that all of them can have.
        with Program(folder, {**usual, **settings}, descriptors) as program:
            if warm and "S3_ENDPOINT_URL" not in settings:
                self._warm_up(program.port)
            yield Server(program, invariants.at_rest(program, self.proxy.port))

    def _warm_up(self, port: int) -> None:
        """Let the server make everything that it makes once."""
        headers = {"X-Request-Id": "warm-up-request"}
        for size in (1, 9 * MIB):  # The latter goes in parts, whatever the settings of a row.
            path = f"/files/{BUCKET}/warm-up"
            for method, body in (("PUT", bytes(size)), ("GET", None), ("HEAD", None), ("DELETE", None)):
                answer = client.exchange(port, method, path, headers, body)
                assert answer.status in (200, 204), f"{method} without a fault: {answer.status} {answer.detail}"
