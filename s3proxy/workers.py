"""Several server processes on one port, for hosts without supervisord: started, replaced and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

READY_FD = "S3PROXY_READY_FD"
"""Names the descriptor on which a worker writes one byte when it listens."""

RESTART_PAUSE = 1.0
"""Seconds before a worker that died is replaced."""


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
    `ready` ends the start.
    """
    reader, writer = os.pipe()
    stopping = False
    workers: set[subprocess.Popen[bytes]] = set()

    def start() -> None:
        shared = {**environment, "WORKERS": "1", READY_FD: str(writer)}
        workers.add(subprocess.Popen([sys.executable, *sys.argv], env=shared, pass_fds=[writer]))

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for worker in workers:
            worker.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    for _ in range(count):
        start()
    waiting = count
    os.set_blocking(reader, False)
    codes = []
    while workers:
        if waiting:
            waiting -= _listening(reader)
            if not waiting:
                ready()
        for worker in [worker for worker in workers if worker.poll() is not None]:
            workers.discard(worker)
            codes.append(worker.returncode)
            if waiting and not stopping:
                stop()
            elif not stopping:
                time.sleep(RESTART_PAUSE)
                start()
        time.sleep(0.05)
    return max(map(abs, codes), default=0) if waiting else 0


def _listening(reader: int) -> int:
    try:
        return len(os.read(reader, 4096))
    except BlockingIOError:
        return 0
