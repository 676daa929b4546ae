"""Clients that trickle: given up below the minimum rate, counting only the time they were waited for."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from s3proxy.service import Service
from tests.fakes import FaultyStore
from tests.http.place import KIB, MIB, Bucket
from tests.http.test_backpressure import AccessLog
from tests.http.wire import connect, exchange, until


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.3, client_min_rate=1_000, linger=0.2)
async def test_an_upload_that_trickles_is_told_408(port: int, bucket: Bucket, service: Service) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", f"Content-Length: {MIB}")

        async def trickle() -> None:
            with contextlib.suppress(OSError):
                while True:
                    await wire.send(b"x")
                    await asyncio.sleep(0.05)  # A client that never falls silent.

        trickling = asyncio.create_task(trickle())
        answer = await wire.answer()
        trickling.cancel()
        assert (answer.status, answer.headers["X-Error-Code"]) == (408, "request_timeout")
        assert answer.detail == "The data arrived too slowly. Nothing was stored."
    await until(lambda: len(service.traffic) == 0)
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.3, client_min_rate=1_000)
async def test_the_last_bytes_of_a_slow_body_are_taken(port: int, bucket: Bucket) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", "Content-Length: 3")
        for _ in range(3):
            await asyncio.sleep(0.11)  # Together more than the window.
            await wire.send(b"x")
        assert (await wire.answer()).status == 200
    assert bucket.data("k") == b"xxx"


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.1, client_min_rate=100 * MIB, window=1)
async def test_time_spent_on_the_store_is_not_the_clients(port: int, bucket: Bucket, faulty: FaultyStore) -> None:
    faulty.seconds["create_upload"] = faulty.seconds["put_part"] = 0.2
    answer = await exchange(port, "PUT", "/files/photos/k", body=bytes(300 * KIB))
    assert answer.status == 200


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.5, client_min_rate=10 * MIB)
async def test_a_download_that_trickles_is_broken_off(port: int, bucket: Bucket, access_log: AccessLog) -> None:
    bucket.put("k", bytes(20 * MIB))
    async with connect(port, receive_buffer=16 * KIB) as wire:
        await wire.request("GET", "/files/photos/k")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not access_log():
                await wire.read(16 * KIB)
                await asyncio.sleep(0.02)  # A client that never stops reading.
    assert access_log()[0]["outcome"] == "request_timeout"


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.1, client_min_rate=100 * MIB)
async def test_a_download_from_a_slow_store_is_not_the_clients_fault(
    port: int, bucket: Bucket, faulty: FaultyStore
) -> None:
    bucket.put("k", bytes(100 * KIB))
    faulty.seconds["read"] = 0.1
    answer = await exchange(port, "GET", "/files/photos/k")
    assert (answer.status, len(answer.body)) == (200, 100 * KIB)
