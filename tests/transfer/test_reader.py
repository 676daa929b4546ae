"""Downloads: the same bytes whatever the sizes, the faults and the pace; and nothing left behind at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.errors import (
    BucketNotFound,
    Busy,
    ObjectChanged,
    ObjectNotFound,
    StoreBroken,
    StoreError,
    StorePreconditionFailed,
    StoreRangeNotSatisfiable,
    StoreRefused,
    StoreThrottled,
    StoreTimeout,
)
from s3proxy.protocol.ranges import ByteRange, RangeRequest
from s3proxy.store.contract import ObjectStream
from s3proxy.transfer.budget import BLOCK_SIZE, GRANT_TIMEOUT, MemoryBudget
from s3proxy.transfer.reader import ObjectReader
from tests.bodies import pattern
from tests.fakes import MemoryStore, MemoryStream
from tests.loop import other_tasks, run, settle, steps, virtual_loop
from tests.transfer.rig import MIB, PATH, Rig


def rig_with(size: int, *, seconds: float = 0.0, memory: MemoryStore | None = None, **arguments: Any) -> Rig:
    """A rig whose store has an object of that size and takes that long to bring each chunk."""
    rig = Rig(memory, **arguments)
    rig.memory.seed("bucket", "key", pattern(size))
    if seconds:
        rig.store.seconds["read"] = seconds
    return rig


async def download(
    rig: Rig, *, byte_range: ByteRange | RangeRequest | None = None, seconds: float = 0.0, until: int | None = None
) -> bytes:
    """All that can be read by a client that takes so long for each chunk."""
    reader = await rig.downloads.open(PATH, byte_range=byte_range)
    data = bytearray()
    try:
        while (piece := await reader.read()) and (until is None or len(data) < until):
            data += piece
            if seconds:
                await asyncio.sleep(seconds)
            # Kept for us until we ask for more.
            assert data.endswith(piece)
            assert rig.budget.granted <= rig.budget.size
    finally:
        reader.close()
    return bytes(data)


async def check_clean(rig: Rig) -> None:
    await settle()
    assert other_tasks() == set()
    assert rig.memory.open_streams == 0
    rig.check_empty()


SIZES = [0, 1, 999, 1_000, 1_001, 1_500, 2_000, 2_001, 4_999, 5_000, 5_001, 6_000, 6_001, 12_345, 60_000]
"""Around chunks of 1,000 and ranges of 5,000 bytes."""


class TestBytes:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("window", [1, 2, 4])
    @pytest.mark.parametrize("seconds", [0.0, 1.0])
    @pytest.mark.parametrize("read_limit", [None, 77])
    async def test_they_are_those_of_the_object(
        self, size: int, window: int, seconds: float, read_limit: int | None
    ) -> None:
        rig = rig_with(size, seconds=seconds, ranges=window)
        rig.memory.read_limit = read_limit
        assert await download(rig) == pattern(size)
        await check_clean(rig)

    @pytest.mark.parametrize(
        ("asked", "first", "end"),
        [
            (ByteRange(0, 0), 0, 1),
            (ByteRange(1_500, 29_999), 1_500, 30_000),
            (ByteRange(59_000, 90_000), 59_000, 60_000),
            (RangeRequest(59_999, None), 59_999, 60_000),
            (RangeRequest(1_234, None), 1_234, 60_000),
            (RangeRequest(None, 1_501), 58_499, 60_000),
        ],
    )
    @pytest.mark.parametrize("seconds", [0.0, 1.0])
    async def test_a_range_is_cut_out(
        self, asked: ByteRange | RangeRequest, first: int, end: int, seconds: float
    ) -> None:
        rig = rig_with(60_000, seconds=seconds)
        reader = await rig.downloads.open(PATH, byte_range=asked)
        reader.close()
        assert (reader.first, reader.length, reader.info.size) == (first, end - first, 60_000)
        assert await download(rig, byte_range=asked) == pattern(60_000)[first:end]
        await check_clean(rig)

    @given(
        size=st.integers(0, 40_000),
        chunk_size=st.integers(1, 6_000),
        range_size=st.integers(1, 9_000),
        window=st.integers(1, 6),
        read_limit=st.one_of(st.none(), st.integers(300, 5_000)),
        store_seconds=st.sampled_from([0.0, 0.1, 1.0]),
        client_seconds=st.sampled_from([0.0, 0.1, 1.0]),
        breaks=st.lists(st.integers(0, 40_000), max_size=6, unique=True),
        span=st.one_of(st.none(), st.tuples(st.integers(0, 39_999), st.integers(0, 39_999))),
        budget=st.sampled_from([12_000, 30_000, MIB]),
    )
    @settings(max_examples=80, deadline=None)
    def test_whatever_the_sizes_the_pace_and_the_breaks(
        self,
        size: int,
        chunk_size: int,
        range_size: int,
        window: int,
        read_limit: int | None,
        store_seconds: float,
        client_seconds: float,
        breaks: list[int],
        span: tuple[int, int] | None,
        budget: int,
    ) -> None:
        chunk_size = max(chunk_size, size // 100)

        async def scenario() -> None:
            rig = rig_with(
                size,
                seconds=store_seconds,
                chunk_size=chunk_size,
                range_size=range_size,
                ranges=window,
                budget=budget,
            )
            rig.memory.read_limit = read_limit
            for offset in breaks:
                rig.store.break_streams(offset)
            asked = None if span is None else ByteRange(min(span), max(span))
            if asked is not None and asked.first >= size:
                with pytest.raises(StoreRangeNotSatisfiable):
                    await download(rig, byte_range=asked)
            else:
                expected = pattern(size) if asked is None else pattern(size)[asked.first : asked.last + 1]
                assert await download(rig, byte_range=asked, seconds=client_seconds) == expected
            await check_clean(rig)

        run(scenario())

    @pytest.mark.parametrize("chunk_size", [300 * 1024, BLOCK_SIZE, MIB])
    @pytest.mark.parametrize("size", [MIB, 3 * MIB // 2, 4 * MIB + 1])
    async def test_real_chunks(self, size: int, chunk_size: int) -> None:
        rig = rig_with(size, seconds=1.0, chunk_size=chunk_size, range_size=MIB)
        for _ in range(2):  # The second time in blocks that were used before.
            assert await download(rig) == pattern(size)
        await check_clean(rig)

    async def test_chunks_larger_than_ranges_while_memory_is_scarce(self) -> None:
        rig = rig_with(4 * MIB, seconds=1.0, chunk_size=MIB, range_size=100_000, budget=8 * MIB)
        reader = await rig.downloads.open(PATH)
        data = bytes(await reader.read())
        await rig.budget.take(5 * MIB)
        assert rig.budget.pressed
        while piece := await reader.read():
            data += piece
        reader.close()
        assert data == pattern(4 * MIB)
        rig.budget.give(5 * MIB)
        await check_clean(rig)

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (None, ObjectNotFound),
            (BucketNotFound(), BucketNotFound),
            (StoreTimeout(), StoreTimeout),
            (StorePreconditionFailed(), StorePreconditionFailed),
        ],
    )
    async def test_a_download_that_cannot_begin(self, fault: StoreError | None, kind: type[StoreError]) -> None:
        rig = Rig()
        if fault is not None:
            rig.store.fail("open", fault)
        with pytest.raises(kind):
            await rig.downloads.open(PATH)
        await check_clean(rig)

    async def test_reads_after_the_end_stay_empty(self) -> None:
        rig = rig_with(10)
        reader = await rig.downloads.open(PATH)
        assert bytes(await reader.read()) == pattern(10)
        for _ in range(3):
            assert bytes(await reader.read()) == b""
        reader.close()
        await check_clean(rig)


class TestResume:
    @pytest.mark.parametrize("offset", [0, 1, 999, 1_000, 1_001, 5_432, 9_999])
    @pytest.mark.parametrize("fault", [StoreBroken(), StoreTimeout(), StoreThrottled()])
    async def test_it_goes_on_at_the_exact_byte(self, offset: int, fault: StoreError) -> None:
        rig = rig_with(10_000)
        rig.store.break_streams(offset, fault)
        assert await download(rig) == pattern(10_000)
        assert [stream.first for stream in rig.memory.streams] == [0, offset]
        assert rig.memory.streams[1].length == 10_000 - offset
        await check_clean(rig)

    async def test_it_stays_in_its_range(self) -> None:
        rig = rig_with(10_000)
        rig.store.break_streams(1_500)
        assert await download(rig, byte_range=ByteRange(1_000, 2_999)) == pattern(10_000)[1_000:3_000]
        assert (rig.memory.streams[1].first, rig.memory.streams[1].length) == (1_500, 1_500)
        await check_clean(rig)

    @pytest.mark.parametrize("seconds", [0.0, 1.0])
    async def test_as_often_as_there_is_progress(self, seconds: float) -> None:
        rig = rig_with(10_000, seconds=seconds, resumes=1)
        for offset in range(500, 10_000, 900):
            rig.store.break_streams(offset)
        assert await download(rig) == pattern(10_000)
        await check_clean(rig)

    async def test_so_often_without_progress(self) -> None:
        rig = rig_with(10_000, resumes=3)
        rig.store.break_streams(5_432, times=3)
        assert await download(rig) == pattern(10_000)
        await check_clean(rig)

    async def test_and_not_more_often_but_what_came_before_stays(self) -> None:
        rig = rig_with(10_000, resumes=3)
        rig.store.break_streams(5_432, StoreTimeout(), times=4)
        reader = await rig.downloads.open(PATH)
        data = b""
        with pytest.raises(StoreTimeout):  # noqa: PT012 - the number of reads before is free
            while piece := await reader.read():
                data += piece
        reader.close()
        assert data == pattern(10_000)[:5_432]
        assert rig.store.calls["open"] == 4
        await check_clean(rig)

    async def test_what_came_before_stays_also_of_a_range_ahead(self) -> None:
        rig = rig_with(60_000, seconds=1.0, resumes=0)
        rig.memory.read_limit = 77
        rig.store.break_streams(45_432)
        reader = await rig.downloads.open(PATH)
        data = b""
        with pytest.raises(StoreBroken):  # noqa: PT012 - the number of reads before is free
            while piece := await reader.read():
                data += piece
        reader.close()
        assert data == pattern(60_000)[:45_432]
        assert rig.store.calls["open"] > 4
        await check_clean(rig)

    async def test_pauses_between_tries_without_progress_grow(self) -> None:
        rig = rig_with(10_000, resumes=10)
        rig.store.break_streams(0, times=10)
        await download(rig)
        assert 2 < virtual_loop().time() < 20

    async def test_a_resume_that_fails_is_one_of_the_tries(self) -> None:
        rig = rig_with(10_000, resumes=3)
        rig.store.break_streams(5_000)
        rig.store.fail("open", StoreTimeout(), nth=2, times=2)
        assert await download(rig) == pattern(10_000)
        await check_clean(rig)

    async def test_a_refusal_is_told_at_once(self) -> None:
        rig = rig_with(10_000)
        rig.store.break_streams(5_000)
        rig.store.fail("open", StoreRefused(), nth=2)
        with pytest.raises(StoreRefused):
            await download(rig)
        assert rig.store.calls["open"] == 2
        await check_clean(rig)

    async def test_no_resumes(self) -> None:
        rig = rig_with(10_000, resumes=0)
        rig.store.break_streams(5_000)
        with pytest.raises(StoreBroken):
            await download(rig)
        assert rig.store.calls["open"] == 1
        await check_clean(rig)

    @pytest.mark.parametrize("seconds", [0.0, 1.0])
    @pytest.mark.parametrize("change", ["replaced", "deleted", "bucket"])
    async def test_an_object_that_changed_is_not_mixed(self, seconds: float, change: str) -> None:
        size = 60_000
        rig = rig_with(size, seconds=seconds)
        rig.store.break_streams(20_000)
        reader = await rig.downloads.open(PATH)
        data = bytes(await reader.read())
        if change == "replaced":
            rig.memory.seed("bucket", "key", pattern(size, seed=1))
        else:
            rig.memory.objects.clear()
        with pytest.raises(ObjectChanged):  # noqa: PT012 - the number of reads before is free
            while piece := await reader.read():
                data += piece
        reader.close()
        assert pattern(size).startswith(data)
        assert len(data) <= 20_000
        await check_clean(rig)

    async def test_the_same_bytes_put_again_are_the_same_object(self) -> None:
        rig = rig_with(10_000)
        rig.store.break_streams(5_000)
        reader = await rig.downloads.open(PATH)
        data = bytes(await reader.read())
        rig.memory.seed("bucket", "key", pattern(10_000))
        while piece := await reader.read():
            data += piece
        reader.close()
        assert data == pattern(10_000)

    @pytest.mark.parametrize(("ignored", "kind"), [("byte_range", StoreBroken), ("if_match", ObjectChanged)])
    async def test_a_store_that_ignores_what_it_is_asked_for_is_not_believed(
        self, ignored: str, kind: type[StoreError]
    ) -> None:
        class Ignorant(MemoryStore):
            async def open(self, *arguments: Any, **options: Any) -> ObjectStream:
                return await super().open(*arguments, **options | {ignored: None})

        rig = rig_with(10_000, memory=Ignorant())
        rig.store.break_streams(5_000)
        reader = await rig.downloads.open(PATH)
        data = bytes(await reader.read())
        rig.memory.seed("bucket", "key", pattern(10_000, seed=int(ignored == "if_match")))
        with pytest.raises(kind):  # noqa: PT012 - the number of reads before is free
            while piece := await reader.read():
                data += piece
        reader.close()
        assert data == pattern(10_000)[:5_000]
        await check_clean(rig)


async def peak_connections(rig: Rig, client_seconds: float = 0.0) -> int:
    assert await download(rig, seconds=client_seconds) == rig.memory.data("bucket", "key")
    return rig.store.most_under_way["read"]


class TestWindow:
    async def test_one_connection_while_nobody_waits(self) -> None:
        rig = rig_with(100_000)
        assert await peak_connections(rig) == 1
        assert rig.store.calls["open"] == 1
        await check_clean(rig)

    async def test_one_connection_while_the_client_is_slower(self) -> None:
        rig = rig_with(100_000, seconds=0.1)
        assert await peak_connections(rig, client_seconds=1.0) == 1
        assert rig.store.calls["open"] == 1
        await check_clean(rig)

    @pytest.mark.parametrize("window", [1, 2, 4, 16])
    async def test_it_opens_to_its_limit_while_the_store_is_slower(self, window: int) -> None:
        rig = rig_with(400_000, seconds=1.0, ranges=window)
        assert await peak_connections(rig) == window
        await check_clean(rig)

    async def test_a_wide_window_is_as_much_faster(self) -> None:
        narrow, wide = rig_with(400_000, seconds=1.0, ranges=1), rig_with(400_000, seconds=1.0, ranges=8)
        await download(narrow)
        first = virtual_loop().time()
        await download(wide)
        assert virtual_loop().time() - first < first / 5

    async def test_it_closes_while_the_client_is_slower(self) -> None:
        rig = rig_with(400_000, seconds=1.0)
        reader = await rig.downloads.open(PATH)
        read = 0
        while read < 200_000:
            read += len(await reader.read())
        assert rig.store.under_way["read"] > 1
        while read < 350_000:
            read += len(await reader.read())
            await asyncio.sleep(20)
        assert rig.store.under_way["read"] <= 1
        assert rig.memory.open_streams <= 1
        opened = rig.store.calls["open"]
        while piece := await reader.read():
            read += len(piece)
            await asyncio.sleep(20)
        assert read == 400_000
        assert rig.store.calls["open"] <= opened + 1
        reader.close()
        await check_clean(rig)

    async def test_bytes_stay_in_order_when_a_later_range_comes_first(self) -> None:
        rig = rig_with(100_000, seconds=1.0)
        rig.store.break_streams(20_500, StoreTimeout())
        rig.store.break_streams(31_000, StoreTimeout(), times=2)
        assert await download(rig) == pattern(100_000)
        await check_clean(rig)

    async def test_it_stays_closed_while_memory_is_scarce(self) -> None:
        rig = rig_with(100_000, seconds=1.0, budget=20_000)
        await rig.budget.take(11_000)
        assert await peak_connections(rig) == 1
        rig.budget.give(11_000)
        await check_clean(rig)

    async def test_it_opens_as_far_as_memory_goes(self) -> None:
        rig = rig_with(200_000, seconds=1.0, budget=20_000, ranges=16)
        peak = await peak_connections(rig)
        assert 1 < peak <= 4
        await check_clean(rig)

    @pytest.mark.parametrize("read_limit", [None, 100])
    async def test_many_slow_clients_stay_within_the_budget(self, read_limit: int | None) -> None:
        rig = rig_with(30_000, seconds=0.5, budget=40_000, ranges=4)
        rig.memory.read_limit = read_limit
        results = await asyncio.gather(*(download(rig, seconds=seconds / 10) for seconds in range(15)))
        assert all(result == pattern(30_000) for result in results)
        await check_clean(rig)

    @pytest.mark.parametrize("read_limit", [None, 1_000])
    async def test_blocks_in_use_are_never_more_than_granted(
        self, read_limit: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also when reads bring little, and the blocks they came in are as large as ever."""
        chunk_size = 64 * 1024
        rig = rig_with(20 * chunk_size, seconds=1.0, chunk_size=chunk_size, range_size=4 * chunk_size)
        rig.memory.read_limit = read_limit
        used = 0
        block, recycle = MemoryBudget.block, MemoryBudget.recycle

        def count_block(budget: MemoryBudget, size: int = BLOCK_SIZE) -> memoryview:
            nonlocal used
            used += size
            assert used <= budget.granted
            return block(budget, size)

        def count_recycle(budget: MemoryBudget, view: memoryview) -> None:
            nonlocal used
            used -= len(view.obj)  # type: ignore[arg-type]
            recycle(budget, view)

        monkeypatch.setattr(MemoryBudget, "block", count_block)
        monkeypatch.setattr(MemoryBudget, "recycle", count_recycle)
        assert await download(rig, until=6 * chunk_size) in pattern(20 * chunk_size)


