"""A blocked event loop is noticed while it is blocked, with the stack that blocks it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import pytest

from s3proxy.observe.watchdog import Look, Machine, Watchdog

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
def _listening(records: Records, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    logger = logging.getLogger("s3proxy.observe.watchdog")
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.addHandler(records)
    yield
    logger.removeHandler(records)


@pytest.fixture(autouse=True)
def _calm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine withholds nothing, however busy it is, unless a test is about that."""
    if "busy_machine" not in request.fixturenames:
        monkeypatch.setattr(Machine, "withheld", lambda self, before: 0.0)


@pytest.fixture
def busy_machine() -> None:
    """The machine as it is."""


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


def test_what_the_machine_withheld_is_no_stall_of_ours(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog = Watchdog(LIMIT)
    monkeypatch.setattr(Machine, "withheld", lambda self, before: 3 * LIMIT)

    async def main() -> None:
        watchdog.start()
        threading.Event().wait(3 * LIMIT)

    run(watchdog, main())
    assert (watchdog.stalls, watchdog.starvations) == (0, 1)
    assert [set(fields) for fields in records.fields] == [{"seconds", "withheld"}]


def test_a_stall_of_ours_that_began_with_a_wait_for_the_machine_is_told(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(LIMIT)
    monkeypatch.setattr(Machine, "withheld", lambda self, before: 2 * LIMIT)

    async def main() -> None:
        watchdog.start()
        block_until_told(records)

    run(watchdog, main())
    assert (watchdog.stalls, watchdog.starvations) == (1, 0)


def test_a_loop_without_a_processor_is_starved(busy_machine: None) -> None:
    """More threads than processors, none of them Python's, so that nobody waits for the interpreter's lock."""
    machine = Machine(threading.get_native_id(), LIMIT)
    before = machine.look()
    crowd = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        end = time.monotonic() + PATIENCE
        while machine.withheld(before) < LIMIT:
            assert time.monotonic() < end
    finally:
        for each in crowd:
            each.kill()
            each.wait()


def test_a_process_that_was_stopped_knows(busy_machine: None) -> None:
    program = f"""
import os, signal, threading, time
from s3proxy.observe.watchdog import Machine
machine = Machine(threading.get_native_id(), {LIMIT})
machine.tick()
before = machine.look()
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
machine.tick()
print(machine.withheld(before))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.waitpid(process.pid, os.WUNTRACED)
        time.sleep(3 * LIMIT)  # That is what it is to notice.
        process.send_signal(signal.SIGCONT)
        assert float(process.stdout.readline()) > 1.5 * LIMIT


def test_a_thread_that_stands_in_line_may_hold_the_interpreters_lock(
    busy_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(1, 1_000)
    before = Look({1: 5.0, 2: 7.0}, 0.0)
    monkeypatch.setattr(machine, "look", lambda: Look({1: 5.5, 2: 8.0, 3: 100.0}, 0.0))
    assert machine.withheld(before) == 1.5, "thread 3 is new: nobody knows since when"


def test_holding_the_interpreters_lock_is_our_own_doing(busy_machine: None) -> None:
    machine = Machine(threading.get_native_id(), LIMIT)
    machine.tick()
    used = time.process_time()
    while time.process_time() - used < 3 * LIMIT:
        pass
    look = machine.look()
    assert look.stopped <= look.lines[threading.get_native_id()] + LIMIT


def test_a_system_that_tells_nothing_withholds_nothing(busy_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3proxy.observe.watchdog.TASKS", "/nonexistent")
    machine = Machine(0, 1_000)
    assert machine.withheld(machine.look()) == 0.0
