"""A turn of the event loop is shared: so many bytes of bulk, then everybody else."""

from __future__ import annotations

import asyncio

from s3proxy.transfer.turns import Turns


class Loop:
    """Counts the turns of the event loop from here on."""

    def __init__(self) -> None:
        self.turn = 0
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._count)

    def _count(self) -> None:
        self.turn += 1
        self._loop.call_soon(self._count)


async def moved_in(turns: Turns, loop: Loop, sizes: list[int]) -> list[int]:
    """In which turn each of the sizes was moved, when all are asked for at once."""

    async def move(size: int) -> int:
        await turns.take(size)
        return loop.turn

    return await asyncio.gather(*(move(size) for size in sizes))


async def test_one_transfer_alone_waits_for_nothing() -> None:
    turns, loop = Turns(100), Loop()
    for _ in range(10):
        await turns.take(1_000)
        now = loop.turn
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert loop.turn <= now + 3


async def test_what_fits_into_a_turn_is_moved_in_it() -> None:
    turns, loop = Turns(100), Loop()
    assert len(set(await moved_in(turns, loop, [30, 30, 30]))) == 1


async def test_a_turn_takes_so_many_bytes_and_no_more() -> None:
    turns, loop = Turns(100), Loop()
    moved = await moved_in(turns, loop, [50] * 20)
    assert moved == sorted(moved)
    assert max(moved.count(turn) for turn in moved) == 2
    assert moved[-1] - moved[0] <= 11  # And none goes by with nothing.


async def test_more_than_a_turn_takes_has_one_of_its_own() -> None:
    turns, loop = Turns(100), Loop()
    moved = await moved_in(turns, loop, [1_000, 1_000, 1_000])
    assert len(set(moved)) == 3


async def test_first_come_first_served_also_for_small_ones() -> None:
    turns, loop = Turns(100), Loop()
    moved = await moved_in(turns, loop, [100, 100, 1])
    assert moved[2] >= moved[1] > moved[0]


async def test_who_leaves_the_line_holds_up_nobody() -> None:
    turns = Turns(100)
    await turns.take(100)
    waiting = [asyncio.create_task(turns.take(100)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    await asyncio.wait_for(waiting[2], timeout=5)
    await asyncio.wait_for(turns.take(1), timeout=5)


async def test_everybody_else_has_a_turn_in_between() -> None:
    turns = Turns(100)
    served = 0

    async def serve() -> None:
        nonlocal served
        while True:
            await asyncio.sleep(0)
            served += 1

    serving = asyncio.create_task(serve())
    await asyncio.gather(*(turns.take(100) for _ in range(50)))
    serving.cancel()
    assert served >= 49
