"""S20, S21 and R1 to R4: a slow store, and resources that are used up."""

from __future__ import annotations

import os
import random
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults import kinds
from tests.faults.acts import CRASH, LARGE, SMALL
from tests.faults.client import Answer, exchange
from tests.faults.program import until
from tests.faults.proxy import ALWAYS, Rule
from tests.faults.row import Row
from tests.faults.stage import MIB, Scene

CRAMPED = {"MEMORY_BUDGET_MB": "16", "CLIENT_TIMEOUT_SECONDS": "30", "UPLOAD_MULTIPART_LIMIT_MB": "8"}

HELD_SECONDS = 5.0
"""How long slow uploads hold what they have, so that memory runs out."""


def slow_everywhere(scene: Scene) -> Answer:
    """Everything at the store takes its time; the process itself must not."""
    answers: list[Answer] = []
    headers = [scene.headers() for _ in range(10)]
    others = [
        threading.Thread(
            target=lambda n=n: answers.append(exchange(scene.port, "PUT", scene.path_of(f"slow-{n}"), headers[n], b"x"))
        )
        for n in range(10)
    ]
    for other in others:
        other.start()
    times = []
    for _ in range(50):
        started = time.monotonic()
        assert scene.alive().status == 200, "/healthz"
        times.append(time.monotonic() - started)
    for other in others:
        other.join()
    assert sorted(times)[-2] < 0.1, f"/healthz took {max(times):.3f} s"
    assert [answer.status for answer in answers] == [200] * 10, "the slow ones"
    for n in range(10):
        scene.truth.remove(f"slow-{n}")
    return scene.put(SMALL)


