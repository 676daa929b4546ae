"""A blocked event loop is noticed while it is blocked, with the stack that blocks it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import pytest

from s3proxy.observe.watchdog import Watchdog

LIMIT = 0.1
PATIENCE = 10.0


class Records(logging.Handler):
    """What the watchdog has said."""

    def __init__(self) -> None:
        super().__init__()
        self.said = threading.Event()
        self.fields: list[Mapping[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Called in the watchdog's thread."""
        self.fields.append(vars(record)["fields"])
        self.said.set()


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture(autouse=True)
def _listening(records: Records) -> Iterator[None]:
    logger = logging.getLogger("s3proxy.observe.watchdog")
    logger.addHandler(records)
    yield
    logger.removeHandler(records)


def block_until_told(records: Records) -> None:
    """A callback that holds the loop until somebody complains."""
    assert records.said.wait(PATIENCE)
    records.said.clear()


def run(watchdog: Watchdog, main: Coroutine[Any, Any, None]) -> None:
    """Run `main` in a watched loop."""
    with asyncio.Runner(loop_factory=watchdog.make_loop) as runner:
        runner.run(main)
    watchdog.close()
    watchdog.close()


def test_each_stall_is_told_once_while_it_lasts_with_its_stack(records: Records) -> None:
    watchdog = Watchdog(LIMIT)

    async def main() -> None:
        watchdog.start()
        for stalls in (1, 2):
            block_until_told(records)
            assert not records.said.wait(3 * LIMIT)  # The same stall goes on.
            assert watchdog.stalls == stalls
            await asyncio.sleep(0)

    run(watchdog, main())
    assert len(records.fields) == watchdog.stalls == 2
    for fields in records.fields:
        assert "block_until_told" in fields["stack"]
        assert fields["seconds"] >= LIMIT


def test_a_stall_that_was_over_too_soon_for_its_stack_is_told(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(LIMIT)

    async def main() -> None:
        monkeypatch.setattr(watchdog, "_watch", lambda thread: None)  # The thread sees nothing.
        watchdog.start()
        end = time.monotonic() + 1.5 * LIMIT
        while time.monotonic() < end:
            pass

    run(watchdog, main())
    assert [fields["stack"] for fields in records.fields] == [""]
    assert watchdog.stalls == 1


def test_a_loop_that_only_waits_is_not_blocked(records: Records) -> None:
    watchdog = Watchdog(1.0)

    async def main() -> None:
        watchdog.start()
        await asyncio.to_thread(records.said.wait, 0.2)

    run(watchdog, main())
    assert watchdog.stalls == 0
