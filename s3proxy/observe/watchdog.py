"""Noticing that the event loop is blocked, and by what."""

from __future__ import annotations

import asyncio
import logging
import selectors
import sys
import threading
import time
import traceback

logger = logging.getLogger(__name__)

LIMIT = 0.1
"""Seconds the loop may take from one look at its sockets to the next."""


class _Selector(selectors.DefaultSelector):
    """Notes when the loop began to work on what was selected: a ticker that wakes nobody."""

    def __init__(self, watchdog: Watchdog) -> None:
        super().__init__()
        self._watchdog = watchdog

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        self._watchdog.rest()
        try:
            return super().select(timeout)
        finally:
            self._watchdog.busy = time.monotonic()


class Watchdog:
    """Logs the loop's stack, once for each stall, when callbacks hold it for over `limit` seconds; `stalls` counts.

    A thread looks every `limit` seconds, so the stack of a stall shorter than two of them may be missed; the stall is
    logged and counted all the same. `busy` is when the loop began its work, 0 while it waits.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.stalls = 0
        self.busy = 0.0
        self._limit = limit
        self._told = 0.0
        self._telling = threading.Lock()
        self._over = threading.Event()
        self._over.set()

    def make_loop(self) -> asyncio.AbstractEventLoop:
        """A loop that can be watched. For `asyncio.Runner`."""
        return asyncio.SelectorEventLoop(_Selector(self))

    def start(self) -> None:
        """Watch from now on. Called in the loop, when what may block while a program starts is done."""
        self._over.clear()
        self.busy = time.monotonic()
        threading.Thread(target=self._watch, args=[threading.get_ident()], name="watchdog", daemon=True).start()

    def close(self) -> None:
        """Stop watching. May be called twice."""
        self._over.set()

    def rest(self) -> None:
        """Called when the loop is about to wait."""
        busy, self.busy = self.busy, 0.0
        if busy and time.monotonic() - busy > self._limit and not self._over.is_set():
            self._tell(busy, None)

    def _watch(self, thread: int) -> None:
        while not self._over.wait(self._limit):
            busy = self.busy
            if busy and time.monotonic() - busy > self._limit and busy != self._told:
                self._tell(busy, thread)

    def _tell(self, busy: float, thread: int | None) -> None:
        with self._telling:
            if busy == self._told:
                return
            self._told = busy
            self.stalls += 1
        frame = sys._current_frames().get(thread) if thread is not None else None
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        seconds = round(time.monotonic() - busy, 3)
        logger.warning("event loop blocked", extra={"fields": {"seconds": seconds, "stack": stack}})