def quota_spent(scene: Scene) -> Answer:
    """Failures until boto3 has no retries left, then a store that works again."""
    scene.proxy.install([Rule("put", kinds.error(500, "InternalError"), ALWAYS)])
    headers = [scene.headers() for _ in range(64)]
    statuses: list[int] = []

    def fail(start: int) -> None:
        for n in range(start, 64, 8):
            answer = exchange(scene.port, "PUT", scene.path_of(f"quota-{n}"), headers[n], b"x" * 200_000)
            statuses.append(answer.status)

    workers = [threading.Thread(target=fail, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(statuses) == {502}, f"{statuses}"
    started = time.monotonic()
    assert scene.put(200_000).status == 502
    assert time.monotonic() - started < 5, "no fast failure when the quota is spent"
    scene.proxy.heal()
    return scene.put(200_000)


def many_slow_uploads(scene: Scene) -> list[Answer]:
    """Twenty clients send 4 MiB each but for the last byte, and that one when the others have sent what is taken."""
    bodies = [random.Random(n).randbytes(4 * MIB) for n in range(20)]
    connections = [scene.open() for _ in bodies]
    headers = [scene.headers(Content_Length=str(4 * MIB)) for _ in bodies]
    answers: dict[int, Answer] = {}
    go_on = threading.Event()

    def upload(n: int) -> None:
        connections[n].ask("PUT", scene.path_of(f"many-{n}"), headers[n])
        connections[n].send(bodies[n][:-1])  # Which may take until others are done.
        go_on.wait()
        connections[n].send(bodies[n][-1:])
        answers[n] = connections[n].answer()

    uploads = [threading.Thread(target=upload, args=(n,)) for n in range(20)]
    for each in uploads:
        each.start()
    time.sleep(HELD_SECONDS)
    go_on.set()
    for each in uploads:
        each.join()
    for n, body in enumerate(bodies):
        stored = scene.truth.get(f"many-{n}")
        assert stored == (body if answers[n].status == 200 else None), f"upload {n}: {answers[n].status}, other bytes"
        scene.truth.remove(f"many-{n}")
    return list(answers.values())


def spooled(scene: Scene) -> Answer:
    """What memory does not take goes to disk."""
    statuses = [answer.status for answer in many_slow_uploads(scene)]
    assert set(statuses) == {200}, f"{statuses}"
    return scene.put(LARGE)


def overfilled(scene: Scene) -> Answer:
    """What neither takes waits for the others, and is told to come again when that takes too long."""
    answers = many_slow_uploads(scene)
    statuses = [answer.status for answer in answers]
    assert 200 in statuses, f"{statuses}"
    assert set(statuses) <= {200, 503}, f"{statuses}"
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 503), "no Retry-After"
    return scene.put(LARGE)


def pool_hangs(scene: Scene) -> Answer:
    """Uploads hang in every thread that sends; downloads and the health check go on."""
    headers = [scene.headers() for _ in range(12)]
    answers: list[Answer] = []

    def store(n: int) -> None:
        answers.append(exchange(scene.port, "PUT", scene.path_of(f"hung-{n}"), headers[n], bytes(2 * MIB)))

    threads = [threading.Thread(target=store, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    try:
        assert until(lambda: scene.proxy.record.injected.total() >= 8, 10), "every sending thread hangs"
        for target in ("/healthz", scene.path_of("sentinel"), scene.path_of("sentinel")):
            started = time.monotonic()
            assert scene.request("GET", target).status == 200, target
            assert time.monotonic() - started < 1.5, f"{target} took {time.monotonic() - started:.1f} s"
        assert scene.put(SMALL).status == 200, "a small upload"
    finally:
        for thread in threads:
            thread.join()
    assert {answer.status for answer in answers} == {504}, f"{[answer.status for answer in answers]}"
    scene.proxy.heal()
    return scene.put(LARGE)


def more_than_allowed(scene: Scene) -> Answer:
    """Twelve uploads at a slow store where four may be under way."""
    started = threading.Barrier(12)
    headers = [scene.headers() for _ in range(12)]
    answers: list[tuple[float, Answer]] = []

    def store(n: int) -> None:
        started.wait()
        began = time.monotonic()
        answer = exchange(scene.port, "PUT", scene.path_of(f"many-{n}"), headers[n], b"x")
        answers.append((time.monotonic() - began, answer))

    threads = [threading.Thread(target=store, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    assert scene.alive().status == 200, "/healthz"
    for thread in threads:
        thread.join()
    refused = [(seconds, answer) for seconds, answer in answers if answer.status == 503]
    assert sorted(answer.status for _, answer in answers) == [200] * 4 + [503] * 8, f"{answers}"
    assert all("retry-after" in answer.headers for _, answer in refused), "no Retry-After"
    assert max(seconds for seconds, _ in refused) < 1, "a refusal waited for the store"
    for n in range(12):
        scene.truth.remove(f"many-{n}")
    return scene.put(SMALL)


def memory_hangs(scene: Scene) -> Answer:
    """Parts that hang hold all memory; a download stands in line until their calls time out, and is served."""
    connections = [scene.begin_put(LARGE, LARGE - 1) for _ in range(2)]
    assert until(lambda: scene.proxy.record.injected.total() >= 3, 10), "parts hang"
    assert scene.request("GET", scene.path_of("sentinel")).status == 200, "a download"
    for connection in connections:
        assert connection.answer().status == 504, "the upload"
    scene.proxy.heal()
    return scene.put(LARGE)


def crowded(most: int) -> Callable[[Scene], Answer]:
    """Clients open more connections than the process takes; it costs no processor, no log, and it recovers."""

    def act(scene: Scene) -> Answer:
        pid = scene.server.program.workers[0]
        used, logged, started = _processor_seconds(pid), len(scene.server.program.output()), time.monotonic()
        crowd = [scene.open() for _ in range(3 * most)]
        for connection in crowd:
            connection.ask("GET", "/healthz", {})
        statuses = [connection.answer().status for connection in crowd]
        assert statuses.count(200) == most, f"{statuses.count(200)} of {len(crowd)} were served, not {most}"
        assert set(statuses) == {200, 0}, f"{statuses}"
        assert until(lambda: time.monotonic() - started > 1.5, 2)
        share = (_processor_seconds(pid) - used) / (time.monotonic() - started)
        assert share < 0.2, f"{share:.0%} of a processor"
        lines = scene.server.program.output()[logged:].count("\n") - most
        assert lines < 10, f"{lines} more log lines than requests"
        for connection in crowd:
            connection.socket.close()
        assert until(lambda: exchange(scene.port, "GET", "/healthz", {}).status == 200, 5), "it does not recover"
        return scene.put(LARGE)

    return act


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk_full(scene: Scene) -> Answer:
    """The disk takes no more when slow uploads are spooled: they stay in memory, or are told to come again."""
    pid = scene.server.program.workers[0]
    # A limit of the kernel's on the size of files stands for the disk.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (MIB, MIB))
    statuses = [answer.status for answer in many_slow_uploads(scene)]
    assert 200 in statuses, f"{statuses}"
    assert set(statuses) <= {200, 503}, f"{statuses}"
    return scene.put(LARGE)


def log_unread(scene: Scene) -> Answer:
    """The disk takes no log line: requests go on."""
    pid = scene.server.program.workers[0]
    size = len(scene.server.program.output().encode())
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    for _ in range(3):
        assert exchange(scene.port, "PUT", scene.path_of("unlogged"), {}, b"x").status == 200, "without a log"
    scene.truth.remove("unlogged")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    return scene.put(LARGE)


ROWS: tuple[Row, ...] = (
    Row(
        number="S20",
        sentence="more transfers than may be under way are told 503 at once",
        act=more_than_allowed,
        rules=(Rule("put", kinds.delay(1.5), ALWAYS),),
        fault="12 uploads where 4 may be, store 1.5 s late",
        settings={"MAX_TRANSFERS": "4"},
    ),
    Row(
        number="R1",
        sentence="more connections than allowed are closed at once and cost nothing",
        act=crowded(20),
        fault="60 connections where 20 may be",
        settings={"MAX_CONNECTIONS": "20", "KEEPALIVE_TIMEOUT_SECONDS": "10"},
    ),
    Row(
        number="R1",
        sentence="a process with few descriptors takes as many connections as leave it some",
        act=crowded(64),
        fault="192 connections, ulimit -n 128",
        settings={"KEEPALIVE_TIMEOUT_SECONDS": "10"},
        descriptors=128,
    ),
    Row(
        number="R3",
        sentence="a download while hanging parts hold all memory waits for them to time out",
        act=memory_hangs,
        rules=(Rule("part", kinds.hang(), ALWAYS),),
        settings={"MEMORY_BUDGET_MB": "16", "SPOOL_LIMIT_MB": "0", "CLIENT_TIMEOUT_SECONDS": "30"},
        seconds=3 * CRASH,
    ),
    Row(
        number="R4",
        sentence="a full disk leaves uploads in memory or tells them 503",
        act=disk_full,
        fault="20 x 4 MiB, memory for 16 MiB, disk full",
        settings=CRAMPED,
        seconds=120,
    ),
    Row(
        number="R4",
        sentence="a disk that takes no log stops no request",
        act=log_unread,
        fault="log cannot be written",
        settings={},
    ),
    Row(
        number="S20",
        sentence="a slow store does not slow the process down",
        act=slow_everywhere,
        rules=(Rule(None, kinds.delay(1), ALWAYS),),
    ),
    Row(
        number="S21",
        sentence="a spent retry quota fails fast and recovers",
        act=quota_spent,
        fault="put: 500 InternalError, 64 times",
        seconds=90,
    ),
    Row(
        number="R2",
        sentence="more slow uploads than memory go to disk",
        act=spooled,
        fault="20 x 4 MiB, memory for 16 MiB",
        settings=CRAMPED,
        seconds=60,
    ),
    Row(
        number="R2",
        sentence="more slow uploads than memory and disk wait, or are told 503",
        act=overfilled,
        fault="20 x 4 MiB, memory for 16 MiB, disk for 24",
        settings={**CRAMPED, "SPOOL_LIMIT_MB": "24"},
        seconds=120,
    ),
    Row(
        number="R3",
        sentence="downloads go on while every sending thread hangs",
        act=pool_hangs,
        rules=(Rule("part", kinds.hang(), ALWAYS),),
        seconds=60,
    ),
)
