"""A client's pace, window by window."""

from __future__ import annotations

import pytest

from s3proxy.protocol.pace import Pace


def test_nobody_is_too_slow_before_a_window_has_passed() -> None:
    pace = Pace(100, 10)
    assert not pace.too_slow(9.9, 0)


@pytest.mark.parametrize(("size", "slow"), [(999, True), (1_000, False), (1_000_000, False)])
def test_a_window_needs_its_bytes(size: int, slow: bool) -> None:
    assert Pace(100, 10).too_slow(10, size) is slow


def test_a_trickle_is_too_slow_at_the_end_of_the_window() -> None:
    pace = Pace(100, 10)
    assert [pace.too_slow(1, 1) for _ in range(10)] == [False] * 9 + [True]


def test_a_quick_start_does_not_pay_for_later_windows() -> None:
    pace = Pace(100, 10)
    assert not pace.too_slow(10, 1_000_000)
    assert pace.too_slow(10, 999)


def test_bytes_that_were_not_waited_for_count() -> None:
    pace = Pace(100, 10)
    assert not pace.too_slow(0, 1_000)
    assert not pace.too_slow(10, 0)


def test_a_rate_of_zero_lets_everybody_be() -> None:
    assert not Pace(0, 10).too_slow(1_000, 0)
