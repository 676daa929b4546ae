"""Threads in which boto3 may block, and what its calls come to in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from s3proxy.errors import StoreTimeout
from s3proxy.store.s3_faults import FAULTS, translate

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """So many threads for one kind of call; `patience` is in seconds."""

    def __init__(self, name: str, count: int, patience: float) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=f"s3-{name}")
        self._patience = patience

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call as soon as a thread is free. Raises `StoreError`."""
        return await _answer(self._pool.submit(call, *args, **kwargs))

    async def begin(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what a request begins with, which is not made when no thread is free within `patience`.

        While a store hangs in every thread, the line before them would grow without end.
        """
        work = self._pool.submit(call, *args, **kwargs)
        late = False

        def give_up(work: Future[T]) -> None:
            nonlocal late
            late = work.cancel()  # False when a thread has it.

        timer = asyncio.get_running_loop().call_later(self._patience, give_up, work)
        try:
            return await _answer(work)
        except asyncio.CancelledError:
            if late:
                raise StoreTimeout(reason="NoThread") from None
            raise
        finally:
            timer.cancel()
            del work

    def close(self) -> None:
        """Take no more calls. Threads that hang in one are left behind."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def _answer(work: Future[T]) -> T:
    try:
        return await asyncio.wrap_future(work)
    except FAULTS as fault:
        raise translate(fault) from None
    finally:
        # It holds the exception, which holds this frame, and an answer's connection: a cycle would keep it open.
        del work
