"""The window of an upload: as many parts on their way as bring something, and no more."""

from __future__ import annotations

import asyncio

import pytest

from s3proxy.transfer.part import PartBody, Withdrawn
from s3proxy.transfer.window import NEAR_SIZE, PLENTY, REMEMBERED, Window
from tests.loop import settle

SIZE = PLENTY // 32
"""Bytes of a part, of which a fast store takes 32 a second."""

NEAR = NEAR_SIZE // SIZE

FAST, SLOW = 1 / 33, 1 / 31


def body(size: int = SIZE) -> PartBody:
    return PartBody(size, lambda offset: bytes(10))


def fill(window: Window, seconds: float, size: int = SIZE) -> int:
    """Send parts that take so long, until there is room for no other; how many."""
    count = 0
    while window.has_room(size):
        window.send(asyncio.sleep(seconds), body(size))
        count += 1
    return count


async def pass_through(window: Window, *seconds: float) -> None:
    """Send parts that take so long, one after the other."""
    for duration in seconds:
        window.send(asyncio.sleep(duration), body())
        await window.empty()


@pytest.mark.parametrize(("widest", "begin"), [(1, 1), (2, 2), (NEAR, NEAR), (8, NEAR)])
async def test_it_begins_narrow(widest: int, begin: int) -> None:
    window = Window(widest, 100 * SIZE)
    assert fill(window, FAST) == begin
    await window.empty()


@pytest.mark.parametrize(("size", "begin"), [(NEAR_SIZE // 2, 2), (NEAR_SIZE // 2 + 1, 1), (2 * NEAR_SIZE, 1)])
async def test_it_begins_with_fewer_of_larger_parts(size: int, begin: int) -> None:
    window = Window(8, 100 * NEAR_SIZE)
    assert fill(window, size / SIZE * FAST, size) == begin
    await window.empty()


async def test_it_stays_narrow_while_the_store_is_fast() -> None:
    window = Window(8, 100 * SIZE)
    for _ in range(20):
        assert fill(window, FAST) == NEAR
        await window.empty()


async def test_it_opens_once_the_store_is_slow() -> None:
    window = Window(8, 100 * SIZE)
    fill(window, SLOW)
    await window.change()
    await settle()
    assert fill(window, SLOW) == 8
    await window.empty()


async def test_a_store_that_pauses_for_a_moment_is_no_slow_one() -> None:
    window = Window(8, 100 * SIZE)
    await pass_through(window, FAST, *[1.0] * (REMEMBERED - 1))
    assert fill(window, FAST) == NEAR
    await window.empty()


async def test_one_that_becomes_slow_for_good_is() -> None:
    window = Window(8, 100 * SIZE)
    await pass_through(window, FAST, *[1.0] * REMEMBERED)
    assert fill(window, SLOW) == 8
    await window.empty()


@pytest.mark.parametrize(("size", "count"), [(SIZE, 2), (2 * SIZE, 1), (5 * SIZE, 1)])
async def test_large_parts_go_as_far_as_its_size_and_one_always(size: int, count: int) -> None:
    window = Window(8, 3 * SIZE - 1)
    assert fill(window, 1.0, size) == count
    await window.empty()


async def test_there_is_room_again_when_one_arrives() -> None:
    window = Window(2, 100 * SIZE)
    window.send(asyncio.sleep(1), body())
    window.send(asyncio.sleep(5), body())
    assert not window.has_room(SIZE)
    await asyncio.wait_for(window.change(), 2)
    assert window.has_room(SIZE)
    await window.empty()


async def test_withdrawn_are_those_on_their_way() -> None:
    window = Window(2, 100 * SIZE)
    arrived, sending = body(), body()
    window.send(asyncio.sleep(1), arrived)
    await window.empty()
    window.send(asyncio.sleep(1), sending)
    window.withdraw()
    assert arrived.read() == bytes(10)
    with pytest.raises(Withdrawn):
        sending.read()
    await window.empty()


async def test_waiting_for_none_takes_no_time() -> None:
    await asyncio.wait_for(Window(2, SIZE).empty(), 0.1)