class TestMemory:
    async def test_one_connection_is_read_when_the_client_asks(self) -> None:
        rig = rig_with(100_000)
        reader = await rig.downloads.open(PATH)
        for reads in (1, 2):
            await reader.read()
            await asyncio.sleep(1_000)
            assert rig.budget.granted == 1_000
            assert rig.memory.calls["read"] == reads
        reader.close()
        await check_clean(rig)

    async def test_a_small_object_takes_what_it_is(self) -> None:
        rig = rig_with(500)
        reader = await rig.downloads.open(PATH)
        await reader.read()
        assert rig.budget.granted == 500
        reader.close()
        await check_clean(rig)

    @pytest.mark.parametrize("size", [1, 10_000])
    async def test_it_does_not_wait_for_uploads_that_hang(self, size: int) -> None:
        rig = rig_with(size, budget=100_000, reserve=2_000)
        await rig.budget.take(98_000)
        hanging = asyncio.create_task(rig.budget.take(1))
        await settle()
        assert await download(rig) == pattern(size)
        assert virtual_loop().time() < 1
        assert not hanging.done()
        rig.budget.give(98_000)
        await hanging
        rig.budget.give(1)
        await check_clean(rig)

    async def test_it_waits_for_memory(self) -> None:
        rig = rig_with(10_000, budget=10_000)
        await rig.budget.take(10_000)
        task = asyncio.create_task(download(rig))
        await settle()
        assert not task.done()
        rig.budget.give(10_000)
        assert await task == pattern(10_000)
        await check_clean(rig)

    async def test_without_memory_it_is_busy(self) -> None:
        rig = rig_with(10_000, budget=10_000)
        await rig.budget.take(10_000)
        with pytest.raises(Busy):
            await download(rig)
        assert virtual_loop().time() == pytest.approx(GRANT_TIMEOUT)
        rig.budget.give(10_000)
        await check_clean(rig)


