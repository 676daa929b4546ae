"""A case: a kind of load, the contenders that bear it, and the goals it decides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.goal import Goal
from bench.load import run
from bench.nullstore.state import declared_size
from bench.process import BenchError, ServerProcess
from bench.sample import Sample
from bench.stage import Stage
from bench.store import NullStore


@dataclass(frozen=True, slots=True)
class Entry:
    """One contender in one case: `measure` makes one run."""

    contender: str
    measure: Callable[[Stage], Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Entries take turns within each run, so that what disturbs the machine disturbs all of them."""

    name: str
    title: str
    entries: tuple[Entry, ...]
    goals: tuple[Goal, ...] = ()
    stress: bool = False  # minutes long: only by name or with --stress


def size_of(name: str) -> int:
    """Bytes in a size such as "1g"."""
    size = declared_size(name)
    if size is None:
        raise BenchError(f"{name!r} is no size: write 512k, 256m or 10g")
    return size


def measure_transfer(
    store: NullStore, server: ServerProcess | None, command: Sequence[str], size: int, *, timeout: float
) -> Sample:
    """One large transfer through `server` (None: straight to the store), with what it and the store used."""
    meter = server.meter() if server is not None else None
    store_meter = store.process.meter()
    finished = run(command, timeout=timeout)
    usage = meter.read() if meter is not None else None
    return Sample(
        wall=finished.wall,
        size=size,
        cpu=usage.cpu if usage else None,
        peak=usage.peak if usage else None,
        store_cpu=store_meter.read().cpu,
    )


def check_stored(store: NullStore, key: str, size: int) -> None:
    """Raise BenchError unless the store got every byte of an upload; then delete it there."""
    stored = store.size(key)
    if stored != size:
        raise BenchError(f"the store has {stored} bytes of {key}, {size} were sent")
    store.forget(key)
