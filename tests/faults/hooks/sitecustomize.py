"""Imported by a server under test before anything else: SIGUSR1 holds its event loop for a second."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from types import FrameType


def hold_the_loop() -> None:
    """A callback that blocks."""
    time.sleep(1)


def on_signal(number: int, frame: FrameType | None) -> None:
    """Not here: within `select` nobody would call it blocked."""
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop().call_soon_threadsafe(hold_the_loop)


signal.signal(signal.SIGUSR1, on_signal)
