"""What must hold after every row, whatever it was: I1 to I6 of the catalogue.

I1 the key holds the whole new object, the whole old one, or none. I2 a 2xx means that the new one is there, equal in
SHA-256. I3 no multipart upload is left. I4 no thread is busy with the store, no client connection or spool file is
left open, descriptors and memory are as before. I5 no secret is in the log, nor the store's words in an answer; the
log has one record for every request, and no stack trace. I6 the next request on another connection is answered 200.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults import client
from tests.faults.client import Answer
from tests.faults.kinds import S3_TEXT
from tests.faults.program import SECRETS, Program, descriptors_of, memory_of, threads_of, until
from tests.faults.proxy import Record
from tests.faults.row import Row

if TYPE_CHECKING:
    from tests.faults.stage import Scene

MIB = 1024 * 1024

OLD = b"the old object, whole" * 1000

LOGGED_SECONDS = 5.0
"""Within these after the row every request of it is over and logged."""

UNDONE_SECONDS = 10.0
"""Within these after the row nothing of it may be left."""

SPARE_THREADS = 24
"""Threads beside the three pools: the main one, asyncio's own pool, the name resolver's."""

MOST_RECORDS = 3
"""Log records of one request, its outcome and what went wrong."""

SPARE_MEMORY = 160 * MIB
"""Resident bytes beside the budget: the interpreter with its libraries, and what the allocator keeps."""


@dataclass(frozen=True, slots=True)
class Rest:
    """A server at rest: its other descriptors, and its bounds."""

    store_port: int
    others: int
    threads: int
    memory: int


def at_rest(program: Program, store_port: int) -> Rest:
    """Look at a server that has been warmed up and has nothing to do."""
    until(lambda: all(descriptors_of(pid, program.port, store_port).clients == 0 for pid in program.workers), 5)
    others = max(descriptors_of(pid, program.port, store_port).others for pid in program.workers)
    settings = program.settings
    threads = 3 * int(settings["S3_THREADS"]) + SPARE_THREADS
    return Rest(store_port, others, threads, int(settings["MEMORY_BUDGET_MB"]) * MIB + SPARE_MEMORY)


def digest(data: bytes | memoryview) -> str:
    """SHA-256, by which objects are compared."""
    return hashlib.sha256(data).hexdigest()


def object_after(scene: Scene) -> str:
    """`new`, `old`, `absent`, or something that must never be."""
    data = scene.truth.get(scene.key)
    if data is None:
        return "absent"
    if digest(data) == digest(scene.new):
        return "new"
    return "old" if digest(data) == digest(OLD) else f"{len(data)} other bytes"


def uploads_left(scene: Scene, start: int) -> int:
    """Wait until the requests are over and no more multipart uploads are open than may be; how many there are."""
    for identity in scene.ids:
        _is_logged(scene, identity, start)
    found: list[int] = []

    def settled() -> bool:
        found.append(len(scene.truth.uploads()))
        return found[-1] <= scene.row.left and scene.proxy.in_flight == 0

    until(settled, UNDONE_SECONDS)
    return found[-1]


def answered_right(row: Row, answer: Answer | None, record: Record) -> list[str]:
    """What is wrong with the answer itself, and with the calls made for it."""
    faults = []
    if answer is not None:
        if answer.status not in row.statuses:
            faults.append(f"status {answer.status} {answer.code} {answer.detail!r}, not {row.statuses}")
        if answer.status >= 400 and not (answer.detail and answer.code and answer.headers.get("x-request-id")):
            faults.append("an error without detail, code or request id")
        if row.retry_after and "retry-after" not in answer.headers:
            faults.append("no Retry-After")
        if S3_TEXT.encode() in answer.body or any(secret.encode() in answer.body for secret in SECRETS.values()):
            faults.append("I5: the answer holds words of the store or a secret")
    if row.silent and record.targets:
        faults.append(f"the store was asked, and should not have been: {record.targets}")
    for operation, count in row.calls.items():
        if record.calls[operation] != count:
            faults.append(f"{operation} was called {record.calls[operation]} times, not {count}")
    return faults


def check(scene: Scene, answer: Answer | None, after: str, uploads: int, start: int) -> list[str]:
    """All that the invariants find wrong; `start` is where the row begins in the server's output."""
    faults = []
    if after not in scene.row.after:
        faults.append(f"I1: the key holds {after}, not {' or '.join(scene.row.after)}")
    if answer is not None and 200 <= answer.status < 300 and scene.new and after != "new":
        faults.append(f"I2: the client read {answer.status}, but the key holds {after}")
    if uploads > scene.row.left:
        faults.append(f"I3: {uploads} multipart uploads are open")
    if scene.server.program.process.poll() is None:
        faults += _at_rest_again(scene)
    faults += _logged_right(scene, start)
    if scene.server.program.process.poll() is None:
        faults += _next_is_answered(scene)
    return faults


