"""The memory budget: never over its size, first come first served, and nothing lost by those who leave the line."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from s3proxy.errors import Busy
from s3proxy.transfer.budget import BLOCK_SIZE, GRANT_TIMEOUT, PATIENCE, REST, MemoryBudget
from tests.loop import VirtualLoop, other_tasks, settle, steps, virtual_loop


async def start(budget: MemoryBudget, size: int) -> asyncio.Task[None]:
    """Somebody who asks for memory, and waits for it if there is none."""
    task = asyncio.create_task(budget.take(size))
    await settle()
    return task


class Holder:
    """Keeps `Spoolable`: moves to disk at once, or when it is told, or not at all."""

    @classmethod
    async def of(cls, budget: MemoryBudget, granted: int, *, works: bool = True) -> Holder:
        """A part that begins to fill what it is granted."""
        await budget.take(granted)
        return cls(budget, granted, works=works)

    def __init__(self, budget: MemoryBudget, granted: int, *, works: bool) -> None:
        self.granted = granted
        self.spooled: int = 0
        self.go = asyncio.Event()
        self.go.set()
        self._budget = budget
        self._works = works
        budget.watch(self)

    async def spool(self) -> None:
        self.spooled += 1
        await self.go.wait()
        if self._works:
            granted, self.granted = self.granted, 0
            self._budget.give(granted)


class TestTake:
    async def test_what_is_free_is_granted_at_once(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(60)
        await budget.take(40)
        assert budget.granted == 100
        budget.give(100)
        assert budget.granted == 0

    async def test_more_than_there_ever_is_is_refused_at_once(self) -> None:
        budget = MemoryBudget(100)
        with pytest.raises(Busy):
            await budget.take(101)
        assert virtual_loop().time() == 0
        assert budget.granted == 0

    async def test_who_comes_too_late_waits_until_enough_is_given_back(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(100)
        waiter = await start(budget, 60)
        budget.give(59)
        await settle()
        assert not waiter.done()
        budget.give(1)
        await waiter
        assert budget.granted == 100

    async def test_nobody_overtakes_who_came_first(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(90)
        large = await start(budget, 50)
        small = await start(budget, 10)
        assert not small.done()
        assert not budget.take_now(1)
        budget.give(40)
        await settle()
        assert large.done()
        assert not small.done()
        budget.give(50)
        await small
        assert budget.granted == 60

    async def test_one_gift_serves_as_many_as_it_can(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(100)
        waiters = [await start(budget, 30) for _ in range(4)]
        budget.give(100)
        await settle()
        assert [waiter.done() for waiter in waiters] == [True, True, True, False]
        budget.give(30)
        await waiters[3]

    async def test_take_now_leaves_half_to_those_who_cannot_do_without(self) -> None:
        budget = MemoryBudget(100)
        assert not budget.take_now(51)
        assert budget.take_now(50)
        assert not budget.take_now(1)
        assert budget.granted == 50

    async def test_what_is_reserved_for_downloads_no_upload_is_granted(self) -> None:
        budget = MemoryBudget(100, reserve=10)
        with pytest.raises(Busy):
            await budget.take(91)
        await budget.take(90)
        upload = await start(budget, 1)
        await budget.take(10, download=True)
        assert budget.granted == 100
        budget.give(10)
        await settle()
        assert not upload.done()
        budget.give(1)
        await upload

    async def test_a_download_does_not_wait_behind_uploads(self) -> None:
        budget = MemoryBudget(100, reserve=10)
        await budget.take(100, download=True)
        upload = await start(budget, 50)
        download = asyncio.create_task(budget.take(20, download=True))
        await settle()
        budget.give(20)
        await download
        assert not upload.done()
        budget.give(60)
        await upload

    async def test_who_knows_a_way_out_waits_as_long_as_it_likes(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(100)
        with pytest.raises(Busy):
            await budget.take(1, patience=3.0)
        assert virtual_loop().time() == pytest.approx(3.0)

    async def test_waiting_ends_with_busy(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(100)
        with pytest.raises(Busy):
            await budget.take(1)
        assert virtual_loop().time() == pytest.approx(GRANT_TIMEOUT)
        assert budget.waiting == 0
        assert budget.granted == 100

    async def test_who_gives_up_lets_the_next_one_go(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(80)
        large = await start(budget, 50)
        await asyncio.sleep(GRANT_TIMEOUT / 2)
        small = await start(budget, 20)
        with pytest.raises(Busy):
            await large
        await small
        assert budget.granted == 100

    @pytest.mark.parametrize("place", [0, 1, 2])
    async def test_who_is_cancelled_leaves_the_line(self, place: int) -> None:
        budget = MemoryBudget(100)
        await budget.take(100)
        waiters = [await start(budget, 30) for _ in range(3)]
        waiters.pop(place).cancel()
        await settle()
        assert budget.waiting == 2
        budget.give(60)
        await asyncio.gather(*waiters)
        assert budget.granted == 100

    async def test_cancelling_the_first_serves_the_second(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(80)
        large, small = await start(budget, 50), await start(budget, 20)
        large.cancel()
        await small
        assert budget.granted == 100

    async def test_a_grant_that_meets_its_cancellation_is_given_back(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(100)
        first, second = await start(budget, 50), await start(budget, 50)
        budget.give(50)
        first.cancel()
        await settle()
        assert first.cancelled()
        await second
        assert budget.granted == 100

    async def test_a_cancellation_that_meets_its_grant_takes_nothing(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(100)
        first, second = await start(budget, 50), await start(budget, 50)
        first.cancel()
        budget.give(50)
        await settle()
        assert first.cancelled()
        await second
        assert budget.granted == 100
        assert budget.waiting == 0

    async def test_memory_is_scarce_over_half_or_when_somebody_waits(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(50)
        seen = [budget.pressed]
        await budget.take(1)
        seen.append(budget.pressed)
        budget.give(1)
        waiter = await start(budget, 51)
        seen.append(budget.pressed)
        budget.give(50)
        await waiter
        assert seen == [False, True, True]


class TestBlocks:
    async def test_blocks_are_used_again(self) -> None:
        budget = MemoryBudget(8 * BLOCK_SIZE)
        await budget.take(BLOCK_SIZE)
        block = budget.block()
        assert len(block) == BLOCK_SIZE
        block[:5] = b"bytes"
        budget.recycle(block)
        budget.give(BLOCK_SIZE)
        await budget.take(BLOCK_SIZE)
        assert bytes(budget.block()[:5]) == b"bytes"

    @pytest.mark.parametrize("size", [1, 1000, 64 * 1024, 100_000, BLOCK_SIZE])
    async def test_a_block_has_the_size_asked_for_however_often_it_is_used(self, size: int) -> None:
        budget = MemoryBudget(2 * BLOCK_SIZE)
        for _ in range(3):
            await budget.take(size)
            block = budget.block(size)
            assert len(block) == size
            block[:] = bytes(size)
            budget.recycle(block[: size // 2])
            budget.give(size)
        assert budget.granted + budget._idle_size <= budget.size

    async def test_two_holders_never_share_a_block(self) -> None:
        budget = MemoryBudget(2 * BLOCK_SIZE)
        await budget.take(2 * BLOCK_SIZE)
        one, two = budget.block(), budget.block()
        one[:1] = b"1"
        two[:1] = b"2"
        assert bytes(one[:1]) == b"1"

    async def test_idle_blocks_of_another_size_make_room_for_new_ones(self) -> None:
        budget = MemoryBudget(8 * BLOCK_SIZE)
        await budget.take(8 * BLOCK_SIZE)
        for block in [budget.block() for _ in range(2)]:
            budget.recycle(block)
        budget.give(BLOCK_SIZE)
        assert budget._idle_size == 2 * BLOCK_SIZE
        budget.block(2 * BLOCK_SIZE)
        assert budget._idle_size == BLOCK_SIZE
        budget.block()
        assert budget._idle_size == 0

    async def test_blocks_that_will_be_used_again_are_kept_when_memory_is_granted(self) -> None:
        budget = MemoryBudget(8 * BLOCK_SIZE)
        await budget.take(2 * BLOCK_SIZE)
        blocks = [budget.block() for _ in range(2)]
        for block in blocks:
            budget.recycle(block)
        budget.give(2 * BLOCK_SIZE)
        await budget.take(8 * BLOCK_SIZE)
        again = [budget.block() for _ in range(2)]
        assert {id(block.obj) for block in again} == {id(block.obj) for block in blocks}

    async def test_no_more_than_a_third_is_kept_idle(self) -> None:
        budget = MemoryBudget(8 * BLOCK_SIZE)
        await budget.take(8 * BLOCK_SIZE)
        for block in [budget.block() for _ in range(8)]:
            budget.recycle(block)
        budget.give(8 * BLOCK_SIZE)
        assert budget._idle_size == 2 * BLOCK_SIZE

    @pytest.mark.parametrize(
        ("size", "kept"), [(0, 2), (BLOCK_SIZE - 1, 2), (BLOCK_SIZE, 1), (BLOCK_SIZE + 1, 0), (9 * BLOCK_SIZE, 0)]
    )
    async def test_they_make_way_for_what_takes_memory_beside_the_budget(self, size: int, kept: int) -> None:
        budget = MemoryBudget(8 * BLOCK_SIZE)
        await budget.take(2 * BLOCK_SIZE)
        for block in [budget.block() for _ in range(2)]:
            budget.recycle(block)
        budget.give_way(size)
        assert budget._idle_size == kept * BLOCK_SIZE

    async def test_at_rest_none_are_kept(self) -> None:
        budget = MemoryBudget(8 * BLOCK_SIZE)
        await budget.take(2 * BLOCK_SIZE)
        budget.recycle(budget.block())
        budget.give(BLOCK_SIZE)
        await asyncio.sleep(2 * REST)
        assert budget._idle_size == BLOCK_SIZE
        budget.give(BLOCK_SIZE)
        await asyncio.sleep(REST - 0.1)
        assert budget._idle_size == BLOCK_SIZE
        await asyncio.sleep(0.2)
        assert budget._idle_size == 0

    async def test_what_comes_before_the_rest_finds_them(self) -> None:
        budget = MemoryBudget(8 * BLOCK_SIZE)
        await budget.take(BLOCK_SIZE)
        budget.recycle(budget.block())
        budget.give(BLOCK_SIZE)
        await asyncio.sleep(REST / 2)
        await budget.take(BLOCK_SIZE)
        await asyncio.sleep(REST)
        assert budget._idle_size == BLOCK_SIZE


class TestReclaim:
    async def test_whoever_has_been_filling_for_long_is_moved_to_disk_until_the_line_moves(self) -> None:
        budget = MemoryBudget(100)
        old, middle, young = [await Holder.of(budget, size) for size in (40, 40, 20)]
        await budget.take(70)
        assert [holder.spooled for holder in (old, middle, young)] == [1, 1, 0]
        assert budget.granted == 90
        assert virtual_loop().time() == pytest.approx(PATIENCE)

    async def test_who_began_a_short_while_ago_is_left_alone(self) -> None:
        budget = MemoryBudget(100)
        slow = await Holder.of(budget, 30)
        await asyncio.sleep(PATIENCE - 1)
        fast = await Holder.of(budget, 70)
        waiter = await start(budget, 50)
        await asyncio.sleep(2)
        assert (slow.spooled, fast.spooled) == (1, 0)
        assert not waiter.done()
        budget.unwatch(fast)
        budget.give(70)
        await waiter
        await asyncio.sleep(10 * PATIENCE)
        assert fast.spooled == 0

    async def test_what_is_granted_anew_gets_its_time_anew(self) -> None:
        budget = MemoryBudget(100)
        first, second = await Holder.of(budget, 50), await Holder.of(budget, 50)
        await asyncio.sleep(PATIENCE)
        budget.watch(first)
        await budget.take(50)
        assert (first.spooled, second.spooled) == (0, 1)

    async def test_nobody_is_moved_without_need(self) -> None:
        budget = MemoryBudget(100)
        holder = await Holder.of(budget, 50)
        await budget.take(50)
        await asyncio.sleep(10 * PATIENCE)
        assert holder.spooled == 0

    async def test_a_download_that_waits_is_need_as_well(self) -> None:
        budget = MemoryBudget(100, reserve=10)
        holder = await Holder.of(budget, 90)
        await budget.take(20, download=True)
        assert holder.spooled == 1

    async def test_who_is_no_longer_watched_stays(self) -> None:
        budget = MemoryBudget(100)
        leaving, staying = await Holder.of(budget, 50), await Holder.of(budget, 50)
        budget.unwatch(leaving)
        await budget.take(50)
        assert (leaving.spooled, staying.spooled) == (0, 1)

    async def test_who_begins_to_fill_while_others_wait_is_watched_too(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(100)
        waiter = await start(budget, 100)
        holder = Holder(budget, 100, works=True)
        await waiter
        assert holder.spooled == 1

    async def test_who_cannot_be_moved_is_asked_once(self) -> None:
        budget = MemoryBudget(100)
        stuck, other = await Holder.of(budget, 50, works=False), await Holder.of(budget, 50)
        await budget.take(50)
        assert (stuck.spooled, other.spooled) == (1, 1)
        waiter = await start(budget, 10)
        await asyncio.sleep(10 * PATIENCE)
        assert (stuck.spooled, other.spooled) == (1, 1)
        budget.give(10)
        await waiter

    async def test_one_is_moved_at_a_time(self) -> None:
        budget = MemoryBudget(100)
        first, second = await Holder.of(budget, 50), await Holder.of(budget, 50)
        first.go.clear()
        one, two = await start(budget, 40), await start(budget, 40)
        await asyncio.sleep(2 * PATIENCE)
        assert (first.spooled, second.spooled) == (1, 0)
        first.go.set()
        await one
        await two
        assert (first.spooled, second.spooled) == (1, 1)

    async def test_who_comes_while_nobody_can_be_moved_waits_for_gifts(self) -> None:
        budget = MemoryBudget(100)
        await budget.take(100)
        waiter = await start(budget, 50)
        assert other_tasks() == {waiter}
        budget.give(50)
        await waiter


class Budgeting(RuleBasedStateMachine):
    """Anybody may come, give back, leave and run out of patience, in any order."""

    SIZE = 8 * BLOCK_SIZE

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.budget = MemoryBudget(self.SIZE)
        self.line: list[tuple[int, asyncio.Task[None]]] = []
        self.held: list[tuple[int, list[memoryview]]] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do it, and see who was served."""
        self.runner.run(self._observe(work))

    async def _observe(self, work: Coroutine[Any, Any, Any]) -> None:
        await work
        await settle()
        waiting = [not task.done() for _, task in self.line]
        assert waiting == sorted(waiting), "somebody overtook"
        for size, task in self.line:
            if task.done() and not task.cancelled() and task.exception() is None:
                self.held.append((size, [self.budget.block() for _ in range(size // BLOCK_SIZE)]))
        self.line = [(size, task) for size, task in self.line if not task.done()]

    @rule(size=st.sampled_from([1, 1000, BLOCK_SIZE, 2 * BLOCK_SIZE, 3 * BLOCK_SIZE + 5, SIZE]))
    def take(self, size: int) -> None:
        async def work() -> None:
            self.line.append((size, asyncio.create_task(self.budget.take(size))))

        self.run(work())

    @rule(size=st.sampled_from([1, BLOCK_SIZE]))
    def take_now(self, size: int) -> None:
        async def work() -> None:
            free = not self.line and self.budget.granted + size <= self.SIZE // 2
            assert self.budget.take_now(size) == free
            if free:
                self.held.append((size, []))

        self.run(work())

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 100), cancel_too=st.booleans(), first=st.booleans())
    def give(self, index: int, cancel_too: bool, first: bool) -> None:
        async def work() -> None:
            size, blocks = self.held.pop(index % len(self.held))
            if cancel_too and first and self.line:
                self.line.pop(index % len(self.line))[1].cancel()
            for block in blocks:
                self.budget.recycle(block)
            self.budget.give(size)
            if cancel_too and not first and self.line:
                self.line.pop(index % len(self.line))[1].cancel()

        self.run(work())

    @precondition(lambda self: self.line)
    @rule(index=st.integers(0, 100))
    def cancel(self, index: int) -> None:
        async def work() -> None:
            self.line.pop(index % len(self.line))[1].cancel()

        self.run(work())

    @rule(seconds=st.sampled_from([1.0, GRANT_TIMEOUT / 2, GRANT_TIMEOUT]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @invariant()
    def the_books_are_right(self) -> None:
        assert self.budget.granted == sum(size for size, _ in self.held)
        assert self.budget.waiting == len(self.line)

    @invariant()
    def the_bound_is_hard(self) -> None:
        in_use = sum(len(block) for _, blocks in self.held for block in blocks)
        assert in_use + self.budget._idle_size <= self.SIZE
        assert self.budget.granted <= self.SIZE

    @invariant()
    def nobody_waits_for_what_is_free(self) -> None:
        if self.line:
            assert self.budget.granted + self.line[0][0] > self.SIZE

    def teardown(self) -> None:
        async def work() -> None:
            for _, task in self.line:
                task.cancel()
            await steps(2)

        self.runner.run(work())
        self.runner.close()


Budgeting.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBudgeting = Budgeting.TestCase
