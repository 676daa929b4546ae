"""Downloads from a store that breaks off, falls silent, or holds another object all of a sudden."""

from __future__ import annotations

import random
from asyncio import gather
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from s3proxy.errors import StoreBroken, StoreError, StorePreconditionFailed, StoreThrottled, StoreTimeout
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import KIB, MIB, Bucket, Call
from tests.http.wire import connect, exchange, until

AccessLog = Callable[[], list[Mapping[str, Any]]]

DATA = random.Random(3).randbytes(MIB)

OTHER = random.Random(4).randbytes(MIB)


async def received_before_the_end(port: int, *headers: str) -> tuple[int, bytes]:
    """The length declared, and what came of it before the connection closed."""
    async with connect(port) as wire:
        await wire.request("GET", "/files/photos/k", *headers)
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        return int(lines["Content-Length"]), body


@pytest.mark.gen_test
@pytest.mark.parametrize("fault", [StoreBroken(), StoreTimeout(), StoreThrottled()], ids=lambda fault: fault.code)
async def test_a_stream_that_breaks_ten_times_is_taken_up_at_the_exact_byte(
    call: Call, bucket: Bucket, faulty: FaultyStore, fault: StoreError
) -> None:
    bucket.put("k", DATA)
    offsets = random.Random(5).sample(range(1, MIB), 8)
    for offset in [*offsets, 0, MIB - 1]:
        faulty.break_streams(offset, fault)
    answer = await call("GET", "/files/photos/k")
    assert answer.status == 200
    assert answer.body == DATA
    assert faulty.calls["open"] > len(offsets) + 2


@pytest.mark.gen_test
async def test_a_range_is_taken_up_at_the_exact_byte(call: Call, bucket: Bucket, faulty: FaultyStore) -> None:
    bucket.put("k", DATA)
    for offset in (100_000, 100_001, 500_000):
        faulty.break_streams(offset)
    answer = await call("GET", "/files/photos/k", headers={"Range": "bytes=99999-600000"})
    assert (answer.status, answer.body) == (206, DATA[99_999:600_001])


@pytest.mark.gen_test
async def test_ranges_side_by_side_come_in_order_also_when_they_break(
    call: Call, bucket: Bucket, faulty: FaultyStore
) -> None:
    bucket.put("k", DATA * 4)
    faulty.seconds["read"] = 0.001  # Slower than the client, so that the window opens.
    for offset in random.Random(6).sample(range(1, 4 * MIB), 10):
        faulty.break_streams(offset)
    answer = await call("GET", "/files/photos/k")
    assert answer.body == DATA * 4
    assert faulty.calls["open"] > 20


@pytest.mark.gen_test
@pytest.mark.shape(resumes=2)
async def test_a_store_that_stays_broken_ends_the_download_short_and_never_cleanly(
    port: int, bucket: Bucket, faulty: FaultyStore, access_log: AccessLog
) -> None:
    bucket.put("k", DATA)
    faulty.break_streams(300 * KIB, times=99)
    length, body = await received_before_the_end(port)
    assert length == MIB
    assert body == DATA[: 300 * KIB]
    await until(lambda: len(access_log()) == 1)
    assert access_log()[0]["outcome"] == "store_broken"


@pytest.mark.gen_test
@pytest.mark.shape(resumes=2)
@pytest.mark.parametrize(("fault", "status"), [(StoreBroken(), 502), (StoreTimeout(), 504), (StoreThrottled(), 503)])
async def test_a_fault_before_the_first_byte_still_has_its_status(
    call: Call, bucket: Bucket, faulty: FaultyStore, fault: StoreError, status: int
) -> None:
    bucket.put("k", DATA)
    faulty.break_streams(0, fault, times=99)
    answer = await call("GET", "/files/photos/k")
    assert (answer.status, answer.headers["X-Error-Code"]) == (status, fault.code)
    assert "ETag" not in answer.headers


@pytest.mark.gen_test
@pytest.mark.parametrize("change", ["replaced", "removed"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_an_object_that_changes_midway_ends_the_download_short_and_unmixed(
    port: int,
    bucket: Bucket,
    memory: MemoryStore,
    faulty: FaultyStore,
    access_log: AccessLog,
    change: str,
    version: str,
) -> None:
    bucket.put("k", DATA)
    gate = faulty.hang_streams(300 * KIB)
    async with connect(port) as wire:
        await wire.request("GET", "/files/photos/k", version=version)
        await gate.reached.wait()
        if change == "replaced":
            bucket.put("k", OTHER)
        else:
            memory.objects.clear()
        faulty.break_streams(400 * KIB)
        gate.open()
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
    assert b"Content-Length: 1048576" in head
    assert b"chunked" not in head
    assert len(body) < MIB
    assert DATA.startswith(body)
    await until(lambda: len(access_log()) == 1)
    assert access_log()[0]["outcome"] == "object_changed"


@pytest.mark.gen_test
async def test_an_object_that_changes_between_the_look_and_the_read_is_read_anew(
    call: Call, bucket: Bucket, faulty: FaultyStore
) -> None:
    bucket.put("k", b"old")
    gate = faulty.hang("open")

    async def change() -> None:
        await gate.reached.wait()
        bucket.put("k", b"changed")
        gate.open()

    answer, _ = await gather(call("GET", "/files/photos/k", headers={"If-Match": "*"}), change())
    assert (answer.status, answer.body) == (200, b"changed")


@pytest.mark.gen_test
async def test_an_object_that_never_holds_still_is_502(call: Call, bucket: Bucket, faulty: FaultyStore) -> None:
    bucket.put("k", b"old")
    faulty.fail("open", StorePreconditionFailed(), times=99)
    answer = await call("GET", "/files/photos/k", headers={"If-Match": "*"})
    assert (answer.status, answer.headers["X-Error-Code"]) == (502, "object_changed")


@pytest.mark.gen_test
async def test_an_object_removed_between_the_refusal_of_a_range_and_the_look_is_404(
    port: int, bucket: Bucket, faulty: FaultyStore, memory: MemoryStore
) -> None:
    bucket.put("k", b"old")
    gate = faulty.hang("head")

    async def remove() -> None:
        await gate.reached.wait()
        memory.objects.clear()
        gate.open()

    answer, _ = await gather(exchange(port, "GET", "/files/photos/k", "Range: bytes=9-"), remove())
    assert answer.status == 404
