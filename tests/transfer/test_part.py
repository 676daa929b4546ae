"""One part: the bytes come back, wherever they are kept, and every way out gives everything back."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.errors import Busy
from s3proxy.transfer.budget import BLOCK_SIZE, GRANT_TIMEOUT, PATIENCE
from s3proxy.transfer.part import FOOTHOLD, FOOTHOLD_PATIENCE, HICCUP, SPOOL_PATIENCE, Part, PartBody, Withdrawn
from tests.bodies import checksum_of, pattern
from tests.loop import run, settle, virtual_loop
from tests.transfer.rig import MIB, Rig

EDGES = [1, 1_000, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE, 3 * BLOCK_SIZE + 7]


def contents(body: PartBody) -> bytes:
    """Read from the beginning, a stretch at a time."""
    body.seek(0)
    pieces = []
    while piece := bytes(body.read(16 * 1024)):
        assert len(piece) <= BLOCK_SIZE
        pieces.append(piece)
    return b"".join(pieces)


async def fill(part: Part, data: bytes, chunk_size: int = 100_000) -> None:
    for start in range(0, len(data), chunk_size):
        chunk = memoryview(data)[start : start + chunk_size]
        assert await part.append(chunk) == len(chunk)


async def spooled(part: Part) -> None:
    await part.spool()
    assert part.granted == 0


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(spool=tmp_path)


class TestInMemory:
    @pytest.mark.parametrize("size", EDGES)
    @pytest.mark.parametrize("chunk_size", [999, 100_000, BLOCK_SIZE, 10 * MIB])
    async def test_the_bytes_come_back(self, size: int, chunk_size: int) -> None:
        rig = Rig()
        part = rig.part(4 * BLOCK_SIZE)
        await fill(part, pattern(size), chunk_size)
        body = part.seal()
        assert len(body) == part.size == size
        assert contents(body) == pattern(size)
        assert part.checksum.checksum == checksum_of(pattern(size))
        part.release()
        rig.check_empty()

    async def test_an_empty_part_is_an_empty_body(self) -> None:
        rig = Rig()
        for capacity in (0, 1, 10 * BLOCK_SIZE):
            part = rig.part(capacity)
            body = part.seal()
            assert len(body) == 0
            assert bytes(body.read()) == b""
            assert part.checksum.checksum == checksum_of(b"")
            part.release()
        rig.check_empty()

    @pytest.mark.parametrize("capacity", EDGES)
    async def test_it_takes_what_fits_and_no_more(self, capacity: int) -> None:
        rig = Rig()
        part = rig.part(capacity)
        data = pattern(capacity + 10)
        assert await part.append(memoryview(data)[: capacity - 1]) == capacity - 1
        assert not part.full
        assert await part.append(memoryview(data)[capacity - 1 :]) == 1
        assert part.size == capacity
        assert await part.append(memoryview(data)) == 0
        assert contents(part.seal()) == data[:capacity]
        part.release()
        rig.check_empty()

    @pytest.mark.parametrize("capacity", EDGES)
    async def test_it_never_holds_a_block_more_than_its_capacity(self, capacity: int) -> None:
        rig = Rig()
        part = rig.part(capacity)
        await fill(part, pattern(capacity))
        assert part.granted <= max(capacity, -(-capacity // BLOCK_SIZE) * BLOCK_SIZE if capacity > BLOCK_SIZE else 0)
        part.release()
        rig.check_empty()

    async def test_sealing_gives_back_what_is_not_used(self) -> None:
        rig = Rig()
        part = rig.part(8 * BLOCK_SIZE)
        await fill(part, pattern(5 * BLOCK_SIZE))
        assert rig.budget.granted == 8 * BLOCK_SIZE
        part.seal()
        assert rig.budget.granted == 5 * BLOCK_SIZE
        part.release()
        rig.check_empty()

    async def test_it_waits_for_memory(self) -> None:
        rig = Rig(budget=2 * BLOCK_SIZE)
        await rig.budget.take(2 * BLOCK_SIZE)
        part = rig.part(BLOCK_SIZE)
        appending = asyncio.create_task(part.append(memoryview(b"bytes")))
        await settle()
        assert not appending.done()
        rig.budget.give(BLOCK_SIZE)
        assert await appending == 5
        assert contents(part.seal()) == b"bytes"
        part.release()
        rig.budget.give(BLOCK_SIZE)
        rig.check_empty()

    async def test_without_a_spool_it_gives_up_after_a_while(self) -> None:
        rig = Rig(budget=2 * BLOCK_SIZE)
        part = rig.part(4 * BLOCK_SIZE)
        with pytest.raises(Busy):
            await fill(part, pattern(3 * BLOCK_SIZE))
        assert virtual_loop().time() == pytest.approx(GRANT_TIMEOUT)
        part.release()
        rig.check_empty()

    async def test_no_two_parts_share_memory(self) -> None:
        rig = Rig()
        for _ in range(3):
            parts = [rig.part(3 * BLOCK_SIZE) for _ in range(5)]
            for offset in range(0, 3 * BLOCK_SIZE, 50_000):
                for seed, part in enumerate(parts):
                    await part.append(memoryview(pattern(3 * BLOCK_SIZE, seed))[offset : offset + 50_000])
            for seed, part in enumerate(parts):
                assert contents(part.seal()) == pattern(3 * BLOCK_SIZE, seed)
            for part in parts:
                part.release()
        rig.check_empty()


async def trickle(part: Part, data: bytes, seconds: float) -> None:
    """A client that takes so long for all of it."""
    for start in range(0, len(data), FOOTHOLD):
        await part.append(memoryview(data)[start : start + FOOTHOLD])
        await asyncio.sleep(seconds * FOOTHOLD / len(data))


class TestPace:
    """What a part is granted goes by how fast its client is."""

    SIZE = 16 * FOOTHOLD
    SLOW = 10 * PATIENCE

    async def test_it_begins_with_a_foothold(self, rig: Rig) -> None:
        part = rig.part(self.SIZE)
        assert rig.budget.granted == 0
        await part.append(memoryview(b"x"))
        assert rig.budget.granted == FOOTHOLD
        part.release()
        rig.check_empty()

    async def test_one_whose_client_is_fast_is_granted_all_the_rest_at_once(self, rig: Rig) -> None:
        part = rig.part(self.SIZE)
        await fill(part, pattern(FOOTHOLD + 1), FOOTHOLD // 2)
        assert rig.budget.granted == self.SIZE
        part.release()
        rig.check_empty()

    async def test_one_whose_client_has_proved_to_be_fast_is_granted_all_at_once(self, rig: Rig) -> None:
        part = Part(self.SIZE, rig.budget, rig.spool, rig.algorithm, fast=True)
        await part.append(memoryview(b"x"))
        assert part.granted == self.SIZE
        part.release()
        rig.check_empty()

    @pytest.mark.parametrize("abounds", [True, False])
    @pytest.mark.parametrize(("seconds", "fast"), [(0.9 * PATIENCE, True), (2 * PATIENCE, False)])
    async def test_a_whole_part_in_memory_or_on_disk_proves_what_its_client_is(
        self, rig: Rig, abounds: bool, seconds: float, fast: bool
    ) -> None:
        taken = 0 if abounds else rig.budget.size // 2
        await rig.budget.take(taken)
        part = Part(self.SIZE, rig.budget, rig.spool, rig.algorithm, fast=not fast)
        await trickle(part, pattern(self.SIZE), seconds)
        assert part.fast is fast
        part.release()
        rig.budget.give(taken)
        rig.check_empty()

    async def test_fast_is_who_fills_it_before_patience_runs_out(self, rig: Rig) -> None:
        for seconds, granted in ((0.9 * PATIENCE, self.SIZE), (1.1 * PATIENCE, 2 * FOOTHOLD)):
            part = rig.part(self.SIZE)
            await trickle(part, pattern(FOOTHOLD), HICCUP + seconds * FOOTHOLD / self.SIZE)
            await part.append(memoryview(b"x"))
            assert part.granted == granted
            part.release()
        rig.check_empty()

    async def test_one_whose_client_is_slow_holds_at_most_twice_what_was_sent(self, rig: Rig) -> None:
        part = rig.part(self.SIZE)
        for start in range(0, self.SIZE, FOOTHOLD // 2):
            await part.append(memoryview(pattern(self.SIZE))[start : start + FOOTHOLD // 2])
            await asyncio.sleep(PATIENCE)
            assert part.size <= part.granted <= max(FOOTHOLD, 2 * part.size)
        assert rig.spool.used == 0
        assert contents(part.seal()) == pattern(self.SIZE)
        part.release()
        rig.check_empty()

    async def test_one_whose_client_is_slow_goes_to_disk_when_memory_is_scarce(self, rig: Rig) -> None:
        await rig.budget.take(rig.budget.size // 2)
        part = rig.part(self.SIZE)
        await trickle(part, pattern(self.SIZE), self.SLOW)
        assert part.granted == 0
        assert rig.spool.used == self.SIZE
        assert contents(part.seal()) == pattern(self.SIZE)
        part.release()
        rig.budget.give(rig.budget.size // 2)
        rig.check_empty()

    @pytest.mark.parametrize("proved", [True, False])
    async def test_one_whose_client_is_fast_stays_in_memory_when_it_is_scarce_if_that_was_proved(
        self, rig: Rig, proved: bool
    ) -> None:
        await rig.budget.take(rig.budget.size // 2)
        part = Part(self.SIZE, rig.budget, rig.spool, rig.algorithm, fast=proved)
        await fill(part, pattern(self.SIZE))
        assert (part.granted, rig.spool.used) == ((self.SIZE, 0) if proved else (0, self.SIZE))
        assert contents(part.seal()) == pattern(self.SIZE)
        part.release()
        rig.budget.give(rig.budget.size // 2)
        rig.check_empty()

    async def test_a_crowd_whose_first_bursts_are_large_keeps_nobody_from_memory_who_is_fast(self, rig: Rig) -> None:
        crowd = [rig.part(self.SIZE) for _ in range(40)]
        await asyncio.gather(*(fill(part, pattern(2 * FOOTHOLD), 2 * FOOTHOLD) for part in crowd))
        began = virtual_loop().time()
        proved = Part(self.SIZE, rig.budget, rig.spool, rig.algorithm, fast=True)
        await fill(proved, pattern(self.SIZE))
        assert proved.granted == self.SIZE
        assert virtual_loop().time() - began < FOOTHOLD_PATIENCE
        for part in [*crowd, proved]:
            part.release()
        rig.check_empty()

    async def test_many_fast_ones_are_filled_one_after_the_other_and_none_is_spooled(self, tmp_path: Path) -> None:
        rig = Rig(budget=16 * BLOCK_SIZE, spool=tmp_path)

        async def transfer(seed: int) -> None:
            part = Part(4 * BLOCK_SIZE, rig.budget, rig.spool, rig.algorithm, fast=True)
            for start in range(0, 4 * BLOCK_SIZE, 100_000):
                chunk = memoryview(pattern(4 * BLOCK_SIZE, seed))[start : start + 100_000]
                assert await part.append(chunk) == len(chunk)
                await asyncio.sleep(0.01)
                assert rig.budget.granted <= rig.budget.size
            body = part.seal()
            await asyncio.sleep(1.0)
            assert rig.spool.used == 0
            assert contents(body) == pattern(4 * BLOCK_SIZE, seed)
            part.release()

        await asyncio.gather(*(transfer(seed) for seed in range(20)))
        rig.check_empty()

    async def test_one_whose_client_falls_silent_gives_way(self, rig: Rig) -> None:
        part = rig.part(self.SIZE)
        await fill(part, pattern(2 * FOOTHOLD))
        assert part.granted == self.SIZE
        await rig.budget.take(rig.budget.size)
        assert virtual_loop().time() == pytest.approx(PATIENCE, abs=0.1)
        assert part.granted == 0
        rig.budget.give(rig.budget.size)
        await fill(part, pattern(self.SIZE)[2 * FOOTHOLD :])
        assert contents(part.seal()) == pattern(self.SIZE)
        part.release()
        rig.check_empty()

    async def test_a_foothold_is_not_kept_for_long_while_others_wait(self, rig: Rig) -> None:
        part = rig.part(self.SIZE)
        await fill(part, pattern(FOOTHOLD - 1))
        await rig.budget.take(rig.budget.size)
        assert virtual_loop().time() == pytest.approx(FOOTHOLD_PATIENCE, abs=0.1)
        part.release()
        rig.budget.give(rig.budget.size)
        rig.check_empty()

    async def test_a_full_one_waits_for_the_store_and_stays(self, rig: Rig) -> None:
        part = rig.part(self.SIZE)
        await fill(part, pattern(self.SIZE))
        with pytest.raises(Busy):
            await rig.budget.take(rig.budget.size)
        assert part.granted == self.SIZE
        part.release()
        rig.check_empty()

    async def test_one_that_gets_no_memory_for_long_does_without(self, rig: Rig) -> None:
        await rig.budget.take(rig.budget.size)
        part = rig.part(self.SIZE)
        await fill(part, pattern(self.SIZE))
        assert virtual_loop().time() == pytest.approx(SPOOL_PATIENCE, abs=1.0)
        assert rig.spool.used == self.SIZE
        assert contents(part.seal()) == pattern(self.SIZE)
        part.release()
        rig.budget.give(rig.budget.size)
        rig.check_empty()

    async def test_when_all_memory_is_footholds_everybody_comes_through(self, tmp_path: Path) -> None:
        rig = Rig(budget=8 * FOOTHOLD, spool=tmp_path)

        async def transfer(seed: int) -> None:
            part = rig.part(2 * FOOTHOLD)
            await fill(part, pattern(2 * FOOTHOLD, seed), FOOTHOLD)
            assert contents(part.seal()) == pattern(2 * FOOTHOLD, seed)
            part.release()

        await asyncio.gather(*(transfer(seed) for seed in range(30)))
        rig.check_empty()

    async def test_a_part_that_would_take_much_of_the_budget_is_never_granted_at_once(self, rig: Rig) -> None:
        part = rig.part(rig.budget.size // 2)
        await fill(part, pattern(FOOTHOLD + 1))
        assert part.granted == 2 * FOOTHOLD
        part.release()
        rig.check_empty()


async def in_memory(part: Part) -> None:
    """Stays where it is."""


KEPT: dict[str, Callable[[Part], Awaitable[None]]] = {"memory": in_memory, "file": spooled}


@pytest.mark.parametrize("keep", list(KEPT.values()), ids=list(KEPT))
class TestBody:
    async def body(self, rig: Rig, size: int, keep: Callable[[Part], Awaitable[None]]) -> tuple[Part, PartBody]:
        part = rig.part(size)
        await fill(part, pattern(size))
        await keep(part)
        return part, part.seal()

    @pytest.mark.parametrize("size", EDGES)
    async def test_it_can_be_read_again_and_again(
        self, rig: Rig, size: int, keep: Callable[[Part], Awaitable[None]]
    ) -> None:
        part, body = await self.body(rig, size, keep)
        for _ in range(3):
            assert contents(body) == pattern(size)
            assert body.tell() == size
            assert bytes(body.read()) == b""
        part.release()
        rig.check_empty()

    @given(offset=st.integers(0, 3 * BLOCK_SIZE + 7), whence=st.sampled_from([0, 1, 2]), before=st.integers(0, 3))
    @settings(max_examples=30, deadline=None)
    def test_it_seeks_as_a_file_does(
        self, offset: int, whence: int, before: int, keep: Callable[[Part], Awaitable[None]]
    ) -> None:
        size = 3 * BLOCK_SIZE + 7
        reference = io.BytesIO(pattern(size))

        async def seek() -> None:
            rig = Rig(spool=Path("/tmp"))
            part, body = await self.body(rig, size, keep)
            for _ in range(before):
                reference.read(len(body.read()))
            distance = {0: offset, 1: -(offset % (body.tell() + 1)), 2: -offset}[whence]
            assert body.seek(distance, whence) == reference.seek(distance, whence) == body.tell()
            rest = b""
            while piece := bytes(body.read()):
                rest += piece
            assert rest == reference.read()
            part.release()

        run(seek())

    @pytest.mark.parametrize("buffer_size", [1_000, 4_096, 100_000, BLOCK_SIZE, MIB])
    async def test_it_is_read_into_a_buffer(
        self, rig: Rig, buffer_size: int, keep: Callable[[Part], Awaitable[None]]
    ) -> None:
        size = BLOCK_SIZE + 1_234
        part, body = await self.body(rig, size, keep)
        buffer = memoryview(bytearray(buffer_size))
        pieces = []
        while count := body.readinto(buffer):
            pieces.append(bytes(buffer[:count]))
        assert b"".join(pieces) == pattern(size)
        assert body.readinto(buffer) == 0
        part.release()

    async def test_a_withdrawn_body_stops_its_reader(self, rig: Rig, keep: Callable[[Part], Awaitable[None]]) -> None:
        part, body = await self.body(rig, 2 * BLOCK_SIZE, keep)
        body.read()
        body.withdraw()
        with pytest.raises(Withdrawn):
            body.read()
        with pytest.raises(Withdrawn):
            body.readinto(memoryview(bytearray(10)))
        part.release()

    async def test_a_body_of_a_released_part_cannot_be_read(
        self, rig: Rig, keep: Callable[[Part], Awaitable[None]]
    ) -> None:
        part, body = await self.body(rig, 2 * BLOCK_SIZE, keep)
        part.release()
        with pytest.raises(Withdrawn):
            body.read()


class TestRoom:
    """Bytes that are received where they are to stay."""

    async def receive(self, part: Part, data: bytes) -> int:
        """What a connection does with the room that there is, and its handler after it; returns how many bytes."""
        room = part.room()
        size = min(len(data), BLOCK_SIZE if room is None else len(room))
        if room is None:
            return await part.append(memoryview(data)[:size])
        room[:size] = data[:size]
        return await part.append(room[:size])

    @given(
        steps=st.lists(st.tuples(st.booleans(), st.integers(1, 2 * BLOCK_SIZE)), min_size=1, max_size=12),
        fast=st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def test_the_bytes_come_back_whether_they_were_received_there_or_copied(
        self, steps: list[tuple[bool, int]], fast: bool
    ) -> None:
        data = pattern(3 * BLOCK_SIZE + 77)

        async def test() -> None:
            rig = Rig()
            part = Part(len(data), rig.budget, rig.spool, rig.algorithm, fast=fast)
            for in_place, size in steps:
                end = min(part.size + size, len(data))
                while part.size < end:
                    if in_place:
                        await self.receive(part, data[part.size : end])
                    else:
                        await part.append(memoryview(data)[part.size : end])
            size = part.size
            assert contents(part.seal()) == data[:size]
            assert part.checksum.checksum == checksum_of(data[:size])
            part.release()
            rig.check_empty()

        run(test())

    async def test_it_is_no_more_than_was_granted_and_fits(self, rig: Rig) -> None:
        part = rig.part(FOOTHOLD + 1_000)
        assert part.room() is None
        await part.append(memoryview(b"x"))
        while part.size < FOOTHOLD:
            room = part.room()
            assert room is not None
            assert 0 < len(room) <= part.granted - part.size
            await part.append(room)
        assert part.room() is None
        part.release()
        rig.check_empty()

    async def test_a_client_that_has_proved_fast_has_it_before_its_bytes_come_and_no_other(self, rig: Rig) -> None:
        for fast, granted in ((True, BLOCK_SIZE), (False, 0)):
            part = Part(BLOCK_SIZE, rig.budget, rig.spool, rig.algorithm, fast=fast)
            await part.prepare()
            await part.prepare()
            assert part.granted == granted
            assert (part.room() is not None) == fast
            part.release()
        rig.check_empty()

    async def test_what_was_received_is_right_when_the_part_moved_to_a_file_meanwhile(self, rig: Rig) -> None:
        data = pattern(3 * BLOCK_SIZE)
        part = Part(len(data), rig.budget, rig.spool, rig.algorithm, fast=True)
        await fill(part, data[: BLOCK_SIZE // 2])
        room = part.room()
        assert room is not None
        room[:1_000] = data[part.size : part.size + 1_000]
        await part.spool()
        assert part.room() is None
        # Were it recycled, another part would be writing there now.
        other = Part(len(data), rig.budget, rig.spool, rig.algorithm, fast=True)
        await fill(other, pattern(len(data), seed=1))
        await part.append(room[:1_000])
        await fill(part, data[part.size :])
        assert contents(part.seal()) == data
        assert contents(other.seal()) == pattern(len(data), seed=1)
        part.release()
        other.release()
        rig.check_empty()

    async def test_it_is_nobody_elses_after_the_part_was_released(self, rig: Rig) -> None:
        part = Part(BLOCK_SIZE, rig.budget, rig.spool, rig.algorithm, fast=True)
        await part.append(memoryview(b"x"))
        room = part.room()
        assert room is not None
        part.release()
        assert part.room() is None
        other = rig.part(BLOCK_SIZE)
        await fill(other, pattern(BLOCK_SIZE))
        room[:] = bytes(len(room))
        assert contents(other.seal()) == pattern(BLOCK_SIZE)
        with pytest.raises(Withdrawn):
            await part.append(room)
        other.release()
        rig.check_empty()

    async def test_there_is_none_in_a_sealed_part(self, rig: Rig) -> None:
        part = rig.part(BLOCK_SIZE)
        await part.append(memoryview(b"x"))
        part.seal()
        assert part.room() is None
        part.release()
        rig.check_empty()


async def test_a_body_that_outlives_its_part_keeps_no_memory(rig: Rig) -> None:
    part = rig.part(2 * BLOCK_SIZE)
    await fill(part, pattern(2 * BLOCK_SIZE))
    body = part.seal()
    blocks = [weakref.ref(block.obj) for _, block in part._blocks]
    assert all(block() is not None for block in blocks)
    part.release()
    rig.budget._trim(0)
    assert [block() for block in blocks] == [None] * len(blocks)
    with pytest.raises(Withdrawn):
        body.read()
    rig.check_empty()


class TestSpooling:
    @pytest.mark.parametrize("size", EDGES)
    async def test_the_bytes_go_to_disk_and_the_memory_back(self, rig: Rig, size: int) -> None:
        part = rig.part(4 * BLOCK_SIZE)
        await fill(part, pattern(size))
        await part.spool()
        assert rig.budget.granted == part.granted == 0
        assert rig.spool.used == size
        body = part.seal()
        assert contents(body) == pattern(size)
        part.release()
        rig.check_empty()

    async def test_a_part_is_moved_once(self, rig: Rig) -> None:
        part = rig.part(BLOCK_SIZE)
        await fill(part, pattern(1_000))
        await part.spool()
        await part.spool()
        assert rig.spool.used == 1_000
        assert contents(part.seal()) == pattern(1_000)
        part.release()
        rig.check_empty()

    @pytest.mark.parametrize("before", [0, *EDGES[:5]])
    async def test_later_bytes_go_to_the_file(self, rig: Rig, before: int) -> None:
        size = 3 * BLOCK_SIZE
        part = rig.part(size)
        await fill(part, pattern(size)[:before])
        await part.spool()
        await fill(part, pattern(size)[before:])
        assert part.full
        assert rig.budget.granted == 0
        assert contents(part.seal()) == pattern(size)
        assert part.checksum.checksum == checksum_of(pattern(size))
        part.release()
        rig.check_empty()

    async def test_memory_that_is_missing_is_made_by_spooling(self, tmp_path: Path) -> None:
        rig = Rig(budget=2 * BLOCK_SIZE, spool=tmp_path)
        parts = [rig.part(3 * BLOCK_SIZE) for _ in range(6)]
        for offset in range(0, 3 * BLOCK_SIZE, 100_000):
            for seed, part in enumerate(parts):
                await part.append(memoryview(pattern(3 * BLOCK_SIZE, seed))[offset : offset + 100_000])
                assert rig.budget.granted <= rig.budget.size
        for seed, part in enumerate(parts):
            assert contents(part.seal()) == pattern(3 * BLOCK_SIZE, seed)
            part.release()
        rig.check_empty()

    async def test_an_append_that_waits_for_memory_goes_on_in_the_file(self, tmp_path: Path) -> None:
        rig = Rig(budget=2 * BLOCK_SIZE, spool=tmp_path)
        await rig.budget.take(BLOCK_SIZE)
        part = rig.part(4 * BLOCK_SIZE)
        await fill(part, pattern(BLOCK_SIZE))
        # Nothing but this very part can be spooled to make room for it.
        await fill(part, pattern(4 * BLOCK_SIZE)[BLOCK_SIZE:])
        assert part.granted == 0
        assert contents(part.seal()) == pattern(4 * BLOCK_SIZE)
        part.release()
        rig.budget.give(BLOCK_SIZE)
        rig.check_empty()

    async def test_bytes_that_come_while_the_thread_writes_follow_in_the_file(self, rig: Rig) -> None:
        part = rig.part(4 * BLOCK_SIZE)
        data = pattern(2 * BLOCK_SIZE)
        await fill(part, data[:300_000])
        virtual_loop().hold_threads()
        spooling = asyncio.create_task(part.spool())
        await settle()
        appending = asyncio.create_task(part.append(memoryview(data)[300_000:]))
        await settle()
        assert not appending.done()
        virtual_loop().release_threads()
        await spooling
        assert await appending == len(data) - 300_000
        assert rig.budget.granted == 0
        assert contents(part.seal()) == data
        assert part.checksum.checksum == checksum_of(data)
        part.release()
        rig.check_empty()

    async def test_a_part_sealed_while_the_thread_writes_stays_in_memory(self, rig: Rig) -> None:
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(2 * BLOCK_SIZE))
        virtual_loop().hold_threads()
        spooling = asyncio.create_task(part.spool())
        await settle()
        body = part.seal()
        virtual_loop().release_threads()
        await spooling
        # Blocks given away by mistake would be filled by others now.
        other = rig.part(4 * BLOCK_SIZE)
        await fill(other, pattern(4 * BLOCK_SIZE, seed=1))
        assert contents(body) == pattern(2 * BLOCK_SIZE)
        assert part.granted == 2 * BLOCK_SIZE
        assert rig.spool.used == 0
        part.release()
        other.release()
        rig.check_empty()

    async def test_a_sealed_part_stays_where_it_is(self, rig: Rig) -> None:
        part = rig.part(BLOCK_SIZE)
        await fill(part, pattern(1_000))
        body = part.seal()
        await part.spool()
        assert rig.spool.used == 0
        assert contents(body) == pattern(1_000)
        part.release()
        rig.check_empty()

    async def test_a_part_too_large_for_the_spool_stays_in_memory(self, tmp_path: Path) -> None:
        rig = Rig(spool=tmp_path, spool_limit=BLOCK_SIZE)
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(BLOCK_SIZE + 1))
        await part.spool()
        await fill(part, pattern(2 * BLOCK_SIZE)[BLOCK_SIZE + 1 :])
        assert contents(part.seal()) == pattern(2 * BLOCK_SIZE)
        assert rig.spool.used == 0
        part.release()
        rig.check_empty()

    async def test_a_spool_that_fills_up_is_busy(self, tmp_path: Path) -> None:
        rig = Rig(spool=tmp_path, spool_limit=BLOCK_SIZE)
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(1_000))
        await part.spool()
        with pytest.raises(Busy):
            await fill(part, pattern(BLOCK_SIZE))
        part.release()
        rig.check_empty()

    async def test_a_directory_that_is_gone_keeps_the_part_in_memory(self, tmp_path: Path) -> None:
        rig = Rig(spool=tmp_path / "gone")
        part = rig.part(BLOCK_SIZE)
        await fill(part, pattern(1_000))
        await part.spool()
        await fill(part, pattern(2_000)[1_000:])
        assert contents(part.seal()) == pattern(2_000)
        part.release()
        rig.check_empty()

    async def test_a_full_disk_keeps_the_part_in_memory(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(BLOCK_SIZE + 1_000))
        monkeypatch.setattr(os, "pwrite", full_disk)
        await part.spool()
        assert rig.spool.used == 0
        await fill(part, pattern(2 * BLOCK_SIZE)[BLOCK_SIZE + 1_000 :])
        assert contents(part.seal()) == pattern(2 * BLOCK_SIZE)
        part.release()
        rig.check_empty()

    async def test_a_disk_that_fills_up_is_busy(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(1_000))
        await part.spool()
        monkeypatch.setattr(os, "pwrite", full_disk)
        with pytest.raises(Busy):
            await part.append(memoryview(b"more"))
        part.release()
        rig.check_empty()

    async def test_without_a_spool_nobody_asks_it_to_move(self) -> None:
        rig = Rig()
        part = rig.part(BLOCK_SIZE)
        assert not rig.budget._filling
        part.release()


def full_disk(descriptor: int, data: memoryview, offset: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


class TestRelease:
    """Every test ends in `check_empty`, and in a second release that changes nothing."""

    async def over(self, rig: Rig, part: Part) -> None:
        part.release()
        part.release()
        await settle()
        rig.check_empty()
        with pytest.raises(Withdrawn):
            await part.append(memoryview(b"more"))
        await part.spool()
        rig.check_empty()

    async def test_of_an_empty_part(self, rig: Rig) -> None:
        await self.over(rig, rig.part(BLOCK_SIZE))

    @pytest.mark.parametrize("size", EDGES)
    async def test_while_filling(self, rig: Rig, size: int) -> None:
        part = rig.part(4 * BLOCK_SIZE)
        await fill(part, pattern(size))
        await self.over(rig, part)

    async def test_while_it_waits_for_memory(self, tmp_path: Path) -> None:
        rig = Rig(budget=2 * BLOCK_SIZE)
        await rig.budget.take(2 * BLOCK_SIZE)
        part = rig.part(BLOCK_SIZE)
        appending = asyncio.create_task(part.append(memoryview(b"bytes")))
        await settle()
        part.release()
        rig.budget.give(2 * BLOCK_SIZE)
        with pytest.raises(Withdrawn):
            await appending
        await self.over(rig, part)

    async def test_while_the_thread_writes_it_to_disk(self, rig: Rig) -> None:
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(BLOCK_SIZE + 1))
        virtual_loop().hold_threads()
        spooling = asyncio.create_task(part.spool())
        await settle()
        part.release()
        virtual_loop().release_threads()
        await spooling
        await self.over(rig, part)

    async def test_while_bytes_wait_for_the_disk(self, rig: Rig) -> None:
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(1_000))
        virtual_loop().hold_threads()
        spooling = asyncio.create_task(part.spool())
        await settle()
        appending = asyncio.create_task(part.append(memoryview(b"more")))
        await settle()
        part.release()
        virtual_loop().release_threads()
        await spooling
        with pytest.raises(Withdrawn):
            await appending
        await self.over(rig, part)

    async def test_when_spooled(self, rig: Rig) -> None:
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(1_000))
        await part.spool()
        await self.over(rig, part)

    async def test_while_the_thread_appends(self, rig: Rig) -> None:
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(1_000))
        await part.spool()
        virtual_loop().hold_threads()
        appending = asyncio.create_task(part.append(memoryview(b"more")))
        await settle()
        part.release()
        virtual_loop().release_threads()
        with pytest.raises(Withdrawn):
            await appending
        await self.over(rig, part)

    @pytest.mark.parametrize("keep", list(KEPT.values()), ids=list(KEPT))
    async def test_when_sealed(self, rig: Rig, keep: Callable[[Part], Awaitable[None]]) -> None:
        part = rig.part(2 * BLOCK_SIZE)
        await fill(part, pattern(BLOCK_SIZE + 1))
        await keep(part)
        part.seal()
        await self.over(rig, part)

    async def test_by_cancelling_who_waits_for_memory(self, rig: Rig) -> None:
        await rig.budget.take(rig.budget.size)
        part = rig.part(BLOCK_SIZE)
        appending = asyncio.create_task(part.append(memoryview(b"bytes")))
        await settle()
        appending.cancel()
        rig.budget.give(rig.budget.size)
        await settle()
        await self.over(rig, part)
