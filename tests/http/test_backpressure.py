"""Bytes wait where they come from: in the client when the store is slow, in the store when the client is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from s3proxy.service import Service
from s3proxy.transfer.budget import MemoryBudget
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import KIB, MIB, Bucket
from tests.http.wire import connect, exchange, until

AccessLog = Callable[[], list[Mapping[str, Any]]]

LARGE = 64 * MIB
"""More than the kernel buffers between client and server."""


@pytest.mark.gen_test
async def test_an_upload_is_not_read_while_the_store_stands_still(
    port: int, bucket: Bucket, faulty: FaultyStore, budget: MemoryBudget
) -> None:
    gate = faulty.hang("put_part", times=10_000)
    sent = 0

    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", f"Content-Length: {LARGE}")

        async def send() -> None:
            nonlocal sent
            for _ in range(LARGE // (64 * KIB)):
                await wire.send(bytes(64 * KIB))
                sent += 64 * KIB

        sending = asyncio.create_task(send())
        # The window and the part being filled, and not a byte more.
        await until(lambda: budget.granted == 3 * 64 * KIB)
        before = -1
        while before != sent:
            before = sent
            for _ in range(100):
                await asyncio.sleep(0)
        assert faulty.calls["put_part"] == 2
        assert budget.granted == 3 * 64 * KIB
        assert not sending.done()
        assert sent < LARGE // 2
        gate.open()
        await sending
        assert (await wire.answer()).status == 200
    assert bucket.data("k") == bytes(LARGE)


@pytest.mark.gen_test
@pytest.mark.shape(budget=MIB)
async def test_many_uploads_stay_within_the_budget_and_all_arrive(
    port: int, bucket: Bucket, faulty: FaultyStore, budget: MemoryBudget
) -> None:
    faulty.seconds["put_part"] = 0.002
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, budget.granted)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    bodies = {f"k{number}": random.Random(number).randbytes(500 * KIB) for number in range(30)}
    answers = await asyncio.gather(
        *(exchange(port, "PUT", f"/files/photos/{key}", body=body) for key, body in bodies.items())
    )
    watching.cancel()
    assert {answer.status for answer in answers} == {200}
    assert {key: bucket.data(key) for key in bodies} == bodies
    assert MIB // 2 < peak <= MIB


@pytest.mark.gen_test
@pytest.mark.shape(budget=MIB)
async def test_clients_that_trickle_do_not_starve_one_that_is_fast(
    port: int, bucket: Bucket, budget: MemoryBudget
) -> None:
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connect(port)) for _ in range(40)]
        for number, wire in enumerate(slow):
            await wire.request("PUT", f"/files/photos/slow{number}", f"Content-Length: {60 * KIB}", body=b"x" * 1000)
        await until(lambda: budget.waiting > 0 or budget.granted > MIB - 64 * KIB)
        answer = await exchange(port, "PUT", "/files/photos/fast", body=bytes(2 * MIB))
        assert answer.status == 200
        assert bucket.data("fast") == bytes(2 * MIB)
        for wire in slow:
            await wire.send(b"y" * (60 * KIB - 1000))
        for wire in slow:
            assert (await wire.answer()).status == 200
    for number in range(40):
        assert bucket.data(f"slow{number}") == b"x" * 1000 + b"y" * (60 * KIB - 1000)


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.5)
@pytest.mark.parametrize("headers", [[], [f"Range: bytes=1-{LARGE - 1}"]])
async def test_a_client_that_does_not_read_costs_little_and_is_given_up(
    port: int,
    bucket: Bucket,
    memory: MemoryStore,
    budget: MemoryBudget,
    service: Service,
    access_log: AccessLog,
    headers: list[str],
) -> None:
    bucket.put("k", bytes(LARGE))
    async with connect(port, receive_buffer=4096) as wire:
        wire.stop_reading()
        await wire.request("GET", "/files/photos/k", *headers)
        await until(lambda: budget.granted > 0)
        peak = 0

        def given_up() -> bool:
            nonlocal peak
            peak = max(peak, budget.granted)
            return bool(access_log())

        await until(given_up)
        assert peak <= MIB
        assert memory.calls["read"] * 16 * KIB < LARGE // 4
        await until(lambda: len(service.traffic) == memory.open_streams == budget.granted == 0)
    assert access_log()[0]["outcome"] == "request_timeout"


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.8)
async def test_a_client_that_reads_slowly_is_left_alone(port: int, bucket: Bucket) -> None:
    data = random.Random(1).randbytes(6 * MIB)
    bucket.put("k", data)
    async with connect(port, receive_buffer=64 * KIB) as wire:
        await wire.request("GET", "/files/photos/k")
        head = await wire.read_until(b"\r\n\r\n")
        received = bytearray()
        while len(received) < len(data):
            received += await wire.read(64 * KIB)
            await asyncio.sleep(0.02)  # A client that takes its time: more than twice the timeout in all.
    assert b" 200 " in head
    assert received == data
