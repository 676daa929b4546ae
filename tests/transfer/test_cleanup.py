"""Aborting until it is true."""

from __future__ import annotations

import asyncio
import logging

import pytest

from s3proxy.errors import StoreBroken, StoreRefused, StoreTimeout
from s3proxy.store.contract import MultipartUpload, ObjectAttributes
from s3proxy.transfer.cleanup import FIRST_PAUSE, LONGEST_PAUSE, TRIES, Cleanup
from tests.fakes import FaultyStore, MemoryStore
from tests.loop import settle, virtual_loop
from tests.transfer.rig import PATH


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(memory: MemoryStore) -> FaultyStore:
    return FaultyStore(memory)


async def begin(store: FaultyStore) -> MultipartUpload:
    return await store.create_upload(PATH, ObjectAttributes())


async def test_an_upload_is_aborted_at_once(memory: MemoryStore, store: FaultyStore) -> None:
    await Cleanup(store).abort(await begin(store))
    assert memory.uploads == {}
    assert virtual_loop().time() < FIRST_PAUSE


async def test_it_is_tried_again_until_it_is_gone(memory: MemoryStore, store: FaultyStore) -> None:
    cleanup = Cleanup(store)
    store.fail("abort_upload", StoreTimeout(), times=3)
    await cleanup.abort(await begin(store))
    assert memory.uploads == {}
    assert store.calls["abort_upload"] == 4
    assert virtual_loop().time() == pytest.approx(FIRST_PAUSE * (1 + 2 + 4))
    assert cleanup.failed == 0


async def test_pauses_grow_no_longer_than_the_longest(store: FaultyStore) -> None:
    cleanup = Cleanup(store)
    store.fail("abort_upload", StoreBroken(), times=TRIES - 1)
    await cleanup.abort(await begin(store))
    assert cleanup.failed == 0
    assert virtual_loop().time() < (TRIES - 1) * LONGEST_PAUSE


async def test_what_cannot_be_aborted_is_counted_and_named(
    store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    cleanup = Cleanup(store)
    store.fail("abort_upload", StoreRefused(reason="AccessDenied"), times=TRIES)
    with caplog.at_level(logging.INFO):
        await cleanup.abort(await begin(store))
    assert cleanup.failed == 1
    assert store.calls["abort_upload"] == TRIES
    last = caplog.records[-1]
    assert last.levelno == logging.ERROR
    assert vars(last)["fields"] == {"bucket": "bucket", "key": "key", "upload_id": "upload-1"}


async def test_waiting_ends_when_all_is_done(memory: MemoryStore, store: FaultyStore) -> None:
    cleanup = Cleanup(store)
    store.fail("abort_upload", StoreBroken())
    for _ in range(3):
        cleanup.start(cleanup.abort(await begin(store)))
    assert await cleanup.wait(60)
    assert memory.uploads == {}
    assert await cleanup.wait(0)


async def test_waiting_ends_when_its_time_is_over(store: FaultyStore) -> None:
    cleanup = Cleanup(store)
    gate = store.hang("abort_upload")
    task = cleanup.start(cleanup.abort(await begin(store)))
    assert not await cleanup.wait(10)
    assert virtual_loop().time() == pytest.approx(10)
    gate.open()
    await task
    assert await cleanup.wait(0)


async def test_an_abort_goes_on_when_who_started_it_is_cancelled(memory: MemoryStore, store: FaultyStore) -> None:
    cleanup = Cleanup(store)
    upload = await begin(store)

    async def request() -> None:
        cleanup.start(cleanup.abort(upload))
        await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await asyncio.sleep(0)
    task.cancel()
    await settle()
    assert memory.uploads == {}
