"""How many parts of one upload are on their way at once: few to a store that takes them fast, many to any other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from s3proxy.transfer.part import PartBody

NEAR_SIZE = 24 * 1024 * 1024
"""Bytes on their way to a store that takes them at `PLENTY`: three parts of the usual size, one of a large one."""

PLENTY = 128 * 1024 * 1024
"""Bytes a second, of one part, from which on it is not the connections that more is wanted of."""

REMEMBERED = 8
"""Parts of which one that was fast is enough: a store that pauses for a moment is no reason to hold more."""


class Window:
    """The parts of one upload that are on their way, at most `widest` of them and, unless it is one, `size` bytes.

    It begins narrow, with no more than `NEAR_SIZE` bytes, and is as wide as it may be while no part of the last
    `REMEMBERED` was fast.
    """

    def __init__(self, widest: int, size: int) -> None:
        self._widest = widest
        self._size = size
        self._sending: dict[asyncio.Task[None], PartBody] = {}
        self._fast: deque[bool] = deque(maxlen=REMEMBERED)

    def has_room(self, size: int) -> bool:
        """Whether a part of `size` bytes may go as well."""
        limit = self._size if self._fast and not any(self._fast) else min(self._size, NEAR_SIZE)
        on_the_way = sum(map(len, self._sending.values()))
        return not self._sending or (len(self._sending) < self._widest and on_the_way + size <= limit)

    def send(self, work: Coroutine[Any, Any, None], body: PartBody) -> None:
        """Start `work`, which sends `body` and raises nothing. It counts as on its way until it is done."""
        began = asyncio.get_running_loop().time()
        task = asyncio.create_task(work)
        self._sending[task] = body
        task.add_done_callback(lambda task: self._arrived(task, began))

    async def change(self) -> None:
        """Wait until one of the parts has arrived."""
        await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)

    async def empty(self) -> None:
        """Wait until all of the parts that are on their way now have arrived."""
        if self._sending:
            await asyncio.wait(self._sending)

    def withdraw(self) -> None:
        """Make the threads that send stop at their next stretch."""
        for body in self._sending.values():
            body.withdraw()

    def _arrived(self, task: asyncio.Task[None], began: float) -> None:
        seconds = asyncio.get_running_loop().time() - began
        self._fast.append(len(self._sending.pop(task)) >= PLENTY * seconds)
