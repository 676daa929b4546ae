"""A refusal in mid-body still reaches the client, and costs the server a bounded time and number of bytes."""

from __future__ import annotations

import asyncio

import pytest

from s3proxy.errors import StoreBroken, StoreRefused
from s3proxy.handlers import body as body_handler
from s3proxy.service import Service
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import KIB, MIB, Bucket
from tests.http.wire import FORM_TYPE, File, Wire, chunked, connect, exchange, form, until

LARGE = 64 * MIB
"""More than the kernel buffers between client and server."""


@pytest.mark.gen_test
@pytest.mark.shape(max_object_size=MIB)
async def test_the_answer_is_there_while_the_client_still_sends(port: int, bucket: Bucket) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", "Transfer-Encoding: chunked")
        await wire.send(chunked(bytes(2 * MIB), MIB).removesuffix(b"0\r\n\r\n"))
        answer = await wire.answer()
        assert (answer.status, answer.headers["Connection"]) == (413, "close")
        await wire.send(chunked(bytes(4 * MIB), MIB))
        assert await wire.rest() == b""
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.parametrize("target", ["/files/no-such-bucket/k", "/files/photos/a/../b", "/files/photos", "/nothing"])
async def test_a_client_that_reads_only_after_sending_all_gets_its_answer(port: int, target: str) -> None:
    for _ in range(5):
        answer = await exchange(port, "PUT", target, body=bytes(LARGE // 4))
        assert answer.status in (400, 404, 405)


@pytest.mark.gen_test
async def test_a_fault_of_the_store_reaches_a_client_in_mid_body(port: int, faulty: FaultyStore) -> None:
    faulty.fail("put_part", StoreBroken(), nth=3)
    answer = await exchange(port, "PUT", "/files/photos/k", body=bytes(LARGE))
    assert (answer.status, answer.headers["X-Error-Code"]) == (502, "store_broken")


@pytest.mark.gen_test
async def test_a_fault_of_the_store_reaches_a_form_in_mid_file(port: int, faulty: FaultyStore) -> None:
    faulty.fail("put_part", StoreRefused(reason="AccessDenied"), nth=3)
    body = form(("bucket_name", "photos"), ("object_name", "k"), File(bytes(LARGE)))
    answer = await exchange(port, "POST", "/files", FORM_TYPE, body=body)
    assert (answer.status, answer.detail) == (400, "Unable to upload file to S3 AccessDenied")


@pytest.mark.gen_test
@pytest.mark.shape(linger=0.3, client_timeout=0.1)
async def test_lingering_ends_after_its_time_and_gives_one_answer(port: int, service: Service) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/no-such-bucket/k", f"Content-Length: {LARGE}")
        assert (await wire.answer()).status == 404
        started = asyncio.get_running_loop().time()
        assert await wire.rest() == b""
        await until(lambda: len(service.traffic) == 0)
        assert 0.2 < asyncio.get_running_loop().time() - started < 5


async def _trickle(wire: Wire) -> None:
    """Send little, for ever."""
    while True:
        await wire.send(b"1\r\nx\r\n")
        await asyncio.sleep(0.01)


@pytest.mark.gen_test
@pytest.mark.shape(linger=0.3)
async def test_lingering_ends_after_its_time_also_while_the_client_sends(port: int) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/..", "Transfer-Encoding: chunked")
        assert (await wire.answer()).status == 400
        started = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionError):
            await _trickle(wire)
        assert 0.2 < asyncio.get_running_loop().time() - started < 5


@pytest.mark.gen_test
@pytest.mark.shape(linger=60.0)
async def test_lingering_ends_after_so_many_bytes(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_handler, "LINGER_SIZE", MIB)
    async with connect(port) as wire:
        await wire.request("PUT", "/files/no-such-bucket/k", f"Content-Length: {LARGE}")
        assert (await wire.answer()).status == 404
        with pytest.raises(ConnectionError):
            await wire.send(*(bytes(MIB) for _ in range(LARGE // MIB)))


@pytest.mark.gen_test
async def test_nothing_more_is_served_on_the_connection(port: int) -> None:
    refused = b"PUT /files/photos/.. HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello"
    async with connect(port) as wire:
        await wire.send(refused + b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
        assert (await wire.answer()).status == 400
        assert await wire.rest() == b""


@pytest.mark.gen_test
@pytest.mark.shape(max_object_size=MIB)
async def test_a_declared_length_over_the_limit_is_413_without_a_call_to_the_store(
    port: int, memory: MemoryStore
) -> None:
    answer = await exchange(port, "PUT", "/files/photos/k", f"Content-Length: {MIB + 1}", body=b"the beginning")
    assert (answer.status, answer.headers["X-Error-Code"]) == (413, "too_large")
    assert not memory.calls


@pytest.mark.gen_test
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_body_that_is_not_expected_is_400(port: int, memory: MemoryStore, method: str, framing: str) -> None:
    body = b"hello" if "Length" in framing else chunked(b"hello", 5)
    for target in ("/files/photos/k", "/files?bucket_name=photos&object_name=k", "/files/photos/", "/healthz"):
        answer = await exchange(port, method, target, framing, body=body)
        assert answer.status in (400, 405)
    assert not memory.calls


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.3)
@pytest.mark.parametrize("sent", [0, 10, 100 * KIB])
async def test_a_client_that_falls_silent_is_told_408(port: int, bucket: Bucket, sent: int) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", f"Content-Length: {MIB}", body=bytes(sent))
        answer = await wire.answer()
        assert (answer.status, answer.headers["X-Error-Code"]) == (408, "request_timeout")
        assert await wire.rest() == b""
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.5)
async def test_a_slow_client_that_goes_on_is_left_alone(port: int, bucket: Bucket) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", "Content-Length: 10")
        for _ in range(10):
            await wire.send(b"x")
            await asyncio.sleep(0.1)  # A client that takes its time: twice the timeout in all.
        assert (await wire.answer()).status == 200
    assert bucket.data("k") == b"x" * 10


@pytest.mark.gen_test
@pytest.mark.shape(client_timeout=0.1)
async def test_a_client_is_not_blamed_for_the_time_the_store_takes(
    port: int, bucket: Bucket, faulty: FaultyStore
) -> None:
    faulty.seconds["put_part"] = 0.2
    answer = await exchange(port, "PUT", "/files/photos/k", body=bytes(300 * KIB))
    assert answer.status == 200
