"""How much of a turn of the event loop bulk transfers may have, so that small requests never wait for many of them."""

from __future__ import annotations

import asyncio
from collections import deque

TURN_SIZE = 1024 * 1024
"""Bytes that all transfers together move in one turn: about a millisecond."""

SMALL_SIZE = 16 * 1024
"""Bytes that never wait: they are not what makes a turn long."""


class Turns:
    """Lets so many bytes be moved, then everybody else have a turn; first come, first served, but for small ones.

    A loop serves all that is ready before it looks for more. Sixteen fast transfers are always ready, each with its
    chunk, and a small request needs several turns. Nothing is lost by it: the next turn comes at once.
    """

    def __init__(self, size: int = TURN_SIZE) -> None:
        self._size = size
        self._left = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._ending = False

    async def take(self, size: int) -> None:
        """Return when `size` bytes may be moved. Any size may, when it is the first of its turn."""
        if size > SMALL_SIZE and (self._left <= 0 or self._waiting):
            ready = asyncio.get_running_loop().create_future()
            self._waiting.append((size, ready))
            await ready
        else:
            self._spend(size)

    def _spend(self, size: int) -> None:
        self._left -= size
        if not self._ending:
            self._ending = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._ending = False
        self._left = self._size
        while self._waiting and self._left > 0:
            size, ready = self._waiting.popleft()
            if not ready.done():
                ready.set_result(None)
                self._spend(size)
