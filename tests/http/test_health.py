"""`/healthz` and `/readyz`."""

from __future__ import annotations

import pytest

from s3proxy.errors import StoreBroken, StoreRefused, StoreThrottled, StoreTimeout
from s3proxy.service import Service
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import Call, both
from tests.http.wire import connect


@both
@pytest.mark.gen_test
async def test_a_server_that_can_work_says_so(call: Call) -> None:
    answer = await call("GET", "/healthz")
    assert (answer.status, answer.body) == (200, b'{"status":"alive"}')
    answer = await call("GET", "/readyz")
    assert (answer.status, answer.body) == (200, b'{"status":"ready"}')
    for target in ("/healthz", "/readyz"):
        answer = await call("HEAD", target)
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.gen_test
async def test_life_does_not_depend_on_the_store(call: Call, memory: MemoryStore) -> None:
    assert (await call("GET", "/healthz")).status == 200
    assert not memory.calls


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "fault",
    [
        StoreBroken(reason="ConnectionRefused"),
        StoreTimeout(reason="ConnectTimeout"),
        StoreRefused(reason="InvalidAccessKeyId"),
        StoreThrottled(reason="SlowDown"),
    ],
    ids=lambda fault: fault.reason,
)
async def test_without_a_working_store_a_server_is_not_ready_and_says_why(
    call: Call, faulty: FaultyStore, fault: StoreBroken
) -> None:
    faulty.fail("check", fault)
    answer = await call("GET", "/readyz")
    assert (answer.status, answer.headers["X-Error-Code"]) == (503, fault.code)
    assert fault.reason in answer.detail
    assert "Retry-After" in answer.headers
    assert (await call("GET", "/healthz")).status == 200
    assert (await call("GET", "/readyz")).status == 200


@pytest.mark.gen_test
async def test_a_draining_server_is_alive_and_not_ready_and_ends_its_connections(port: int, service: Service) -> None:
    async with connect(port) as wire:
        await wire.request("GET", "/readyz")
        answer = await wire.answer()
        assert (answer.status, answer.headers.get("Connection")) == (200, None)
        service.traffic.draining = True
        await wire.request("GET", "/readyz")
        answer = await wire.answer()
        assert (answer.status, answer.headers["X-Error-Code"]) == (503, "shutting_down")
        assert (answer.headers["Connection"], answer.headers["Retry-After"]) == ("close", "2")
        await wire.request("GET", "/healthz")
        assert (await wire.answer()).status == 200
