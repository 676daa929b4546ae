"""Several server processes on one port, for hosts without supervisord: started, replaced and stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping

PARENT_FD = "S3PROXY_PARENT_FD"
"""Names the descriptor of a socket to the parent: a worker writes one byte when it listens, and reads the parent's end.

The parent sends nothing, so all that can ever be read is that it is gone, whatever became of it.
"""

NUMBER = "S3PROXY_WORKER"
"""Names which of its parent's workers a process is, counted from 0; one that replaces another has its number."""

RESTART_PAUSE = 1.0
"""Seconds before a worker that died is replaced."""

PERIOD = 0.05
"""Seconds between two looks at signals and workers."""


def is_worker() -> bool:
    """Whether this process has such a parent."""
    return PARENT_FD in os.environ


def number() -> int:
    """Which worker this process is; 0 without a parent."""
    return int(os.environ.get(NUMBER, "0"))


def announce() -> bool:
    """Tell the parent that this worker listens; false when there is no parent to tell.

    From now on a parent that is gone, even by SIGKILL, means to this process what SIGTERM does: nobody else would stop
    it any more, and its port would stay taken.
    """
    descriptor = os.environ.get(PARENT_FD)
    if descriptor is None:
        return False
    parent = socket.socket(fileno=int(descriptor))
    with contextlib.suppress(BrokenPipeError):  # Gone already, as the thread will find.
        parent.send(b"1")
    threading.Thread(target=_outlive, args=[parent], name="parent", daemon=True).start()
    return True


def _outlive(parent: socket.socket) -> None:
    """Wait for the parent's end, then ask this process to end."""
    with contextlib.suppress(ConnectionError):
        parent.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def run_workers(count: int, environment: Mapping[str, str], ready: Callable[[], None]) -> int:
    """Run `count` copies of this program until SIGTERM or SIGINT; returns the exit code. SIGHUP is handed to them.

    `ready` is called once, when all of them listen. A worker that dies is replaced; one that dies before the first
    `ready` ends the start, with its exit code.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    signals: list[int] = []
    for handed in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Handed on by the loop below: a handler may run while a worker is being started and nobody knows it yet.
        signal.signal(handed, lambda received, _: signals.append(received))

    def start(number: int) -> subprocess.Popen[bytes]:
        shared = {**environment, "WORKERS": "1", PARENT_FD: str(theirs.fileno()), NUMBER: str(number)}
        return subprocess.Popen([sys.executable, *sys.argv], env=shared, pass_fds=[theirs.fileno()])

    workers = {start(number): number for number in range(count)}
    starts: list[tuple[float, int]] = []
    waiting = count
    stopping = False
    code = 0
    while workers or (starts and not stopping):
        if waiting:
            waiting -= _listening(ours)
            if not waiting:
                ready()
        while signals:
            received = signals.pop(0)
            stopping = stopping or received != signal.SIGHUP
            _signal(workers, signal.SIGTERM if stopping else signal.SIGHUP)
        for worker in [worker for worker in workers if worker.poll() is not None]:
            freed = workers.pop(worker)
            if stopping:
                continue
            if waiting:
                stopping = True
                code = abs(worker.returncode) or 1
                _signal(workers, signal.SIGTERM)
            else:
                starts.append((time.monotonic() + RESTART_PAUSE, freed))
        if starts and starts[0][0] <= time.monotonic() and not stopping:
            _, freed = starts.pop(0)
            workers[start(freed)] = freed
        time.sleep(PERIOD)
    return code


def _signal(workers: Iterable[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for worker in workers:
        worker.send_signal(number)


def _listening(workers: socket.socket) -> int:
    try:
        return len(workers.recv(4096))
    except BlockingIOError:
        return 0
