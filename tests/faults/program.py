"""`server.py` as a process of its own: its settings, its log, and what Linux says of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]

START_SECONDS = 30.0

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYOFTHEKEYID",
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-secret-key-0123456789abcdef",
    "AWS_SESSION_TOKEN": "canary-of-the-session-token-0123456789abcdef",
}
"""Credentials that may be read in no log and no answer."""


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until `condition` holds, at most so long; whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_with_order() -> None:
    """Let SIGTERM to a program of ours leave all its contexts, so that no server outlives it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open descriptors of a process: connections of clients and to the store, files without a name, all others.

    The journal of open uploads, kept for as long as the process lives, is not counted.
    """

    clients: int
    store: int
    nameless: int
    others: int


class Program:
    """A running server, with at most so many `descriptors`. A context manager: up inside, gone afterwards."""

    def __init__(self, folder: Path, settings: Mapping[str, str], descriptors: int | None = None) -> None:
        limit = [] if descriptors is None else ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh"]
        self._command = [*limit, sys.executable, str(ROOT / "server.py")]
        self._folder = folder
        self._log = folder / "output"
        self.settings = settings
        self.port = int(settings.get("PORT", "0"))

    def __enter__(self) -> Self:
        # Nothing of the environment of whoever runs the tests, and no .env, may change what is tested.
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ}
        environment = kept | {
            "HOME": str(self._folder),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONUNBUFFERED": "1",
            "MALLOC_MMAP_THRESHOLD_": "1048576",
            "MALLOC_TRIM_THRESHOLD_": "1048576",
            **SECRETS,
            **self.settings,
        }
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if not until(lambda: self._listens() or self.process.poll() is not None, START_SECONDS) or not self.port:
            text = self.output()
            self.stop()
            raise AssertionError(f"the server does not start; it said:\n{text}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, whatever it is doing."""
        if self.process.poll() is None:
            children = self.workers
            self.process.kill()
            self.process.wait()
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self, seconds: float) -> int | None:
        """How it ended; None when it has not within `seconds`."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    @property
    def workers(self) -> list[int]:
        """The ids of the processes that serve: its children, or itself."""
        pid = self.process.pid
        with suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if children:
                return [int(child) for child in children]
        return [pid]

    def output(self) -> str:
        """All it has printed."""
        return self._log.read_text(errors="replace")

    def records(self, start: int = 0) -> list[dict[str, Any]]:
        """Its log lines from character `start` of the output on."""
        lines = (line for line in self.output()[start:].splitlines() if line.startswith("{"))
        records = []
        for line in lines:
            with suppress(ValueError):  # The last may be half written.
                records.append(json.loads(line))
        return records

    def _listens(self) -> bool:
        for line in self.output().splitlines():
            if line.startswith("listening on "):
                self.port = int(line.rpartition(":")[2])
                return True
        return False


def memory_of(pid: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def threads_of(pid: int) -> int:
    """Threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors_of(pid: int, port: int, store_port: int) -> Descriptors:
    """What a process that listens on `port` has open, told apart."""
    ends = _connections(pid)
    clients = store = nameless = others = 0
    folder = f"/proc/{pid}/fd"
    for number in os.listdir(folder):
        try:
            link = os.readlink(f"{folder}/{number}")
        except FileNotFoundError:
            continue
        local, remote = ends.get(link.removeprefix("socket:[").removesuffix("]"), (0, 0))
        if remote and remote == store_port:
            store += 1
        elif remote and local == port:
            clients += 1
        elif link.endswith("(deleted)"):
            nameless += 1
        elif not link.endswith(".journal"):
            others += 1
    return Descriptors(clients, store, nameless, others)


def _connections(pid: int) -> dict[str, tuple[int, int]]:
    """Local and remote port of each TCP connection, by inode; the remote port of a listener is 0."""
    rows: Iterable[str] = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    fields = (row.split() for row in rows)
    return {row[9]: (int(row[1].split(":")[1], 16), int(row[2].split(":")[1], 16)) for row in fields}
