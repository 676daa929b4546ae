"""Clients that leave: what they began is undone, what they no longer read is given up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest

from s3proxy.service import Service
from s3proxy.transfer.budget import MemoryBudget
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import KIB, MIB, Bucket, both
from tests.http.wire import BOUNDARY, FORM_TYPE, File, chunked, connect, form, until

AccessLog = Callable[[], list[Mapping[str, Any]]]

DATA = random.Random(2).randbytes(MIB)


def upload(framing: str, bucket: str, data: bytes = DATA) -> tuple[list[str], bytes]:
    """Request line, headers and body of an upload."""
    if framing == "form":
        body = form(("bucket_name", bucket), ("object_name", "k"), File(data))
        return ["POST", "/files", FORM_TYPE, f"Content-Length: {len(body)}"], body
    if framing == "chunked":
        return ["PUT", f"/files/{bucket}/k", "Transfer-Encoding: chunked"], chunked(data, 30_000)
    return ["PUT", f"/files/{bucket}/k", f"Content-Length: {len(data)}"], data


@pytest.mark.gen_test
@pytest.mark.parametrize("way", ["FIN", "RST"])
@pytest.mark.parametrize("framing", ["length", "chunked", "form"])
async def test_an_upload_cut_off_anywhere_leaves_nothing(
    port: int, bucket: Bucket, service: Service, budget: MemoryBudget, access_log: AccessLog, framing: str, way: str
) -> None:
    head, body = upload(framing, bucket.name)
    offsets = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, len(body) - 1]
    offsets += random.Random(f"{framing} {way}").sample(range(len(body)), 14)
    for number, offset in enumerate(offsets, start=1):
        async with connect(port) as wire:
            await wire.request(head[0], head[1], *head[2:], body=body[:offset])
            await until(lambda: len(service.traffic) == 1)
            wire.reset() if way == "RST" else wire.close()
        await until(lambda: len(access_log()) == number)  # noqa: B023 - called at once
        await until(lambda: bucket.uploads() == budget.granted == 0)
        assert bucket.stored() == []
    assert {(line["status"], line["outcome"]) for line in access_log()} == {(499, "client_closed")}


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("framing", ["length", "form"])
async def test_an_upload_to_the_real_client_cut_off_after_parts_leaves_nothing(
    port: int, bucket: Bucket, service: Service, framing: str
) -> None:
    head, body = upload(framing, bucket.name, DATA * 16)
    async with connect(port) as wire:
        await wire.request(head[0], head[1], *head[2:], body=body[: 12 * MIB])
        await until(lambda: bucket.uploads() == 1)
        wire.reset()
    await until(lambda: len(service.traffic) == 0 and bucket.uploads() == 0)
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_an_old_object_survives_an_upload_cut_off(port: int, bucket: Bucket, service: Service) -> None:
    bucket.put("k", b"old")
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", f"Content-Length: {MIB}", body=bytes(300 * KIB))
        await until(lambda: bucket.uploads() == 1)
        wire.close()
    await until(lambda: len(service.traffic) == bucket.uploads() == 0)
    assert bucket.data("k") == b"old"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "body",
    [b"5\r\nhello\r\n", b"5\r\nhel", b"5\r\nhello\r\n0\r\n", b""],
    ids=["no last chunk", "in a chunk", "in the last chunk", "no chunk"],
)
async def test_a_chunked_body_that_just_ends_is_no_object(
    port: int, bucket: Bucket, service: Service, body: bytes
) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", "Transfer-Encoding: chunked", body=body)
        wire.end()
        assert b" 200 " not in await wire.rest()
    await until(lambda: len(service.traffic) == 0)
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_a_form_that_just_ends_is_no_object(port: int, bucket: Bucket, service: Service) -> None:
    head, body = upload("form", bucket.name, b"hello")
    async with connect(port) as wire:
        await wire.request(head[0], head[1], *head[2:], body=body.removesuffix(f"--{BOUNDARY}--\r\n".encode()))
        wire.end()
        assert b" 200 " not in await wire.rest()
    await until(lambda: len(service.traffic) == 0)
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_an_upload_whose_id_comes_after_the_client_left_is_aborted(
    port: int, bucket: Bucket, faulty: FaultyStore, service: Service
) -> None:
    gate = faulty.hang("create_upload", after=True)
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", f"Content-Length: {MIB}", body=bytes(200 * KIB))
        await gate.reached.wait()
        assert bucket.uploads() == 1
    gate.open()
    await until(lambda: len(service.traffic) == bucket.uploads() == 0)
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_a_part_on_its_way_ends_before_its_upload_is_aborted(
    port: int, bucket: Bucket, faulty: FaultyStore, service: Service
) -> None:
    gate = faulty.hang("put_part")
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", f"Content-Length: {MIB}", body=bytes(200 * KIB))
        await gate.reached.wait()
    await until(lambda: len(service.traffic) == 0)
    assert (faulty.calls["abort_upload"], bucket.uploads()) == (0, 1)
    gate.open()
    await until(lambda: bucket.uploads() == 0)


@pytest.mark.gen_test
@pytest.mark.parametrize("operation", ["put", "complete_upload"])
async def test_a_commit_under_way_is_finished_without_its_client(
    port: int,
    bucket: Bucket,
    faulty: FaultyStore,
    service: Service,
    operation: Literal["put", "complete_upload"],
) -> None:
    data = DATA if operation == "complete_upload" else b"hello"
    gate = faulty.hang(operation)
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", f"Content-Length: {len(data)}", body=data)
        await gate.reached.wait()
        wire.reset()
    await until(lambda: len(service.traffic) == 0)
    gate.open()
    await until(lambda: bucket.data("k") == data)
    assert faulty.calls["abort_upload"] == 0


# Downloads


@pytest.mark.gen_test
@pytest.mark.parametrize("way", ["FIN", "RST"])
@pytest.mark.parametrize("target", ["/files/photos/k", "/files?bucket_name=photos&object_name=k"])
async def test_a_download_left_in_the_middle_lets_go_of_everything(
    port: int,
    bucket: Bucket,
    memory: MemoryStore,
    budget: MemoryBudget,
    service: Service,
    access_log: AccessLog,
    target: str,
    way: str,
) -> None:
    bucket.put("k", bytes(32 * MIB))
    async with connect(port, receive_buffer=64 * KIB) as wire:
        await wire.request("GET", target)
        await wire.read(100 * KIB)
        assert memory.open_streams > 0
        assert budget.granted > 0
        wire.reset() if way == "RST" else wire.close()
    await until(lambda: len(service.traffic) == memory.open_streams == budget.granted == 0)
    assert memory.calls["read"] * 16 * KIB < 16 * MIB
    assert [(line["status"], line["outcome"]) for line in access_log()] == [(499, "client_closed")]


@pytest.mark.gen_test
async def test_a_download_left_while_the_store_is_silent_lets_go_at_once(
    port: int, bucket: Bucket, memory: MemoryStore, faulty: FaultyStore, budget: MemoryBudget, service: Service
) -> None:
    bucket.put("k", bytes(MIB))
    gate = faulty.hang_streams(300 * KIB)
    async with connect(port) as wire:
        await wire.request("GET", "/files/photos/k")
        await gate.reached.wait()
    await until(lambda: len(service.traffic) == memory.open_streams == budget.granted == 0)


@pytest.mark.gen_test
async def test_a_download_left_before_its_first_byte_lets_go_of_the_stream(
    port: int, bucket: Bucket, memory: MemoryStore, faulty: FaultyStore, budget: MemoryBudget, service: Service
) -> None:
    bucket.put("k", bytes(MIB))
    gate = faulty.hang("open", after=True)
    async with connect(port) as wire:
        await wire.request("GET", "/files/photos/k")
        await gate.reached.wait()
    await until(lambda: len(service.traffic) == 0)
    gate.open()
    await until(lambda: memory.open_streams == budget.granted == 0)
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
