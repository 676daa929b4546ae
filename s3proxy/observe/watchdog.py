"""Noticing that the event loop is blocked, by what, and whether that was us or the machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import selectors
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

logger = logging.getLogger(__name__)

LIMIT = 0.1
"""Seconds the loop may take from one look at its sockets to the next."""

TASKS = "/proc/self/task"

IDLE = 0.002
"""Seconds of processor time in an interval below which a process has nothing to wait for, and nobody looks."""

LOOKS = 4
"""Looks at the machine that are kept: one of them was before any stall that is not yet told."""


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


@dataclass(frozen=True, slots=True)
class Look:
    """How long each thread had stood in line for a processor, and the process had been stopped, in seconds."""

    lines: Mapping[int, float]
    stopped: float


class Machine:
    """How long the machine kept a thread of ours from running although it could have.

    Three things count: the thread stood in line for a processor, which Linux tells; another thread of the process did,
    which may have held the interpreter's lock meanwhile; and nothing of the process ran at all, because it or the
    machine was stopped. The last shows in a thread that `tick`s and wakes up late while the process used no processor.
    """

    def __init__(self, thread: int, interval: float) -> None:
        self._thread = thread
        self._interval = interval
        self._stopped = 0.0
        self._ticked = time.monotonic(), time.process_time()

    def tick(self) -> bool:
        """To be called every `interval` seconds. Whether the process has done anything since."""
        self._stopped += self._late()
        used = self._ticked[1]
        self._ticked = time.monotonic(), time.process_time()
        return self._ticked[1] - used > IDLE

    def look(self) -> Look:
        """How it stands."""
        return Look(dict(_lines()), self._stopped + self._late())

    def withheld(self, before: Look) -> float:
        """Seconds since an earlier look; what was one wait in two ways counts once."""
        now = self.look()
        waits = {thread: line - before.lines.get(thread, line) for thread, line in now.lines.items()}
        own = waits.pop(self._thread, 0.0)
        return max(own + max(waits.values(), default=0.0), now.stopped - before.stopped)

    def _late(self) -> float:
        ticked, used = self._ticked
        return max(0.0, time.monotonic() - ticked - self._interval - (time.process_time() - used))


def _lines() -> Iterator[tuple[int, float]]:
    """Each thread of the process, and how long it has stood in line so far; nothing where the system does not tell."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(TASKS):
            with (
                contextlib.suppress(OSError, ValueError, IndexError),
                open(f"{TASKS}/{thread}/schedstat", "rb") as file,
            ):
                yield int(thread), int(file.read().split()[1]) / 1e9


class Watchdog:
    """Logs the loop's stack, once for each stall, when callbacks hold it for over `limit` seconds; `stalls` counts.

    What the machine withheld of that time is none of ours; stalls of over `limit` that are none without it are
    `starvations`. A thread looks every `limit` seconds, so the stack of a stall shorter than two of them may be missed;
    the stall is logged and counted all the same. `busy` is when the loop began its work, 0 while it waits.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.stalls = 0
        self.starvations = 0
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
        self._machine = Machine(threading.get_native_id(), self._limit)
        self._looks = deque([(0.0, self._machine.look())], maxlen=LOOKS)
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
            self._judge(busy, None)

    def _watch(self, thread: int) -> None:
        while not self._over.wait(self._limit):
            active = self._machine.tick()
            busy, now = self.busy, time.monotonic()
            if busy and now - busy > self._limit:
                self._judge(busy, thread)
            elif active:
                self._looks.append((now, self._machine.look()))

    def _judge(self, busy: float, thread: int | None) -> None:
        """Tell of the stall since `busy`, if it is one: the loop's `thread` is still in it, None is just out of it."""
        seconds = time.monotonic() - busy
        withheld = self._withheld(busy)
        ours = seconds - withheld > self._limit
        if not ours and thread is not None:
            return  # It may become one yet.
        with self._telling:
            if busy == self._told:
                return
            self._told = busy
            self.stalls += ours
            self.starvations += not ours
        fields: dict[str, object] = {"seconds": round(seconds, 3), "withheld": round(withheld, 3)}
        if not ours:
            logger.info("event loop starved", extra={"fields": fields})
            return
        frame = sys._current_frames().get(thread) if thread is not None else None
        fields["stack"] = "".join(traceback.format_stack(frame)) if frame is not None else ""
        logger.warning("event loop blocked", extra={"fields": fields})

    def _withheld(self, busy: float) -> float:
        """Seconds of the stall that the machine took, and of the moment before it, since the last look."""
        before = next((look for at, look in reversed(self._looks.copy()) if at <= busy), self._looks[0][1])
        return self._machine.withheld(before)
