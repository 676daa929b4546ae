"""Failures: so many for an address, then one in a while."""

from __future__ import annotations

import pytest

from s3proxy.access.throttle import DEBT, Throttle
from s3proxy.errors import QuotaExceeded
from tests.access.people import ADDRESS, Clock


def fail(throttle: Throttle, address: str = ADDRESS, times: int = 1) -> int:
    """How many of so many failures were answered 429."""
    throttled = 0
    for _ in range(times):
        try:
            throttle.fail(address)
        except QuotaExceeded:
            throttled += 1
    return throttled


def wait_of(throttle: Throttle, address: str = ADDRESS) -> int:
    """Seconds the address has to wait; 0 when it need not."""
    try:
        throttle.check(address)
    except QuotaExceeded as fault:
        return fault.retry_after or -1
    return 0


def test_ten_failures_are_free_and_then_one_each_six_seconds() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    assert fail(throttle, times=10) == 0
    assert wait_of(throttle) == 6
    clock.now += 5.5
    assert wait_of(throttle) == 1
    clock.now += 0.5
    assert wait_of(throttle) == 0
    assert fail(throttle) == 0
    assert fail(throttle) == 1


def test_who_stops_failing_is_forgiven_in_full() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    fail(throttle, times=10)
    clock.now += 60
    assert fail(throttle, times=10) == 0


def test_failures_side_by_side_are_paid_for_afterwards() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    fail(throttle, times=10 + 30)
    assert wait_of(throttle) == 31 * 6
    fail(throttle, times=1_000)
    assert wait_of(throttle) == (1 + DEBT) * 6


def test_addresses_do_not_pay_for_each_other() -> None:
    throttle = Throttle(clock=Clock())
    fail(throttle, times=20)
    assert wait_of(throttle) > 0
    assert wait_of(throttle, "198.51.100.8") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.7", ADDRESS, True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("unix", "unix", True),
        ("", "unix", False),
        ("1.2.3", "1.2.4", False),
    ],
)
def test_a_network_of_64_bits_is_one_address(one: str, other: str, same: bool) -> None:
    throttle = Throttle(clock=Clock())
    fail(throttle, one, times=10)
    assert (wait_of(throttle, other) > 0) is same


def test_the_table_is_bounded_and_forgets_the_oldest() -> None:
    throttle = Throttle(size=3, clock=Clock())
    for address in ("a", "b", "a", "c", "d"):
        fail(throttle, address, times=10)
    assert len(throttle) == 3
    assert [wait_of(throttle, address) > 0 for address in "abcd"] == [True, False, True, True]
