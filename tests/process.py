"""`server.py` in a process of its own, as people start it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent

DEADLINE = 20.0
"""Seconds a server may take to start, or a condition to come true."""


def wait_for(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Return as soon as `condition` holds; fail when it does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds} seconds: {what}")
        time.sleep(0.01)


class ServerProcess:
    """A server on a free loopback port, with an environment of its own. A context manager: it runs inside.

    `lines` is what it has printed so far. It reaches nothing but this machine.
    """

    def __init__(self, endpoint: str, directory: Path, **settings: str) -> None:
        self.lines: list[str] = []
        self.url = ""
        self._directory = directory
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(directory),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "S3_ENDPOINT_URL": endpoint,
            "S3_ADDRESSING_STYLE": "path",
            "HOST": "127.0.0.1",
            "PORT": "0",
            "SPOOL_DIR": str(directory),
            **settings,
        }

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "server.py")],
            cwd=self._directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        wait_for(lambda: bool(self.url) or self._process.poll() is not None, "the server listens")
        if not self.url:
            self.__exit__(None, None, None)
            raise AssertionError("the server ended at once:\n" + "\n".join(self.lines))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reading.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def signal(self, number: signal.Signals) -> None:
        """Send another signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def exit_code(self, seconds: float = DEADLINE) -> int:
        """Wait until it has ended by itself."""
        return self._process.wait(seconds)

    def said(self, text: str) -> bool:
        """Whether a line with `text` was printed."""
        return any(text in line for line in self.lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("listening on "):
                self.url = line.removeprefix("listening on ").strip()
