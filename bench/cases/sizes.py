"""1, 10 and 100 GiB: the cost of a GiB and the memory stay the same; once with a known length, once without."""

from collections.abc import Callable

from bench.case import Case, Entry, check_stored, measure_transfer, size_of
from bench.contender import S3PROXY
from bench.goal import Goal
from bench.load import upload_stream
from bench.sample import Sample
from bench.stage import Stage
from bench.store import Kind

FACTORS = (1, 10, 100)  # of the usual size, 1 GiB
SPREAD = 1.1


def _upload(factor: int, *, known: bool) -> Callable[[Stage], Sample]:
    def measure(stage: Stage) -> Sample:
        store, size = stage.store(Kind.HTTP), size_of(stage.scale.bulk) * factor
        with stage.fresh_server(S3PROXY, Kind.HTTP) as server:
            command = upload_stream(S3PROXY.url(server, "sized"), size, known=known)
            sample = measure_transfer(store, server, command, size, timeout=stage.scale.timeout)
        check_stored(store, "sized", size)
        return sample

    return measure


def _name(factor: int) -> str:
    return f"s3proxy, size x {factor}"


def _goals() -> tuple[Goal, ...]:
    first = _name(FACTORS[0])
    return tuple(
        Goal(text=f"{text} against x 1", metric=metric, of=_name(factor), against=first, limit=SPREAD)
        for factor in FACTORS[1:]
        for text, metric in (("CPU per GiB", "cpu_per_gib"), ("peak memory", "peak"))
    )


CASES = tuple(
    Case(
        name=name,
        title=f"PUT of 1, 10 and 100 GiB, length {'known' if known else 'unknown'}",
        entries=tuple(Entry(_name(factor), _upload(factor, known=known)) for factor in FACTORS),
        goals=_goals(),
        stress=True,
    )
    for name, known in (("sizes", True), ("sizes-unknown", False))
)
