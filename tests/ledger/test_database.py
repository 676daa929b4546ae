"""What every ledger promises, whatever database it is in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import pytest

from s3proxy.errors import AccessUnavailable
from s3proxy.ledger import schema
from s3proxy.ledger.database import Ledger, open_ledger
from s3proxy.ledger.records import LinkRecord

Opened = Callable[[], Ledger]

TODAY = date(2026, 3, 1)
YESTERDAY = date(2026, 2, 28)

LINK = LinkRecord(
    id="one",
    issuer="alice",
    via="key",
    groups=("staff", "crew"),
    action="write",
    bucket="photos",
    key="2026/ümläut 日本 🙂'\"%/",
    is_prefix=True,
    created=1_000,
    expires=2_000,
    uses_allowed=2,
)


class TestLinks:
    async def test_a_link_is_read_back_as_it_was_written(self, ledger: Ledger) -> None:
        await ledger.add_link(LINK)
        assert await ledger.link("one") == LINK

    async def test_there_is_no_link_of_another_id(self, ledger: Ledger) -> None:
        await ledger.add_link(LINK)
        assert await ledger.link("two") is None

    async def test_a_link_can_be_claimed_as_often_as_it_allows(self, ledger: Ledger) -> None:
        await ledger.add_link(LINK)
        assert [await ledger.claim("one", 1_500) for _ in range(4)] == [True, True, False, False]
        assert await ledger.link("one") == replace(LINK, uses=2)

    async def test_a_link_without_a_number_of_uses_can_always_be_claimed(self, ledger: Ledger) -> None:
        await ledger.add_link(replace(LINK, uses_allowed=None))
        assert all([await ledger.claim("one", 1_500) for _ in range(5)])
        assert await ledger.link("one") == replace(LINK, uses_allowed=None, uses=5)

    async def test_processes_that_claim_at_once_get_no_more_than_there_is(self, ledger: Ledger, opened: Opened) -> None:
        await ledger.add_link(replace(LINK, uses_allowed=7))
        everybody = (ledger, opened(), opened())
        claims = await asyncio.gather(*(one.claim("one", 1_500) for _ in range(10) for one in everybody))
        assert claims.count(True) == 7

    async def test_an_expired_link_cannot_be_claimed(self, ledger: Ledger) -> None:
        await ledger.add_link(LINK)
        assert not await ledger.claim("one", 2_000)
        assert await ledger.claim("one", 1_999.9)

    async def test_a_revoked_link_cannot_be_claimed(self, ledger: Ledger) -> None:
        await ledger.add_link(LINK)
        await ledger.revoke("one")
        assert not await ledger.claim("one", 1_500)
        assert await ledger.link("one") == replace(LINK, revoked=True)

    async def test_a_link_that_is_not_there_cannot_be_claimed_and_may_be_revoked(self, ledger: Ledger) -> None:
        assert not await ledger.claim("one", 1_500)
        await ledger.revoke("one")
        await ledger.refund("one")

    async def test_what_is_refunded_can_be_claimed_again(self, ledger: Ledger) -> None:
        await ledger.add_link(replace(LINK, uses_allowed=1))
        assert await ledger.claim("one", 1_500)
        await ledger.refund("one")
        assert await ledger.claim("one", 1_500)
        assert not await ledger.claim("one", 1_500)

    async def test_no_more_is_refunded_than_was_claimed(self, ledger: Ledger) -> None:
        await ledger.add_link(replace(LINK, uses_allowed=1))
        await ledger.refund("one")
        assert [await ledger.claim("one", 1_500) for _ in range(2)] == [True, False]

    async def test_links_of_an_issuer_are_listed_newest_first_and_never_too_many(self, ledger: Ledger) -> None:
        made = [replace(LINK, id=f"link-{number}", created=1_000 + number) for number in range(5)]
        for link in made:
            await ledger.add_link(link)
        await ledger.add_link(replace(LINK, id="other", issuer="bob"))
        await ledger.add_link(replace(LINK, id="over", expires=1_500))
        assert await ledger.links_of("alice", 1_500, 10) == made[::-1]
        assert await ledger.links_of("alice", 1_500, 2) == [made[4], made[3]]
        assert await ledger.links_of("nobody", 1_500, 2) == []


class TestUsage:
    async def test_a_day_begins_with_nothing(self, ledger: Ledger) -> None:
        assert await ledger.usage("alice", TODAY) == 0

    async def test_bytes_add_up_by_principal_and_day(self, ledger: Ledger) -> None:
        assert await ledger.add_usage("alice", TODAY, 2**40) == 2**40
        assert await ledger.add_usage("alice", TODAY, 5) == 2**40 + 5
        assert await ledger.add_usage("alice", YESTERDAY, 7) == 7
        assert await ledger.add_usage("bob", TODAY, 9) == 9
        assert await ledger.usage("alice", TODAY) == 2**40 + 5

    async def test_nothing_is_lost_when_processes_add_at_once(self, ledger: Ledger, opened: Opened) -> None:
        everybody = (ledger, opened(), opened())
        totals = await asyncio.gather(*(one.add_usage("alice", TODAY, 1) for _ in range(20) for one in everybody))
        assert sorted(totals) == list(range(1, 61))


class TestForget:
    async def test_what_is_over_goes_and_the_rest_stays(self, ledger: Ledger) -> None:
        noon = 1_772_366_400.0  # 2026-03-01 12:00 UTC
        await ledger.add_link(replace(LINK, expires=int(noon) - 1))
        await ledger.add_link(replace(LINK, id="two", expires=int(noon)))
        await ledger.add_usage("alice", YESTERDAY, 1)
        await ledger.add_usage("alice", TODAY, 2)
        await ledger.forget(noon)
        assert await ledger.link("one") is None
        assert await ledger.link("two") is not None
        assert (await ledger.usage("alice", YESTERDAY), await ledger.usage("alice", TODAY)) == (0, 2)


class TestOpening:
    async def test_what_was_written_is_there_the_next_time(self, ledger: Ledger, opened: Opened) -> None:
        await ledger.add_link(LINK)
        await ledger.close()
        assert await opened().link("one") == LINK

    async def test_processes_that_start_at_once_all_have_the_tables(self, url: str) -> None:
        together = threading.Barrier(6)

        def start() -> Ledger:
            together.wait()
            return open_ledger(url)

        with ThreadPoolExecutor(6) as processes:
            ledgers = [starting.result() for starting in [processes.submit(start) for _ in range(6)]]
        for ledger in ledgers:
            await ledger.add_usage("alice", TODAY, 1)
        assert await ledgers[0].usage("alice", TODAY) == 6
        for ledger in ledgers:
            await ledger.close()

    async def test_a_later_release_s_tables_are_not_touched(
        self, ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await ledger.close()
        monkeypatch.setattr(schema, "VERSION", 0)
        with pytest.raises(ValueError, match="version 1; this release knows version 0"):
            open_ledger(url)

    async def test_a_closed_ledger_says_so_and_may_be_closed_again(self, ledger: Ledger) -> None:
        await ledger.close()
        await ledger.close()
        with pytest.raises(AccessUnavailable):
            await ledger.usage("alice", TODAY)
