"""A PostgreSQL of our own, thrown away afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

USER = "tester"


class Cluster:
    """PostgreSQL on loopback, in a directory and on a port that nobody else has. It trusts everybody.

    Raises `LookupError` in words when there is none on this machine, or nobody it would run as.
    """

    def __init__(self) -> None:
        found = shutil.which("postgres")
        if found is None:
            raise LookupError("no postgres on this machine")
        self._programs = Path(found).resolve().parent
        self._as: dict[str, Any] = {"cwd": "/"} | _not_root()
        self._directory = Path(tempfile.mkdtemp(prefix="ledger-"))
        if "user" in self._as:
            shutil.chown(self._directory, self._as["user"], self._as["group"])
        self._data = self._directory / "data"
        self._run("initdb", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def url(self, password: str = "") -> str:
        """Where its one database is."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Returns when it can be asked."""
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories='' -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self._directory / "log"), "-o", options, "start")

    def stop(self) -> None:
        """End it as a power failure would."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        """Leave nothing."""
        shutil.rmtree(self._directory)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._data), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=50, **self._as)


def _not_root() -> dict[str, Any]:
    """Arguments for a process that is not root's: PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise LookupError("PostgreSQL does not run as root, and there is nobody else")
