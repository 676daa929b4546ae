"""More transfers, and more connections, than a process takes."""

from __future__ import annotations

import asyncio
import logging
import resource
from contextlib import AsyncExitStack

import pytest

from s3proxy.handlers.front import FrontServer
from s3proxy.service import Service
from server import OTHER_DESCRIPTORS, room_for
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import Bucket, Call
from tests.http.wire import connect, until


@pytest.mark.gen_test
@pytest.mark.shape(max_transfers=2)
async def test_one_transfer_too_many_is_told_to_come_again(
    port: int, call: Call, bucket: Bucket, service: Service, memory: MemoryStore
) -> None:
    bucket.put("there", b"data")
    async with connect(port) as one, connect(port) as two:
        for wire, key in ((one, "one"), (two, "two")):
            await wire.request("PUT", f"/files/photos/{key}", "Content-Length: 4", body=b"ab")
        await until(lambda: service.traffic.transfers == 2)
        memory.calls.clear()
        for method, target in (("GET", "/files/photos/there"), ("PUT", "/files/photos/k"), ("POST", "/files")):
            answer = await call(method, target, body=None if method == "GET" else b"data")
            assert (answer.status, answer.headers["X-Error-Code"]) == (503, "busy")
            assert int(answer.headers["Retry-After"]) > 0
        assert not memory.calls
        # What moves no object is served.
        assert (await call("GET", "/healthz")).status == 200
        assert (await call("GET", "/readyz")).status == 200
        assert (await call("HEAD", "/files/photos/there")).status == 200
        assert (await call("GET", "/files/photos/")).status == 200
        for wire in (one, two):
            await wire.send(b"cd")
            assert (await wire.answer()).status == 200
    assert (await call("GET", "/files/photos/there")).body == b"data"
    await until(lambda: service.traffic.transfers == 0)


@pytest.mark.gen_test
@pytest.mark.shape(max_transfers=1)
async def test_a_client_that_leaves_makes_room(
    port: int, call: Call, bucket: Bucket, service: Service, faulty: FaultyStore
) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", "Content-Length: 4", body=b"ab")
        await until(lambda: service.traffic.transfers == 1)
        wire.reset()
        await until(lambda: service.traffic.transfers == 0)
    assert (await call("PUT", "/files/photos/k", body=b"data")).status == 200


@pytest.mark.gen_test
async def test_connections_beyond_the_limit_are_closed_at_once(
    port: int, http_server: FrontServer, caplog: pytest.LogCaptureFixture
) -> None:
    http_server.max_connections = 3
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(connect(port)) for _ in range(3)]
        await until(lambda: http_server.connections == 3)
        tasks = len(asyncio.all_tasks())
        for _ in range(20):
            async with connect(port) as refused:
                assert await refused.rest() == b""
        assert http_server.connections == 3
        assert http_server.refused == 20
        assert len(asyncio.all_tasks()) <= tasks
        lines = [record for record in caplog.records if record.getMessage() == "too many connections"]
        assert 1 <= len(lines) <= 2
        assert lines[0].levelno == logging.WARNING
        await wires[0].request("GET", "/healthz")
        assert (await wires[0].answer()).status == 200
        wires[0].close()
        await until(lambda: http_server.connections == 2)
        async with connect(port) as wire:
            await wire.request("GET", "/healthz")
            assert (await wire.answer()).status == 200
    await until(lambda: http_server.connections == 0)


@pytest.mark.parametrize(
    ("limits", "connections", "room"),
    [
        ((1_024, 1_024), 5_000, 1_024 - OTHER_DESCRIPTORS),
        ((128, 128), 5_000, 64),
        ((1_024, 100_000), 5_000, 5_000),
        ((1_024, -1), 5_000, 5_000),
        ((-1, -1), 5_000, 5_000),
        ((100_000, 100_000), 10, 10),
    ],
)
def test_the_system_may_allow_fewer_connections(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], connections: int, room: int
) -> None:
    raised = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, to: raised.append(to))
    assert room_for(connections) == room
    assert raised in ([], [(connections + OTHER_DESCRIPTORS, limits[1])])
