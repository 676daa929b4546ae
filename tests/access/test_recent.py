"""What is remembered for a while, and no longer."""

from __future__ import annotations

from s3proxy.access.recent import Recent
from tests.access.people import Clock


def test_a_value_is_there_until_its_time_has_passed() -> None:
    clock = Clock()
    recent: Recent[str] = Recent(10, clock)
    recent.put(b"a", "value", 5)
    clock.now += 4.9
    assert recent.get(b"a") == "value"
    clock.now += 0.1
    assert recent.get(b"a") is None
    assert len(recent) == 0


def test_what_is_past_before_it_is_put_is_never_there() -> None:
    recent: Recent[str] = Recent(10, Clock())
    recent.put(b"a", "value", -1)
    assert recent.get(b"a") is None


def test_the_one_unused_longest_gives_way() -> None:
    recent: Recent[int] = Recent(2, Clock())
    recent.put(b"a", 1, 5)
    recent.put(b"b", 2, 5)
    assert recent.get(b"a") == 1
    recent.put(b"c", 3, 5)
    assert [recent.get(digest) for digest in (b"a", b"b", b"c")] == [1, None, 3]
