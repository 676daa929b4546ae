"""One server process of the benchmark: started, waited for, measured, stopped."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.meter import Meter, Usage

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


class BenchError(Exception):
    """Something the benchmark needs did not work; the text says what."""


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A running server. Its output goes to a log file, whose end is shown when it does not start."""

    def __init__(
        self, name: str, command: Sequence[str], *, port: int, log: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.name = name
        self.port = port
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **env}, cwd=cwd
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def meter(self) -> "ServerMeter":
        """A meter that starts now."""
        self.check_alive()
        return ServerMeter(self, Meter(self._process.pid))

    def check_alive(self) -> None:
        """Raise BenchError when it has ended: its figures would be those of a zombie."""
        if not self.is_alive:
            raise BenchError(f"{self.name} ended with {self._process.returncode}:\n{self.log_end()}")

    def stop(self) -> None:
        """Ask it to end, then make it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            print(f"{self.name} still ran {STOP_TIMEOUT:.0f} s after SIGTERM: killed", file=sys.stderr)
            self._process.kill()
            self._process.wait()

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline:
            self.check_alive()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise BenchError(f"{self.name} does not listen after {READY_TIMEOUT:.0f} s:\n{self.log_end()}")

    def log_end(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


class ServerMeter:
    """A meter of a server that must still be there when it is read."""

    def __init__(self, server: ServerProcess, meter: Meter) -> None:
        self._server = server
        self._meter = meter

    def read(self) -> Usage:
        """What the server used since. Raises BenchError when it has ended: a dead process has no peak."""
        self._server.check_alive()
        return self._meter.read()