def _at_rest_again(scene: Scene) -> list[str]:
    program, rest = scene.server.program, scene.server.rest

    def restless() -> Iterator[str]:
        if scene.proxy.in_flight:
            yield f"{scene.proxy.in_flight} calls to the store are under way"
        for pid in program.workers:
            with suppress(FileNotFoundError, ProcessLookupError):
                found = descriptors_of(pid, program.port, rest.store_port)
                if found.clients or found.nameless or found.others > rest.others:
                    yield f"descriptors: {found}, before {rest.others} others"
                if found.store > 3 * rest.threads:
                    yield f"{found.store} connections to the store"
                if (threads := threads_of(pid)) > rest.threads:
                    yield f"{threads} threads"
                if (memory := memory_of(pid)) > rest.memory:
                    yield f"{memory // MIB} MiB resident"

    until(lambda: not list(restless()), UNDONE_SECONDS)
    return [f"I4: {fault}" for fault in restless()]


def _outcomes(scene: Scene, identity: str, start: int) -> int:
    records = scene.server.program.records(start)
    return sum(row["message"] == "request" and row.get("request_id") == identity for row in records)


def _is_logged(scene: Scene, identity: str, start: int) -> bool:
    """Wait for the outcome of a request in the log; at once when the process has ended."""
    patience = 0 if scene.server.program.process.poll() is not None else LOGGED_SECONDS
    return until(lambda: _outcomes(scene, identity, start), patience)


def _logged_right(scene: Scene, start: int) -> list[str]:
    program = scene.server.program
    faults = []
    for identity in scene.ids:
        if not _is_logged(scene, identity, start):
            faults.append(f"I5: no log record of request {identity}")
        elif (outcomes := _outcomes(scene, identity, start)) > 1:
            faults.append(f"I5: {outcomes} outcomes of request {identity} are logged")
        if (lines := sum(row.get("request_id") == identity for row in program.records(start))) > MOST_RECORDS:
            faults.append(f"I5: {lines} log records of request {identity}")
    output = program.output()[start:]
    faults += [f"I5: the log holds {name}" for name, secret in SECRETS.items() if secret in output]
    if "Traceback" in output:
        faults.append("I5: the log holds a stack trace: " + output[output.index("Traceback") :][-400:])
    faults += [
        f"I5: the log holds a 500: {row}"
        for row in program.records(start)
        if row["message"] == "request" and row.get("status") == 500
    ]
    return faults


def _next_is_answered(scene: Scene) -> list[str]:
    stored = "S3_ENDPOINT_URL" not in (scene.row.settings or {})
    target = scene.path_of("sentinel") if stored else "/healthz"
    answer = client.exchange(scene.port, "GET", target, {"X-Request-Id": f"next-{os.getpid()}"})
    return [] if answer.status == 200 else [f"I6: the next request is answered {answer.status} {answer.detail}"]
