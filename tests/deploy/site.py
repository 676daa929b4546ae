"""Real nginx and real supervisord running the shipped files, on free ports and in a directory of the test's own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from settings import Settings

ROOT = Path(__file__).resolve().parents[2]

START_SECONDS = 15.0
STOP_SECONDS = 15.0


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip, and say why, where one of `programs` is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def default(setting: str) -> float:
    """What the service takes when `setting` is not set."""
    return float(Settings.model_fields[setting].default)


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Return as soon as `condition` holds; fail when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def accepts(port: int) -> bool:
    """Whether someone listens on `port` of this machine."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass(frozen=True)
class Answer:
    """What curl got."""

    status: int
    body: bytes


def curl(*arguments: str, stdin: bytes | None = None) -> Answer:
    """Run curl as a user would; fails when curl itself fails, as it does when an answer is lost."""
    command = ["curl", "--silent", "--show-error", "--max-time", "15", "--write-out", "\n%{http_code}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"curl: {done.stderr.decode()}"
    body, _, status = done.stdout.rpartition(b"\n")
    return Answer(int(status), body)


class Running:
    """A program in the foreground. A context manager: started inside, gone afterwards."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._folder = folder
        self._environment = environment
        self._output = folder / "output"

    def __enter__(self) -> Self:
        # Appended to, because supervisord opens its standard output once more for each process.
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=output, stderr=output
            )
        try:
            until(self._is_up, f"{self._command[0]} is up; it said: {self.output()}")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """Of the program itself."""
        return self._process.pid

    def output(self) -> str:
        """What it printed so far."""
        return self._output.read_text()

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def exit_code(self) -> int:
        """Wait until it has ended."""
        return self._process.wait(STOP_SECONDS)

    def _is_up(self) -> bool:
        assert self._process.poll() is None, f"{self._command[0]} ended: {self.output()}"
        return True

    def _stop(self) -> None:
        if self._process.poll() is not None:
            return
        self.terminate()
        try:
            self.exit_code()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.exit_code()
            raise


class Nginx(Running):
    """nginx with the shipped deploy/nginx.conf; only its addresses and its places on disk are replaced."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        bodies = "".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        places = {
            "server 127.0.0.1:8000 ": f"server 127.0.0.1:{upstream_port} ",
            "listen 8080;": f"listen 127.0.0.1:{self.port};",
            "/run/nginx.pid": f"{folder}/pid",
            "/var/log/nginx/": f"{folder}/",
            "\nhttp {": f"\nhttp {{ {bodies}",
        }
        text = (ROOT / "deploy/nginx.conf").read_text()
        for shipped, here in places.items():
            assert shipped in text
            text = text.replace(shipped, here)
        (folder / "nginx.conf").write_text(text)
        # As root, nginx would hand its processes to a user who may not enter the test's directory.
        more = "daemon off; user root;" if os.geteuid() == 0 else "daemon off;"
        super().__init__(["nginx", "-c", f"{folder}/nginx.conf", "-g", more], folder)

    def _is_up(self) -> bool:
        return super()._is_up() and accepts(self.port)


class Supervised(Running):
    """supervisord with the shipped supervisord.conf in `tree`, and the server processes it runs on one port."""

    def __init__(self, tree: Path, home: Path, endpoint_url: str, processes: int = 2) -> None:
        home.mkdir()
        self.port = free_port()
        self._processes = processes
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            "PYTHON": sys.executable,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WORKERS": str(processes),
            "TRUST_PROXY_HEADERS": "true",
            "S3_ENDPOINT_URL": endpoint_url,
            "S3_ADDRESSING_STYLE": "path",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "UPLOAD_MULTIPART_LIMIT_MB": "5",
            "UPLOAD_MULTIPART_CHUNK_SIZE": "5",
        }
        super().__init__(["supervisord", "-n", "-c", f"{tree}/supervisord.conf"], home, environment)

    def servers(self) -> list[int]:
        """The process ids of the servers."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def starts(self) -> int:
        """How often a server said that it listens."""
        return self.output().count(f"listening on http://127.0.0.1:{self.port}")

    def replace(self, server: int) -> None:
        """End one server; returns when another one listens in its place."""
        before = self.starts()
        os.kill(server, signal.SIGTERM)
        until(lambda: self.starts() > before, "another server listens")

    def _is_up(self) -> bool:
        return super()._is_up() and self.starts() == self._processes


def image_tree(into: Path) -> Path:
    """Lay out the files of the image as the Dockerfile's COPY lines say."""
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if not line.startswith("COPY "):
            continue
        *sources, target = line.split()[1:]
        place = into / target
        if target.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        for source in map(ROOT.joinpath, sources):
            if source.is_dir():
                shutil.copytree(source, place, dirs_exist_ok=True)
            else:
                shutil.copy(source, place)
    return into


def host_tree(into: Path) -> Path:
    """The project's own files as on a plain host, without the `.env` that someone may have there."""
    into.mkdir()
    for name in ("server.py", "settings.py", "s3proxy", "deploy", "supervisord.conf"):
        (into / name).symlink_to(ROOT / name)
    return into


def connections(server: int, port: int) -> int:
    """How many connections to `port` the process `server` holds."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *rest = line.split()
        if state == "01" and int(local.partition(":")[2], 16) == port:
            inodes.add(f"socket:[{rest[5]}]")
    held = 0
    for descriptor in Path(f"/proc/{server}/fd").iterdir():
        with suppress(OSError):
            held += os.readlink(descriptor) in inodes
    return held
