"""Bandwidth: never more than the rate, never less while somebody wants it, and the same for all who do."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.access.bandwidth import LONGEST_QUANTUM, SHORTEST_QUANTUM, SLACK, Bandwidth, Share
from tests.access.virtual import virtual
from tests.loop import run, settle, virtual_loop

MIB = 1024 * 1024
KIB = 1024


class Transfer:
    """Always wants more, in chunks of one size; counts what it was given and when."""

    def __init__(self, bandwidth: Bandwidth, chunk: int) -> None:
        self.bandwidth = bandwidth
        self.chunk = chunk
        self.passed = 0
        self.share = Share()
        self.task = asyncio.create_task(self._go_on())

    async def _go_on(self) -> None:
        while True:
            await self.bandwidth.take(self.share, self.chunk)
            self.passed += self.chunk
            await asyncio.sleep(0)  # As passing a chunk on does.

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def run_for(seconds: float, bandwidth: Bandwidth, *chunks: int) -> list[int]:
    """What transfers with these chunks are given in that time."""
    transfers = [Transfer(bandwidth, chunk) for chunk in chunks]
    await asyncio.sleep(seconds)
    for transfer in transfers:
        await transfer.stop()
    return [transfer.passed for transfer in transfers]


def most(rate: float, seconds: float, quantum: int) -> float:
    """Bytes that may pass in that time."""
    return rate * (seconds + SLACK) + quantum


class TestRate:
    @pytest.mark.parametrize("rate", [10 * KIB, MIB, 100 * MIB])
    @pytest.mark.parametrize("chunk", [1 * KIB, 64 * KIB, 256 * KIB, MIB])
    @virtual
    async def test_one_transfer_gets_the_rate(self, rate: int, chunk: int) -> None:
        bandwidth = Bandwidth(rate)
        seconds = 1_000 * min(chunk, bandwidth.quantum) / rate
        (passed,) = await run_for(seconds, bandwidth, chunk)
        assert rate * seconds - chunk - bandwidth.quantum <= passed <= most(rate, seconds, bandwidth.quantum)

    @virtual
    async def test_many_together_get_the_rate(self) -> None:
        bandwidth = Bandwidth(MIB)
        passed = await run_for(60, bandwidth, *[64 * KIB] * 20)
        assert 60 * MIB - 20 * 64 * KIB <= sum(passed) <= most(MIB, 60, bandwidth.quantum)

    @virtual
    async def test_a_chunk_is_paid_for_before_the_next(self) -> None:
        bandwidth, share = Bandwidth(100 * KIB), Share()
        await bandwidth.take(share, 10 * KIB)
        await bandwidth.take(share, 10 * KIB)  # Out of the slack.
        started = virtual_loop().time()
        assert started == 0
        for _ in range(10):
            await bandwidth.take(share, 10 * KIB)
        assert virtual_loop().time() == pytest.approx(1.0)

    @virtual
    async def test_a_pause_saves_up_no_more_than_the_slack(self) -> None:
        bandwidth, share = Bandwidth(MIB), Share()
        await bandwidth.take(share, MIB)
        await asyncio.sleep(3_000)
        began = virtual_loop().time()
        await bandwidth.take(share, MIB)
        assert virtual_loop().time() - began >= 1 - SLACK - bandwidth.quantum / MIB - 1e-6

    @virtual
    async def test_no_rate_is_no_wait(self) -> None:
        await Bandwidth().take(Share(), 2**40)
        assert virtual_loop().time() == 0

    @pytest.mark.parametrize(
        ("rate", "quantum"), [(1, SHORTEST_QUANTUM), (MIB, int(MIB * SLACK)), (2**30, LONGEST_QUANTUM)]
    )
    def test_a_quantum_takes_the_slack_within_bounds(self, rate: int, quantum: int) -> None:
        assert Bandwidth(rate).quantum == quantum


class TestFairness:
    @pytest.mark.parametrize("count", [2, 10])
    @virtual
    async def test_those_who_want_the_same_get_the_same(self, count: int) -> None:
        passed = await run_for(60, Bandwidth(MIB), *[64 * KIB] * count)
        assert max(passed) - min(passed) <= 2 * 64 * KIB

    @pytest.mark.parametrize("rate", [200 * KIB, 2 * MIB, 50 * MIB])
    @pytest.mark.parametrize("chunks", [(4 * KIB, 256 * KIB), (8 * KIB, 16 * KIB, 64 * KIB, 100_000, MIB)])
    @virtual
    async def test_large_chunks_are_no_advantage(self, rate: int, chunks: tuple[int, ...]) -> None:
        seconds = 40 * MIB / rate
        passed = await run_for(seconds, Bandwidth(rate), *chunks)
        fair = rate * seconds / len(chunks)
        assert all(abs(one - fair) <= max(chunks) + 2 * LONGEST_QUANTUM + rate * SLACK for one in passed), passed

    @virtual
    async def test_who_comes_later_shares_from_then_on_and_makes_up_for_nothing(self) -> None:
        bandwidth = Bandwidth(MIB)
        first = Transfer(bandwidth, 64 * KIB)
        await asyncio.sleep(60)
        second = Transfer(bandwidth, 64 * KIB)
        before = first.passed
        await asyncio.sleep(60)
        assert first.passed - before == pytest.approx(30 * MIB, abs=3 * 64 * KIB)
        assert second.passed == pytest.approx(30 * MIB, abs=3 * 64 * KIB)
        await first.stop()
        await second.stop()

    @virtual
    async def test_who_wants_less_leaves_the_rest_to_the_others(self) -> None:
        bandwidth = Bandwidth(MIB)
        modest, share = 0, Share()
        greedy = Transfer(bandwidth, 256 * KIB)
        for _ in range(60):
            await asyncio.sleep(0.9)
            await bandwidth.take(share, 10 * KIB)
            modest += 10 * KIB
        seconds = virtual_loop().time()
        assert seconds < 65, "the modest one waits for a quantum at most"
        assert greedy.passed + modest == pytest.approx(seconds * MIB, abs=3 * 256 * KIB)
        await greedy.stop()


class TestLeaving:
    @virtual
    async def test_who_leaves_the_line_takes_nothing_with_it(self) -> None:
        bandwidth = Bandwidth(100 * KIB)
        await bandwidth.take(Share(), 20 * KIB)
        leaving = [Transfer(bandwidth, 10 * KIB) for _ in range(50)]
        await settle()
        for transfer in leaving:
            await transfer.stop()
        began = virtual_loop().time()
        await bandwidth.take(Share(), 10 * KIB)
        assert virtual_loop().time() - began < 0.21

    @virtual
    async def test_who_is_cancelled_in_the_moment_it_is_served_gives_its_bytes_back(self) -> None:
        bandwidth = Bandwidth(100 * KIB)
        await bandwidth.take(Share(), 20 * KIB)
        waiting = asyncio.create_task(bandwidth.take(Share(), 10 * KIB))
        await settle()
        virtual_loop().call_at(0.1, waiting.cancel)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await bandwidth.take(Share(), 10 * KIB)
        assert virtual_loop().time() == pytest.approx(0.1, abs=1e-5)

    @settings(max_examples=30)
    @given(st.lists(st.tuples(st.integers(8 * KIB, 300 * KIB), st.floats(0, 3)), min_size=1, max_size=12))
    def test_whoever_leaves_whenever_the_others_get_the_rate(self, leavers: list[tuple[int, float]]) -> None:
        async def main() -> None:
            bandwidth = Bandwidth(MIB)
            staying = Transfer(bandwidth, 64 * KIB)
            others = [(Transfer(bandwidth, chunk), when) for chunk, when in leavers]
            for transfer, when in others:
                virtual_loop().call_at(when, transfer.task.cancel)
            await asyncio.sleep(10)
            passed = staying.passed + sum(transfer.passed for transfer, _ in others)
            lost = sum(chunk for chunk, _ in leavers) + 2 * 64 * KIB  # Chunks that were not complete.
            assert 10 * MIB - lost <= passed <= most(MIB, 10, bandwidth.quantum)
            before = staying.passed
            await asyncio.sleep(10)
            assert staying.passed - before == pytest.approx(10 * MIB, abs=3 * 64 * KIB)
            await staying.stop()

        run(main())


class TestChange:
    @virtual
    async def test_a_new_rate_counts_at_once(self) -> None:
        bandwidth = Bandwidth(100 * KIB)
        transfer = Transfer(bandwidth, 64 * KIB)
        await asyncio.sleep(10)
        bandwidth.rate = MIB
        before = transfer.passed
        await asyncio.sleep(10)
        assert transfer.passed - before == pytest.approx(10 * MIB, abs=4 * 64 * KIB)
        await transfer.stop()

    @virtual
    async def test_without_a_rate_all_who_wait_may_go(self) -> None:
        bandwidth = Bandwidth(1)
        waiting = [asyncio.create_task(bandwidth.take(Share(), MIB)) for _ in range(5)]
        await settle()
        assert not any(task.done() for task in waiting)
        began = virtual_loop().time()
        bandwidth.rate = None
        await asyncio.gather(*waiting)
        assert virtual_loop().time() == began
