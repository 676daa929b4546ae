"""S20, S21, R2 and R3: a slow store, and resources that are used up."""

from __future__ import annotations

import random
import threading
import time

from tests.faults import kinds
from tests.faults.acts import LARGE, SMALL
from tests.faults.client import Answer, exchange
from tests.faults.program import until
from tests.faults.proxy import ALWAYS, Rule
from tests.faults.row import Omitted, Row
from tests.faults.stage import MIB, Scene

CRAMPED = {"MEMORY_BUDGET_MB": "16", "CLIENT_TIMEOUT_SECONDS": "30", "UPLOAD_MULTIPART_LIMIT_MB": "8"}


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
    """Twenty clients send 4 MiB each but for the last byte, and that one when the others have sent theirs."""
    bodies = [random.Random(n).randbytes(4 * MIB) for n in range(20)]
    connections = [scene.open() for _ in bodies]
    for n, connection in enumerate(connections):
        connection.ask("PUT", scene.path_of(f"many-{n}"), scene.headers(Content_Length=str(4 * MIB)))
    senders = [
        threading.Thread(target=connection.send, args=(body[:-1],))
        for connection, body in zip(connections, bodies, strict=True)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    answers = []
    for n, (connection, body) in enumerate(zip(connections, bodies, strict=True)):
        connection.send(body[-1:])
        answer = connection.answer()
        stored = scene.truth.get(f"many-{n}")
        assert stored == (body if answer.status == 200 else None), f"upload {n}: {answer.status}, but other bytes"
        scene.truth.remove(f"many-{n}")
        answers.append(answer)
    return answers


def spooled(scene: Scene) -> Answer:
    """What memory does not take goes to disk."""
    statuses = [answer.status for answer in many_slow_uploads(scene)]
    assert set(statuses) == {200}, f"{statuses}"
    return scene.put(LARGE)


def overfilled(scene: Scene) -> Answer:
    """What neither takes is told to come again."""
    answers = many_slow_uploads(scene)
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 503}, f"{statuses}"
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


ROWS: tuple[Row, ...] = (
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
        sentence="more slow uploads than memory and disk are told 503",
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

OMITTED: tuple[Omitted, ...] = (
    Omitted(
        "R3",
        "a download while hanging parts hold all memory",
        "it stands in line for memory until their calls time out",
    ),
    Omitted("R1", "descriptors used up", "no cap on connections is built yet"),
    Omitted("R4", "a full disk", "tests/transfer/test_part.py and test_spool.py show it with writes that fail"),
    Omitted("S20", "a limit on waiting requests, 503 over it", "no limit on concurrent transfers is built yet"),
)
