"""What was measured: one sample a run, one row a contender of a case, medians over its runs."""

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run: seconds, bytes, requests. None is what a case does not measure."""

    wall: float
    size: int | None = None
    cpu: float | None = None
    store_cpu: float | None = None
    peak: int | None = None
    count: int | None = None
    rate: float | None = None
    p50: float | None = None
    p99: float | None = None
    failures: int = 0
    stolen: float | None = None  # share of the machine's processor time that its host gave to others

    @property
    def cpu_per_gib(self) -> float | None:
        """CPU seconds for each GiB moved."""
        return self.cpu / self.size * GIB if self.cpu is not None and self.size else None

    @property
    def cpu_per_request(self) -> float | None:
        """CPU seconds for each request."""
        return self.cpu / self.count if self.cpu is not None and self.count else None

    @property
    def store_cpu_per_gib(self) -> float | None:
        """What the store itself used for each GiB."""
        return self.store_cpu / self.size * GIB if self.store_cpu is not None and self.size else None

    @property
    def store_cpu_per_request(self) -> float | None:
        """What the store itself used for each request."""
        return self.store_cpu / self.count if self.store_cpu is not None and self.count else None

    @property
    def throughput(self) -> float | None:
        """Bytes a second."""
        return self.size / self.wall if self.size else None


METRICS = (
    "cpu_per_gib", "cpu_per_request", "wall", "throughput", "peak", "rate", "p50", "p99",
    "store_cpu_per_gib", "store_cpu_per_request", "failures", "stolen",
)  # fmt: skip


@dataclass(slots=True)
class Row:
    """All runs of one contender in one case."""

    case: str
    contender: str
    samples: list[Sample] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def median(self, metric: str) -> float | None:
        """The median of a metric over the runs that have it."""
        values = [value for sample in self.samples if (value := getattr(sample, metric)) is not None]
        return statistics.median(values) if values else None

    def as_json(self) -> dict[str, Any]:
        """For the results file."""
        return {
            "case": self.case,
            "contender": self.contender,
            "medians": {metric: value for metric in METRICS if (value := self.median(metric)) is not None},
            "samples": [asdict(sample) for sample in self.samples],
            "faults": self.faults,
        }
