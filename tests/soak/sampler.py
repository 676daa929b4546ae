"""What the server processes hold, second by second, and whether it grows."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.program import Program, descriptors_of, memory_of, threads_of

INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment: `at` in seconds since the start, `memory` in resident bytes."""

    pid: int
    at: float
    memory: int
    descriptors: int
    threads: int


class Sampler:
    """Samples each second while inside."""

    def __init__(self, program: Program, store_port: int) -> None:
        self.samples: list[Sample] = []
        self._program = program
        self._store_port = store_port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.samples += self.look()

    def look(self) -> list[Sample]:
        """All processes now."""
        found = []
        for pid in self._program.workers:
            with suppress(FileNotFoundError, ProcessLookupError):
                found.append(self._look(pid))
        return found

    def _look(self, pid: int) -> Sample:
        found = descriptors_of(pid, self._program.port, self._store_port)
        return Sample(
            pid=pid,
            at=time.monotonic() - self._started,
            memory=memory_of(pid),
            descriptors=found.clients + found.store + found.nameless + found.others,
            threads=threads_of(pid),
        )


def write_samples(samples: list[Sample], file: Path) -> None:
    """Write samples as CSV."""
    rows = [f"{row.pid},{row.at:.1f},{row.memory},{row.descriptors},{row.threads}" for row in samples]
    file.write_text("\n".join(["pid,at,memory,descriptors,threads", *rows, ""]))


def slope(points: list[tuple[float, float]]) -> float:
    """Growth per second by least squares; 0 for fewer than two points."""
    if len(points) < 2:
        return 0.0
    middle = sum(x for x, _ in points) / len(points)
    level = sum(y for _, y in points) / len(points)
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * (y - level) for x, y in points) / spread if spread else 0.0
