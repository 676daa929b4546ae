"""A turn of the event loop is shared: so many bytes of bulk, then everybody else."""

from __future__ import annotations

import asyncio

from s3proxy.transfer.turns import SMALL_SIZE, Turns

TURN = 8 * SMALL_SIZE


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
    turns, loop = Turns(TURN), Loop()
    for _ in range(10):
        await turns.take(10 * TURN)
        now = loop.turn
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert loop.turn <= now + 3


async def test_what_fits_into_a_turn_is_moved_in_it() -> None:
    turns, loop = Turns(TURN), Loop()
    assert len(set(await moved_in(turns, loop, [TURN // 3] * 3))) == 1


async def test_a_turn_takes_so_many_bytes_and_no_more() -> None:
    turns, loop = Turns(TURN), Loop()
    moved = await moved_in(turns, loop, [TURN // 2] * 20)
    assert moved == sorted(moved)
    assert max(moved.count(turn) for turn in moved) == 2
    assert moved[-1] - moved[0] <= 11  # And none goes by with nothing.


async def test_more_than_a_turn_takes_has_one_of_its_own() -> None:
    turns, loop = Turns(TURN), Loop()
    moved = await moved_in(turns, loop, [10 * TURN] * 3)
    assert len(set(moved)) == 3


async def test_small_ones_wait_for_nobody() -> None:
    turns, loop = Turns(TURN), Loop()
    moved = await moved_in(turns, loop, [TURN, TURN, TURN, SMALL_SIZE, TURN, 1])
    assert moved[3] == moved[5] == moved[0] < moved[1] < moved[2] < moved[4]


async def test_who_leaves_the_line_holds_up_nobody() -> None:
    turns = Turns(TURN)
    served, *leaving, last = (asyncio.create_task(turns.take(TURN)) for _ in range(4))
    await served
    for task in leaving:
        task.cancel()
    await asyncio.wait_for(last, timeout=5)
    await asyncio.wait_for(turns.take(TURN), timeout=5)
    assert [task.cancelled() for task in leaving] == [True, True]


async def test_everybody_else_has_a_turn_in_between() -> None:
    turns = Turns(TURN)
    served = 0

    async def serve() -> None:
        nonlocal served
        while True:
            await asyncio.sleep(0)
            served += 1

    serving = asyncio.create_task(serve())
    await asyncio.gather(*(turns.take(TURN) for _ in range(50)))
    serving.cancel()
    assert served >= 49
