"""Part plans: every S3 edge, one byte to either side, and the schedule in numbers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.errors import TooLarge
from s3proxy.protocol.parts import (
    GIB,
    MAX_OBJECT_SIZE,
    MAX_PART_SIZE,
    MAX_PARTS,
    MAX_PUT_SIZE,
    MIB,
    MIN_PART_SIZE,
    ROUND,
    PartPlan,
    PartPolicy,
)

TIB = 1024 * GIB
POLICY = PartPolicy(part_size=8 * MIB, put_limit=16 * MIB)


def sizes(plan: PartPlan) -> list[int]:
    return [plan.size_of(number) for number in range(1, plan.policy.max_parts + 1)]


def cut(plan: PartPlan, size: int) -> list[int]:
    """The parts a body of `size` bytes ends up in."""
    parts: list[int] = []
    while size > 0:
        part = min(size, plan.size_of(len(parts) + 1))
        parts.append(part)
        size -= part
    return parts


def test_the_limits_are_those_of_s3() -> None:
    assert MIN_PART_SIZE == 5_242_880
    assert MAX_PART_SIZE == MAX_PUT_SIZE == 5_368_709_120
    assert MAX_PARTS == 10_000
    assert MAX_OBJECT_SIZE == 53_687_091_200_000
    assert round(MAX_OBJECT_SIZE / TIB, 1) == 48.8


@pytest.mark.parametrize(
    ("declared", "multipart", "part"),
    [
        (0, False, 1),
        (1, False, 1),
        (16 * MIB - 1, False, 16 * MIB - 1),
        (16 * MIB, False, 16 * MIB),
        (16 * MIB + 1, True, 8 * MIB),
        (8 * MIB * MAX_PARTS - 1, True, 8 * MIB),
        (8 * MIB * MAX_PARTS, True, 8 * MIB),
        (8 * MIB * MAX_PARTS + 1, True, 8 * MIB + ROUND),
        ((8 * MIB + ROUND) * MAX_PARTS, True, 8 * MIB + ROUND),
        ((8 * MIB + ROUND) * MAX_PARTS + 1, True, 8 * MIB + 2 * ROUND),
        (5 * TIB, True, 525 * MIB - MIB // 2),
        (MAX_OBJECT_SIZE - 1, True, MAX_PART_SIZE),
        (MAX_OBJECT_SIZE, True, MAX_PART_SIZE),
    ],
)
def test_a_declared_length_gets_equal_parts_just_large_enough(declared: int, multipart: bool, part: int) -> None:
    plan = POLICY.plan(declared)
    assert plan.multipart_at_once is multipart
    assert plan.size_of(1) == part
    if multipart:
        assert plan.size_of(MAX_PARTS) == part
        assert -(-declared // part) <= MAX_PARTS
        assert plan.max_size >= declared


def test_a_length_over_the_largest_object_is_refused_and_told_the_limit() -> None:
    with pytest.raises(TooLarge, match=str(MAX_OBJECT_SIZE)):
        POLICY.plan(MAX_OBJECT_SIZE + 1)
    small = PartPolicy(part_size=5, put_limit=10, max_object_size=100)
    assert small.plan(100).max_size == 100
    with pytest.raises(TooLarge, match="100 bytes"):
        small.plan(101)


def test_the_limit_of_the_store_is_parts_times_part_size() -> None:
    policy = PartPolicy(part_size=10, put_limit=20, max_parts=3, max_part_size=30)
    assert cut(policy.plan(90), 90) == [30, 30, 30]
    with pytest.raises(TooLarge, match="90 bytes"):
        policy.plan(91)
    lone = PartPolicy(part_size=10, put_limit=30, max_parts=1, max_part_size=30)
    assert cut(lone.plan(30), 30) == [30]
    with pytest.raises(TooLarge, match="30 bytes"):
        lone.plan(31)


def test_a_size_that_cannot_be_rounded_up_stays_exact() -> None:
    policy = PartPolicy(part_size=MIB, put_limit=MIB, max_parts=10, max_part_size=2 * MIB + 1)
    assert policy.plan(20 * MIB).size_of(1) == 2 * MIB
    assert policy.plan(20 * MIB + 10).size_of(1) == 2 * MIB + 1


def test_the_ten_thousandth_part_is_the_last() -> None:
    for plan in (POLICY.plan(None), POLICY.plan(MAX_OBJECT_SIZE)):
        assert plan.size_of(MAX_PARTS) == MAX_PART_SIZE
        with pytest.raises(TooLarge, match=str(plan.max_size)):
            plan.size_of(MAX_PARTS + 1)
        with pytest.raises(ValueError, match="from 1"):
            plan.size_of(0)


def test_an_unknown_length_grows_on_schedule() -> None:
    plan = POLICY.plan(None)
    assert not plan.multipart_at_once
    assert plan.size_of(1) == 16 * MIB
    doublings = {2: 0, 1000: 0, 1001: 1, 2000: 1, 2001: 2, 4001: 4, 5000: 4, 5001: 5, 5250: 5, 5251: 6, 6250: 9}
    for number, doubled in doublings.items():
        assert plan.size_of(number) == 8 * MIB << doubled
    assert plan.size_of(6251) == plan.size_of(10_000) == MAX_PART_SIZE


def test_an_unknown_length_from_8_mib_reaches_20_tib() -> None:
    plan = PartPolicy(part_size=8 * MIB, put_limit=8 * MIB).plan(None)
    assert plan.max_size == sum(sizes(plan)) == 21_432_000 * MIB
    assert round(plan.max_size / TIB, 1) == 20.4
    assert POLICY.plan(None).max_size == plan.max_size + 8 * MIB


def test_an_unknown_length_stays_small_while_it_can() -> None:
    assert sum(sizes(POLICY.plan(None))[:2000]) > 20 * GIB
    assert max(sizes(POLICY.plan(None))[:2000]) == 16 * MIB


def test_equal_parts_stay_equal() -> None:
    plan = PartPolicy(part_size=8 * MIB, put_limit=100 * MIB, equal_parts=True).plan(None)
    assert set(sizes(plan)) == {8 * MIB}
    assert plan.max_size == 8 * MIB * MAX_PARTS


def test_the_largest_object_caps_the_schedule() -> None:
    policy = PartPolicy(part_size=5 * GIB, put_limit=5 * GIB)
    assert policy.plan(None).max_size == MAX_OBJECT_SIZE
    lowered = PartPolicy(part_size=8 * MIB, put_limit=0, max_object_size=TIB)
    assert lowered.plan(None).max_size == TIB


@given(
    part_size=st.integers(1, 100),
    put_limit=st.integers(0, 100),
    max_parts=st.integers(1, 60),
    max_part_size=st.integers(100, 1000),
    equal_parts=st.booleans(),
    declared=st.one_of(st.none(), st.integers(0, 30_000)),
)
@settings(max_examples=300, deadline=None)
def test_every_plan_keeps_its_promises(declared: int | None, max_parts: int, **limits: Any) -> None:
    policy = PartPolicy(max_parts=max_parts, **limits)
    try:
        plan = policy.plan(declared)
    except TooLarge:
        assert declared is not None
        assert declared > max(policy.put_limit, max_parts * policy.max_part_size)
        return
    capacities = sizes(plan)
    assert plan.max_size == sum(capacities)
    assert all(1 <= capacity <= policy.max_part_size for capacity in capacities)
    if declared is None:
        rest = capacities if policy.equal_parts else capacities[1:]
        assert rest == sorted(rest)
        if not policy.equal_parts:
            assert capacities[0] >= policy.put_limit
        body = plan.max_size
    else:
        assert len(set(capacities)) == 1
        assert plan.multipart_at_once == (declared > policy.put_limit)
        body = declared
    assert sum(cut(plan, body)) == body


@pytest.mark.parametrize("max_parts", range(1, 20))
def test_few_parts_double_one_by_one(max_parts: int) -> None:
    plan = PartPolicy(part_size=4, put_limit=4, max_parts=max_parts, max_part_size=1024).plan(None)
    assert sizes(plan) == [min(1024, 4 << before) for before in range(max_parts)]
    with pytest.raises(TooLarge):
        plan.size_of(max_parts + 1)


def test_twenty_parts_double_in_pairs_up_to_the_middle() -> None:
    plan = PartPolicy(part_size=1, put_limit=1, max_parts=20).plan(None)
    assert sizes(plan) == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, *(32 << before for before in range(10))]


@pytest.mark.parametrize(
    "limits",
    [
        {"part_size": 0},
        {"part_size": MAX_PART_SIZE + 1},
        {"put_limit": -1},
        {"put_limit": MAX_PART_SIZE + 1},
        {"max_parts": 0},
        {"max_object_size": 0},
    ],
)
def test_limits_that_contradict_each_other_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        PartPolicy(**{"part_size": 8 * MIB, "put_limit": 8 * MIB, **limits})


def test_a_negative_length_is_our_bug() -> None:
    with pytest.raises(ValueError, match="declared_size"):
        POLICY.plan(-1)
