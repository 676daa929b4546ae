"""Several server processes: real ones, since what they do is be started, signalled and replaced."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PROGRAM = """
    import os, signal, sys, time
    from pathlib import Path
    from s3proxy import workers

    def say(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # In one piece, whoever else writes.

    if "WORKERS_UNDER_TEST" in os.environ:
        count = int(os.environ.pop("WORKERS_UNDER_TEST"))
        workers.RESTART_PAUSE = float(os.environ.get("PAUSE", "0.01"))
        code = workers.run_workers(count, os.environ, lambda: say("ready"))
        say("ended", code)
        sys.exit(code)

    if workers.PARENT_FD not in os.environ:
        say("announced", workers.announce())
        sys.exit()

    # A worker. It stops at the second signal, or at the first when it is told to.
    signals = []
    stop_after = int(os.environ.get("SIGNALS", "1"))
    signal.signal(signal.SIGTERM, lambda *_: (signals.append(1), say("signalled")))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, lambda *_: say("reloading"))
    say("worker", os.getpid(), os.environ["WORKERS"])
    say("number", os.getpid(), workers.number())
    failures = os.environ.get("FAIL")
    if failures and not Path(failures).exists():
        Path(failures).touch()
        sys.exit(3)
    while os.environ.get("SILENT"):
        if signals:
            sys.exit()
        time.sleep(0.01)
    while "WAIT" in os.environ and not Path(os.environ["WAIT"]).exists():
        time.sleep(0.01)
    assert workers.announce()
    while len(signals) < stop_after:
        time.sleep(0.01)
    say("stopped", os.getpid())
"""


class Program:
    """The program above, and what it says."""

    def __init__(self, path: Path, **environment: str) -> None:
        path.write_text(textwrap.dedent(PROGRAM))
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self._stdout = self.process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self._rest = ""
        self.lines: list[list[str]] = []

    def read(self, word: str, count: int = 1, seconds: float = 20) -> list[list[str]]:
        """Read until that many lines begin with `word`; returns them."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while len(found := [line for line in self.lines if line[0] == word]) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"no {count} lines of {word!r} in {self.lines}"
                if selector.select(left):
                    text = os.read(self._stdout.fileno(), 65_536).decode()
                    assert text, f"ended without {word!r}: {self.lines}"
                    *lines, self._rest = (self._rest + text).split("\n")
                    self.lines += [line.split() for line in lines]
        return found

    def workers(self, count: int) -> list[int]:
        """The process ids of the first so many workers."""
        return [int(line[1]) for line in self.read("worker", count)]

    def ends_with(self, code: int) -> None:
        """It ends, and all its workers have."""
        assert self.process.wait(20) == code
        for line in self.lines:
            if line[0] == "worker":
                with pytest.raises(ProcessLookupError):
                    os.kill(int(line[1]), 0)


