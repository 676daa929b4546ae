"""Clients that make the load, as subprocesses: curl for large bodies, wrk for small requests, aws-cli, Python loops."""

import json
import os
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contender import BUCKET
from bench.process import BenchError
from bench.workplace import ROOT

_CURL = ["curl", "--silent", "--show-error", "--fail-with-body", "--output", "/dev/null"]
_PUT_SCRIPT = Path(__file__).resolve().parent / "put.lua"
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)$", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a generator of small requests saw; latencies in seconds."""

    per_second: float
    p50: float
    p99: float
    count: int
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRun:
    """One finished client process: seconds on the clock, CPU seconds, peak resident bytes, what it printed."""

    wall: float
    cpu: float
    peak: int
    output: str = ""


def download(url: str) -> list[str]:
    """The command that fetches `url` and drops it."""
    return [*_CURL, url]


def upload(url: str, source: Path) -> list[str]:
    """The command that PUTs `source`, length known."""
    return [*_CURL, "--upload-file", str(source), url]


def upload_stream(url: str, size: int, *, known: bool) -> list[str]:
    """The command that PUTs `size` zeros from a pipe: no file, no page cache. With `known` their length is declared."""
    declared = ["--header", "Transfer-Encoding:", "--header", f"Content-Length: {size}"] if known else []
    curl = shlex.join([*_CURL, *declared, "--upload-file", "-", url])
    return ["sh", "-c", f"head -c {size} /dev/zero | {curl}"]


def upload_form(url: str, source: Path, key: str) -> list[str]:
    """The command that POSTs `source` as the original form does."""
    fields = {"bucket_name": BUCKET, "object_name": key, "file_request": f"@{source}"}
    return [*_CURL, *(word for name, value in fields.items() for word in ("--form", f"{name}={value}")), url]


def aws_copy(python: Path, endpoint: str, *places: str) -> list[str]:
    """The command `aws s3 cp` straight to the store."""
    return [str(python.parent / "aws"), "s3", "cp", "--no-progress", "--endpoint-url", endpoint, *places]


def run(command: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None) -> ClientRun:
    """Run one client to its end. Raises BenchError when it fails or takes longer than `timeout` seconds."""
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, cwd=ROOT
    ) as process:
        guard = threading.Timer(timeout, process.kill)
        guard.start()
        try:
            output = process.stdout.read() if process.stdout else b""
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            guard.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begun
    text = output.decode(errors="replace")
    if process.returncode:
        raise BenchError(f"{' '.join(command[:3])} … {command[-1]} ended with {process.returncode}: {text[-600:]}")
    return ClientRun(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * 1024, output=text)


def run_together(commands: Sequence[Sequence[str]], *, timeout: float) -> float:
    """Run clients at once; seconds until the last has ended. Raises BenchError when any fails."""
    begun = time.perf_counter()
    faults: list[BenchError] = []

    def one(command: Sequence[str]) -> None:
        try:
            run(command, timeout=timeout)
        except BenchError as error:
            faults.append(error)

    threads = [threading.Thread(target=one, args=(command,)) for command in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise BenchError(f"{len(faults)} of {len(commands)} failed, the first: {faults[0]}")
    return time.perf_counter() - begun


def run_json(command: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a client whose last line is a JSON object; that object, with `cpu` and `peak` of the client added."""
    finished = run(command, timeout=timeout, env=env)
    found: dict[str, Any] = json.loads(finished.output.strip().splitlines()[-1])
    return {**found, "cpu": finished.cpu, "peak": finished.peak}


def wrk(
    url: str, *, connections: int, seconds: float, put: bool = False, headers: Mapping[str, str] | None = None
) -> Rate:
    """Small requests from one wrk thread; with `put`, 1 KiB bodies to `url` plus a number."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s", "--latency"]
    if put:
        command += ["--script", str(_PUT_SCRIPT)]
    for name, value in (headers or {}).items():
        command += ["--header", f"{name}: {value}"]
    text = run([*command, url], timeout=seconds + 30).output
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    count = re.search(r"(\d+) requests in", text)
    latency = {percent: float(value) * _UNITS[unit] for percent, value, unit in _LATENCY.findall(text)}
    if rate is None or count is None or len(latency) != 2:
        raise BenchError(f"wrk said something else than figures:\n{text}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failures = int(refused[1]) if refused else 0
    failures += sum(int(number) for number in broken.groups()) if broken else 0
    return Rate(per_second=float(rate[1]), p50=latency["50"], p99=latency["99"], count=int(count[1]), failures=failures)


class Background:
    """Commands that run again and again beside a measurement, as a context manager."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._stopping = threading.Event()
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._failures = 0
        self._threads = [
            threading.Thread(target=self._repeat, args=(number, command)) for number, command in enumerate(commands)
        ]

    def __enter__(self) -> "Background":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        for process in list(self._running.values()):
            process.terminate()
        for thread in self._threads:
            thread.join()

    @property
    def failures(self) -> int:
        """Commands that ended badly by themselves."""
        return self._failures

    def _repeat(self, number: int, command: Sequence[str]) -> None:
        while not self._stopping.is_set():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._running[number] = process
            if self._stopping.is_set():
                process.terminate()
            if process.wait() != 0 and not self._stopping.is_set():
                self._failures += 1
                time.sleep(0.1)