def by_close(reader: ObjectReader, task: asyncio.Task[bytes]) -> None:
    reader.close()


def by_cancel(reader: ObjectReader, task: asyncio.Task[bytes]) -> None:
    task.cancel()


class TestClose:
    @pytest.mark.parametrize("leave", [by_close, by_cancel])
    @pytest.mark.parametrize(("seconds", "broken"), [(0.0, False), (1.0, False), (1.0, True)])
    async def test_at_every_step(
        self, leave: Callable[[ObjectReader, asyncio.Task[bytes]], None], seconds: float, broken: bool
    ) -> None:
        data = pattern(20_000)
        for count in range(2_000):
            rig = rig_with(20_000, seconds=seconds, range_size=2_000)
            if broken:
                rig.store.break_streams(1_700)
                rig.store.break_streams(7_700, times=2)
            reader = await rig.downloads.open(PATH)

            async def read(reader: ObjectReader = reader) -> bytes:
                read = b""
                try:
                    while piece := await reader.read():
                        read += piece
                finally:
                    reader.close()
                return read

            task = asyncio.create_task(read())
            for _ in range(count):
                # With a slow store, a step is as likely to be time that passes.
                await (asyncio.sleep(0.1) if seconds else asyncio.sleep(0))
                if task.done():
                    break
            done = task.done()
            leave(reader, task)
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            reader.close()
            assert isinstance(result, StoreBroken | asyncio.CancelledError) or result == data
            await check_clean(rig)
            if done:
                break
        assert done, "it never ended by itself"
        assert result == data

    async def test_nothing_can_be_read_afterwards(self) -> None:
        for before in range(3):
            rig = rig_with(10_000)
            reader = await rig.downloads.open(PATH)
            for _ in range(before):
                await reader.read()
            reader.close()
            reader.close()
            with pytest.raises(StoreBroken):
                await reader.read()
            await check_clean(rig)

    async def test_while_it_waits_for_memory(self) -> None:
        rig = rig_with(10_000, budget=10_000)
        await rig.budget.take(10_000)
        reader = await rig.downloads.open(PATH)
        reading = asyncio.create_task(reader.read())
        await settle()
        reader.close()
        rig.budget.give(10_000)
        with pytest.raises(StoreBroken):
            await reading
        await check_clean(rig)

    @pytest.mark.parametrize("after", [False, True])
    async def test_while_a_connection_opens(self, after: bool) -> None:
        rig = rig_with(10_000)
        rig.store.break_streams(1_500)
        gate = rig.store.hang("open", nth=2, after=after)
        task = asyncio.create_task(download(rig))
        await gate.reached.wait()
        task.cancel()
        await settle()
        gate.open()
        await check_clean(rig)

    async def test_while_a_read_hangs(self) -> None:
        rig = rig_with(10_000)
        gate = rig.store.hang_streams(2_000)
        reader = await rig.downloads.open(PATH)
        assert bytes(await reader.read()) + bytes(await reader.read()) == pattern(2_000)
        reading = asyncio.create_task(reader.read())
        await gate.reached.wait()
        reader.close()
        with pytest.raises(StoreBroken):
            await reading
        await check_clean(rig)

    async def test_while_many_ranges_hang(self) -> None:
        rig = rig_with(100_000, seconds=1.0)
        gates = [rig.store.hang_streams(offset) for offset in range(40_000, 100_000, 1_000)]
        reader = await rig.downloads.open(PATH)
        read = 0
        reading = asyncio.create_task(reader.read())
        while read < 40_000:
            read += len(await reading)
            reading = asyncio.create_task(reader.read())
        await asyncio.sleep(100)
        assert sum(gate.reached.is_set() for gate in gates) > 1
        reader.close()
        await asyncio.gather(reading, return_exceptions=True)
        await check_clean(rig)

    async def test_a_block_a_thread_still_writes_into_is_not_given_to_another(self) -> None:
        """What is cancelled in the middle of a read may be written to once more."""
        late: list[tuple[memoryview, asyncio.Event]] = []

        class Late(MemoryStore):
            async def open(self, *arguments: Any, **options: Any) -> ObjectStream:
                stream = await super().open(*arguments, **options)
                assert isinstance(stream, MemoryStream)
                return LateStream(stream)

        class LateStream:
            def __init__(self, stream: MemoryStream) -> None:
                self.info, self.first, self.length = stream.info, stream.first, stream.length
                self.close = stream.close
                self._stream = stream

            async def readinto(self, buffer: memoryview) -> int:
                go = asyncio.Event()
                late.append((buffer, go))
                await go.wait()
                return await self._stream.readinto(buffer)

        chunk_size = 64 * 1024
        rig = rig_with(4 * chunk_size, memory=Late(), chunk_size=chunk_size, budget=2 * chunk_size)
        reader = await rig.downloads.open(PATH)
        reading = asyncio.create_task(reader.read())
        await settle()
        reader.close()
        await asyncio.gather(reading, return_exceptions=True)
        (doomed, _), late[:] = late[0], []
        again = asyncio.create_task(download(rig))
        while not again.done():
            await steps(3)
            for buffer, go in late:
                if not go.is_set():
                    go.set()
                    await steps(3)
                    assert buffer.obj is not doomed.obj
            doomed[:] = bytes(len(doomed))
        assert await again == pattern(4 * chunk_size)
        await check_clean(rig)