Starter = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts programs, and leaves none behind."""
    programs: list[Program] = []

    def start(**environment: str) -> Program:
        programs.append(Program(tmp_path / "program.py", **environment))
        return programs[-1]

    yield start
    for each in programs:
        each.process.kill()
        each.process.wait()
        each._stdout.close()
        for line in each.lines:
            if line[0] == "worker":
                try:
                    os.kill(int(line[1]), signal.SIGKILL)
                except ProcessLookupError:
                    continue


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_are_started_and_stopped_together(start: Starter, number: signal.Signals) -> None:
    parent = start(WORKERS_UNDER_TEST="3")
    parent.read("ready")
    pids = parent.workers(3)
    assert len(set(pids)) == 3
    assert {line[2] for line in parent.lines if line[0] == "worker"} == {"1"}, "a worker must not start workers"
    parent.process.send_signal(number)
    assert sorted(int(line[1]) for line in parent.read("stopped", 3)) == sorted(pids)
    parent.ends_with(0)


def test_ready_is_told_once_and_not_before_all_listen(start: Starter, tmp_path: Path) -> None:
    parent = start(WORKERS_UNDER_TEST="2")
    parent.read("ready")
    assert len(parent.read("worker", 2)) == 2
    assert parent.lines.index(["ready"]) > 1
    os.kill(parent.workers(2)[0], signal.SIGKILL)
    parent.workers(3)
    parent.process.terminate()
    parent.read("ended")
    assert len(parent.read("ready")) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_dies_is_replaced(start: Starter, number: signal.Signals) -> None:
    parent = start(WORKERS_UNDER_TEST="2")
    parent.read("ready")
    first, second = parent.workers(2)
    os.kill(first, number)
    replacement = parent.workers(3)[2]
    os.kill(replacement, number)
    assert len(set(parent.workers(4))) == 4
    os.kill(second, 0)
    parent.process.terminate()
    parent.read("ended")
    parent.ends_with(0)


def test_all_workers_may_die_at_once(start: Starter) -> None:
    parent = start(WORKERS_UNDER_TEST="2")
    parent.read("ready")
    for pid in parent.workers(2):
        os.kill(pid, signal.SIGKILL)
    assert len(set(parent.workers(4))) == 4
    parent.process.terminate()
    parent.read("ended")
    parent.ends_with(0)


def test_a_signal_before_a_replacement_has_started_starts_none(start: Starter) -> None:
    parent = start(WORKERS_UNDER_TEST="2", PAUSE="60")
    parent.read("ready")
    first, second = parent.workers(2)
    os.kill(first, signal.SIGKILL)
    # Until the parent has seen it: a zombie is gone when it was waited for.
    deadline = time.monotonic() + 10
    while Path(f"/proc/{first}").exists():
        assert time.monotonic() < deadline
    with pytest.raises(AssertionError, match="no 3 lines"):
        parent.read("worker", 3, seconds=0.5)
    parent.process.terminate()
    assert [int(line[1]) for line in parent.read("stopped")] == [second]
    parent.read("ended", seconds=10)
    assert len(parent.read("worker", 2)) == 2
    parent.ends_with(0)


def test_every_signal_is_handed_on(start: Starter) -> None:
    parent = start(WORKERS_UNDER_TEST="2", SIGNALS="2")
    parent.read("ready")
    parent.process.terminate()
    parent.read("signalled", 2)
    assert parent.process.poll() is None
    parent.process.terminate()
    parent.read("stopped", 2)
    parent.ends_with(0)


def test_a_worker_that_cannot_start_ends_the_start(start: Starter, tmp_path: Path) -> None:
    parent = start(WORKERS_UNDER_TEST="3", FAIL=str(tmp_path / "failed"))
    parent.ends_with(3)
    assert "ready" not in [line[0] for line in parent.read("ended")]


def test_a_worker_that_fails_later_does_not_end_the_others(start: Starter, tmp_path: Path) -> None:
    failed = tmp_path / "failed"
    failed.touch()
    parent = start(WORKERS_UNDER_TEST="2", FAIL=str(failed))
    parent.read("ready")
    failed.unlink()
    os.kill(parent.workers(2)[0], signal.SIGKILL)
    # The first replacement fails, the second does not.
    parent.workers(4)
    assert parent.process.poll() is None
    parent.process.terminate()
    parent.ends_with(0)


def test_a_signal_during_the_start_ends_it(start: Starter) -> None:
    parent = start(WORKERS_UNDER_TEST="2", SILENT="1")
    parent.workers(2)
    parent.process.terminate()
    parent.ends_with(0)
    assert "ready" not in [line[0] for line in parent.read("ended")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_workers_end_when_their_parent_is_gone(start: Starter, number: signal.Signals) -> None:
    parent = start(WORKERS_UNDER_TEST="3")
    parent.read("ready")
    pids = parent.workers(3)
    os.kill(pids[0], signal.SIGKILL)
    pids = [*pids[1:], parent.workers(4)[3]]  # A replacement knows its parent too.
    parent.process.send_signal(number)
    assert sorted(int(line[1]) for line in parent.read("stopped", 3)) == sorted(pids)
    assert parent.process.wait(20) == -number


def test_a_worker_whose_parent_goes_before_it_listens_ends(start: Starter, tmp_path: Path) -> None:
    late = tmp_path / "late"
    parent = start(WORKERS_UNDER_TEST="2", WAIT=str(late))
    pids = parent.workers(2)
    parent.process.kill()
    parent.process.wait(20)
    late.touch()
    assert sorted(int(line[1]) for line in parent.read("stopped", 2)) == sorted(pids)


def test_without_a_parent_there_is_nobody_to_tell(start: Starter) -> None:
    alone = start()
    assert alone.read("announced") == [["announced", "False"]]


def test_a_reload_is_asked_of_every_worker_and_ends_none(start: Starter) -> None:
    parent = start(WORKERS_UNDER_TEST="3")
    parent.read("ready")
    parent.workers(3)
    parent.process.send_signal(signal.SIGHUP)
    parent.read("reloading", 3)
    parent.process.send_signal(signal.SIGTERM)
    assert len(parent.read("stopped", 3)) == 3
    assert parent.read("ended") == [["ended", "0"]]


def test_workers_are_numbered_and_a_replacement_takes_its_predecessor_s_number(start: Starter) -> None:
    parent = start(WORKERS_UNDER_TEST="2")
    parent.read("ready")
    first = {int(line[2]): int(line[1]) for line in parent.read("number", 2)}
    assert first.keys() == {0, 1}
    os.kill(first[1], signal.SIGKILL)
    replacement = parent.read("number", 3)[2]
    assert replacement[2] == "1"
    assert int(replacement[1]) not in first.values()
