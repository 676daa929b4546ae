"""Several server processes on one port, for hosts without supervisord: started, replaced and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping

READY_FD = "S3PROXY_READY_FD"
"""Names the descriptor on which a worker writes one byte when it listens."""

RESTART_PAUSE = 1.0
"""Seconds before a worker that died is replaced."""

PERIOD = 0.05
"""Seconds between two looks at signals and workers."""


def announce() -> bool:
    """Tell the parent that this worker listens; false when there is no parent to tell."""
    descriptor = os.environ.get(READY_FD)
    if descriptor is None:
        return False
    os.write(int(descriptor), b"1")
    return True


def run_workers(count: int, environment: Mapping[str, str], ready: Callable[[], None]) -> int:
    """Run `count` copies of this program until SIGTERM or SIGINT, which they are handed; returns the exit code.

    `ready` is called once, when all of them listen. A worker that dies is replaced; one that dies before the first
    `ready` ends the start, with its exit code.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Handed on by the loop below: a handler may run while a worker is being started and nobody knows it yet.
        signal.signal(number, lambda received, _: signals.append(received))

    def start() -> subprocess.Popen[bytes]:
        shared = {**environment, "WORKERS": "1", READY_FD: str(writer)}
        return subprocess.Popen([sys.executable, *sys.argv], env=shared, pass_fds=[writer])

    workers = {start() for _ in range(count)}
    starts: list[float] = []
    waiting = count
    stopping = False
    code = 0
    while workers or (starts and not stopping):
        if waiting:
            waiting -= _listening(reader)
            if not waiting:
                ready()
        while signals:
            signals.pop()
            stopping = True
            _terminate(workers)
        for worker in [worker for worker in workers if worker.poll() is not None]:
            workers.discard(worker)
            if stopping:
                continue
            if waiting:
                stopping = True
                code = abs(worker.returncode) or 1
                _terminate(workers)
            else:
                starts.append(time.monotonic() + RESTART_PAUSE)
        if starts and starts[0] <= time.monotonic() and not stopping:
            starts.pop(0)
            workers.add(start())
        time.sleep(PERIOD)
    return code


def _terminate(workers: Iterable[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.send_signal(signal.SIGTERM)


def _listening(reader: int) -> int:
    try:
        return len(os.read(reader, 4096))
    except BlockingIOError:
        return 0
