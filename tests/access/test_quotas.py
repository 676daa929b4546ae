"""Quotas: what one principal may use up, all its requests together, and when it may come again."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from s3proxy.access.day_count import FLUSH_INTERVAL
from s3proxy.access.policy import EVERYTHING, Principal, Quota, Via
from s3proxy.access.quotas import Allowance, Quotas, Slot
from s3proxy.errors import AccessUnavailable, QuotaExceeded
from s3proxy.ledger.database import open_ledger
from tests.access.virtual import virtual
from tests.loop import settle, steps, virtual_loop

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
TODAY = date(2026, 3, 1)
TOMORROW = date(2026, 3, 2)
TO_MIDNIGHT = 12 * 3_600

MIB = 1024 * 1024


class Book:
    """Keeps `UsageLike`: in memory, with a delay, or not at all."""

    def __init__(self) -> None:
        self.days: dict[tuple[str, date], int] = {}
        self.additions: list[tuple[float, int]] = []
        self.reads = 0
        self.delay = 0.0
        self.works = True

    async def add_usage(self, principal: str, day: date, size: int) -> int:
        await self._answer()
        self.additions.append((virtual_loop().time(), size))
        self.days[principal, day] = self.days.get((principal, day), 0) + size
        return self.days[principal, day]

    async def usage(self, principal: str, day: date) -> int:
        await self._answer()
        self.reads += 1
        return self.days.get((principal, day), 0)

    async def _answer(self) -> None:
        await asyncio.sleep(self.delay)
        if not self.works:
            raise AccessUnavailable


def someone(name: str = "alice", quota: Quota | None = None, via: Via = Via.KEY) -> Principal:
    """A principal with a quota."""
    return Principal(name=name, via=via, grants=EVERYTHING, quota=quota or Quota())


def clock() -> float:
    """The wall clock of a loop that began at noon."""
    return NOON + virtual_loop().time()


def allowance(quota: Quota, book: Book | None = None) -> Allowance:
    """What somebody with that quota has."""
    return Quotas(book, clock=clock).of(someone(quota=quota))


def refusal(call: Callable[[], object]) -> QuotaExceeded:
    """What a call is refused with."""
    with pytest.raises(QuotaExceeded) as refused:
        call()
    return refused.value


async def spend_until_refused(slot: Slot, chunk: int) -> tuple[int, QuotaExceeded]:
    """How much passes before the day is spent, and the refusal."""
    passed = 0
    try:
        while True:
            await slot.spend(chunk)
            passed += chunk
            await asyncio.sleep(0)
    except QuotaExceeded as refused:
        return passed, refused


class TestRequests:
    @virtual
    async def test_a_second_s_requests_may_come_at_once_and_no_more(self) -> None:
        mine = allowance(Quota(requests_per_second=10))
        for _ in range(10):
            mine.admit()
        assert refusal(mine.admit).retry_after == 1
        await asyncio.sleep(0.1)
        mine.admit()
        refusal(mine.admit)

    @virtual
    async def test_over_time_the_rate_is_kept(self) -> None:
        mine, admitted = allowance(Quota(requests_per_second=3)), 0
        for _ in range(60 * 20):
            await asyncio.sleep(0.05)
            try:
                mine.admit()
                admitted += 1
            except QuotaExceeded:
                pass
        assert 60 * 3 <= admitted <= 60 * 3 + 3

    @virtual
    async def test_a_rate_below_one_is_one_request_every_so_many_seconds(self) -> None:
        mine = allowance(Quota(requests_per_second=0.1))
        mine.admit()
        assert refusal(mine.admit).retry_after == 10
        await asyncio.sleep(9.5)
        assert refusal(mine.admit).retry_after == 1
        await asyncio.sleep(0.5)
        mine.admit()

    @virtual
    async def test_refused_requests_do_not_count(self) -> None:
        mine = allowance(Quota(requests_per_second=1))
        mine.admit()
        for _ in range(100):
            refusal(mine.admit)
        await asyncio.sleep(1)
        mine.admit()

    @virtual
    async def test_without_a_bound_all_are_admitted(self) -> None:
        mine = allowance(Quota())
        for _ in range(10_000):
            mine.admit()


class TestTransfers:
    @virtual
    async def test_so_many_at_once_and_no_more(self) -> None:
        mine = allowance(Quota(transfers=2))
        first, _ = mine.enter(), mine.enter()
        assert refusal(mine.enter).retry_after == 2
        first.leave()
        mine.enter()
        refusal(mine.enter)

    @virtual
    async def test_leaving_twice_is_leaving_once(self) -> None:
        mine = allowance(Quota(transfers=2))
        first, _ = mine.enter(), mine.enter()
        first.leave()
        first.leave()
        with mine.enter():
            refusal(mine.enter)

    @virtual
    async def test_a_transfer_that_fails_has_left(self) -> None:
        mine = allowance(Quota(transfers=1))
        with pytest.raises(LookupError), mine.enter():
            raise LookupError
        mine.enter()


class TestBandwidth:
    @virtual
    async def test_transfers_of_one_principal_share_its_rate_and_not_another_s(self) -> None:
        quotas, finished = Quotas(None, clock=clock), []

        async def move(name: str) -> None:
            with quotas.of(someone(name, Quota(bandwidth=MIB))).enter() as slot:
                for _ in range(80):
                    await slot.spend(MIB // 8)
                finished.append((name, virtual_loop().time()))

        await asyncio.gather(*(move(name) for name in ("alice", "alice", "bob")))
        assert [name for name, _ in finished] == ["bob", "alice", "alice"]
        assert [seconds for _, seconds in finished] == pytest.approx([10, 20, 20], abs=0.3)


class TestDay:
    @virtual
    async def test_a_spent_day_is_refused_until_midnight(self) -> None:
        book = Book()
        book.days["alice", TODAY] = 1000
        slot = allowance(Quota(daily_bytes=1000), book).enter()
        with pytest.raises(QuotaExceeded) as refused:
            await slot.open_day(None)
        assert refused.value.retry_after == TO_MIDNIGHT

    @virtual
    async def test_a_declared_size_that_does_not_fit_is_refused_before_a_byte_moves(self) -> None:
        book = Book()
        book.days["alice", TODAY] = 600
        slot = allowance(Quota(daily_bytes=1000), book).enter()
        await slot.open_day(400)
        with pytest.raises(QuotaExceeded):
            await slot.open_day(401)

    @virtual
    async def test_what_does_not_fit_is_refused_in_mid_body_and_not_counted(self) -> None:
        book = Book()
        mine = allowance(Quota(daily_bytes=1000), book)
        slot = mine.enter()
        await slot.open_day(None)
        passed, refused = await spend_until_refused(slot, 300)
        assert (passed, refused.retry_after) == (900, TO_MIDNIGHT)
        await slot.spend(100)
        await mine.settle()
        assert book.days == {("alice", TODAY): 1000}

    @virtual
    async def test_the_ledger_is_written_about_once_a_second(self) -> None:
        book = Book()
        with allowance(Quota(daily_bytes=10**9), book).enter() as slot:
            await slot.open_day(None)
            for _ in range(1000):
                await slot.spend(10)
                await asyncio.sleep(0.01)
        await asyncio.sleep(FLUSH_INTERVAL)
        assert len(book.additions) <= 12
        times = [when for when, _ in book.additions]
        assert all(later - earlier >= 0.99 for earlier, later in itertools.pairwise(times))
        assert book.days == {("alice", TODAY): 10_000}

    @virtual
    async def test_many_small_transfers_do_not_ask_the_ledger_each(self) -> None:
        book = Book()
        quotas = Quotas(book, clock=clock)
        for _ in range(100):
            with quotas.of(someone(quota=Quota(daily_bytes=10**9))).enter() as slot:
                await slot.open_day(10)
                await slot.spend(10)
            await asyncio.sleep(0.01)
        assert book.reads + len(book.additions) <= 4
        await quotas.settle()
        assert book.days == {("alice", TODAY): 1000}

    @virtual
    async def test_a_slow_ledger_does_not_stop_a_transfer(self) -> None:
        book = Book()
        with allowance(Quota(daily_bytes=10**9), book).enter() as slot:
            await slot.open_day(None)
            book.delay = 3.0
            for _ in range(1000):
                await slot.spend(10)
            assert virtual_loop().time() == 0
        await asyncio.sleep(10)
        assert book.days == {("alice", TODAY): 10_000}

    @virtual
    async def test_a_ledger_that_fails_lets_nobody_begin_and_lets_who_has_begun_finish(self) -> None:
        book = Book()
        mine = allowance(Quota(daily_bytes=1000), book)
        begun = mine.enter()
        await begun.open_day(None)
        book.works = False
        await begun.spend(300)
        await asyncio.sleep(5)
        await begun.spend(300)
        with pytest.raises(AccessUnavailable):
            await mine.enter().open_day(None)
        passed, _ = await spend_until_refused(begun, 100)
        assert passed == 400, "what could not be written is not forgotten"
        book.works = True
        await mine.settle()
        assert book.days == {("alice", TODAY): 1000}

    @virtual
    async def test_a_body_that_comes_before_the_day_is_opened_asks_for_it(self) -> None:
        book = Book()
        book.days["alice", TODAY] = 999
        slot = allowance(Quota(daily_bytes=1000), book).enter()
        with pytest.raises(QuotaExceeded):
            await slot.spend(2)
        await slot.spend(1)
        assert book.reads == 1

    @virtual
    async def test_at_midnight_a_new_day_begins_also_for_transfers_under_way(self) -> None:
        book = Book()
        mine = allowance(Quota(daily_bytes=1000), book)
        slot = mine.enter()
        await slot.open_day(None)
        await asyncio.sleep(TO_MIDNIGHT - 0.5)
        await slot.spend(600)
        await settle()
        await slot.spend(400)
        with pytest.raises(QuotaExceeded) as refused:
            await slot.spend(1)
        assert refused.value.retry_after == 1
        await asyncio.sleep(0.5)
        await slot.open_day(1000)
        await slot.spend(1000)
        await asyncio.sleep(2 * FLUSH_INTERVAL)
        assert book.days == {("alice", TODAY): 1000, ("alice", TOMORROW): 1000}

    @virtual
    async def test_without_a_ledger_the_process_counts_for_itself(self) -> None:
        quotas, quota = Quotas(None, clock=clock), Quota(daily_bytes=1000)
        slot = quotas.of(someone(quota=quota)).enter()
        await slot.open_day(1000)
        await slot.spend(1000)
        slot.leave()
        for number in range(100):
            quotas.of(someone(f"other-{number}"))
        with pytest.raises(QuotaExceeded):
            await quotas.of(someone(quota=quota)).enter().open_day(1)


class TestProcesses:
    @virtual
    async def test_two_agree_within_a_second(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/ledger.db"
        ledgers = [open_ledger(url), open_ledger(url)]
        passed, quota, step = [0, 0], Quota(daily_bytes=100_000, bandwidth=1_000), 100

        async def move(number: int) -> None:
            with Quotas(ledgers[number], clock=clock).of(someone(quota=quota)).enter() as slot:
                await slot.open_day(None)
                passed[number], _ = await spend_until_refused(slot, step)

        await asyncio.gather(move(0), move(1))
        await asyncio.sleep(2 * FLUSH_INTERVAL)
        assert 100_000 - 2 * step <= sum(passed) <= 100_000 + 2 * 1_000 * FLUSH_INTERVAL
        assert passed[0] == pytest.approx(passed[1], rel=0.1)
        assert await ledgers[0].usage("alice", TODAY) == sum(passed)
        for ledger in ledgers:
            await ledger.close()


class TestOf:
    @virtual
    async def test_all_ways_to_be_somebody_share_one_allowance(self) -> None:
        quotas = Quotas(None)
        assert quotas.of(someone(via=Via.KEY)) is quotas.of(someone(via=Via.LINK))
        assert quotas.of(someone("bob")) is not quotas.of(someone())

    @virtual
    async def test_a_new_quota_counts_for_transfers_under_way(self) -> None:
        quotas = Quotas(None, clock=clock)
        slot = quotas.of(someone(quota=Quota(bandwidth=1))).enter()
        waiting = asyncio.create_task(slot.spend(10 * MIB))
        await settle()
        quotas.of(someone(quota=Quota(daily_bytes=10 * MIB)))
        await waiting
        assert virtual_loop().time() < 1
        with pytest.raises(QuotaExceeded):
            await slot.spend(1)

    @virtual
    async def test_idle_principals_are_forgotten(self) -> None:
        quotas = Quotas(None)
        for number in range(10_000):
            quotas.of(someone(f"user-{number}")).admit()
        assert len(quotas) <= 3

    @virtual
    async def test_those_with_a_transfer_or_a_fresh_request_are_not(self) -> None:
        quotas = Quotas(None)
        busy = someone("busy", Quota(transfers=1))
        hasty = someone("hasty", Quota(requests_per_second=1))
        slot = quotas.of(busy).enter()
        quotas.of(hasty).admit()
        for number in range(1_000):
            quotas.of(someone(f"user-{number}"))
        refusal(quotas.of(busy).enter)
        refusal(quotas.of(hasty).admit)
        slot.leave()
        await asyncio.sleep(1)
        for number in range(10):
            quotas.of(someone(f"user-{number}"))
        assert len(quotas) <= 3

    @virtual
    async def test_a_request_that_holds_one_is_never_alone_with_it(self) -> None:
        quotas, quota = Quotas(None), Quota(transfers=1)
        held = quotas.of(someone(quota=quota))
        for number in range(100):
            quotas.of(someone(f"user-{number}"))
        held.enter()
        gc.collect()
        refusal(quotas.of(someone(quota=quota)).enter)

    @virtual
    async def test_what_has_no_bounds_never_waits(self) -> None:
        slot = Quotas(Book()).of(someone()).enter()
        others = 0

        async def other() -> None:
            nonlocal others
            others += 1

        task = asyncio.create_task(other())
        await slot.open_day(2**50)
        for _ in range(100):
            await slot.spend(2**40)
        assert others == 0
        await steps(1)
        await task
