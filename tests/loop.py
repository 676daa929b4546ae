"""An event loop without waiting: time is a number that moves on when nothing else can happen.

A test that hangs on the wall clock fails here at once, since a loop with nothing left to do is an error. Threads do
not exist: work for an executor runs in the loop, one item a step, or when the test lets it.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

LONG = 3_600.0
"""Seconds after which a task that still runs will not end by itself."""


class _Selector(selectors.DefaultSelector):
    """Finds nothing, and moves time on instead of waiting for it."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("deadlock: every task waits for another")
        self.passed += max(0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `faults` are exceptions that no code retrieved."""

    def __init__(self) -> None:
        self.selector = _Selector()
        self.faults: list[Mapping[str, Any]] = []
        self._held: list[Callable[[], None]] | None = None
        super().__init__(self.selector)
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        """Seconds since the loop was made, of the kind that pass in here."""
        return self.selector.passed

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run `func` in a later step of the loop, to its end, whether or not anybody waits for it."""
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as fault:
                if not future.done():
                    future.set_exception(fault)
            else:
                if not future.done():
                    future.set_result(result)

        if self._held is None:
            self.call_soon(work)
        else:
            self._held.append(work)
        return future

    def hold_threads(self) -> None:
        """From now on work for threads is begun, and does not end before `release_threads`."""
        self._held = []

    def release_threads(self) -> None:
        """Let the held work end."""
        held, self._held = self._held or [], None
        for work in held:
            self.call_soon(work)


def virtual_loop() -> VirtualLoop:
    """The loop that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in a `VirtualLoop`. Fails on tasks that do not end and on exceptions that nobody saw."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result = runner.run(_settled(main))
        loop = runner.get_loop()
    assert isinstance(loop, VirtualLoop)
    gc.collect(1)
    assert loop.faults == []
    return result


async def _settled(main: Coroutine[Any, Any, T]) -> T:
    result = await main
    left = other_tasks()
    if left:
        _, left = await asyncio.wait(left, timeout=LONG)
    assert not left, "tasks that do not end"
    return result


def other_tasks() -> set[asyncio.Task[Any]]:
    """All tasks but the one that asks."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}


async def steps(count: int) -> None:
    """Let the other tasks take so many steps."""
    for _ in range(count):
        await asyncio.sleep(0)


async def settle() -> None:
    """Let the other tasks go on until they wait for time to pass or for us."""
    await asyncio.sleep(1e-6)
