"""Many large uploads at once: memory stays within the budget, and the rate does not fall."""

from collections.abc import Callable

from bench.case import Case, Entry, check_stored, size_of
from bench.contender import S3PROXY
from bench.goal import Goal
from bench.load import run_together, upload
from bench.sample import Sample
from bench.stage import Stage
from bench.store import Kind

FEW, CROWD = "4 at once", "the crowd"
PEAK_LIMIT = 400 * 1024**2


def _at_once(count_of: Callable[[Stage], int]) -> Callable[[Stage], Sample]:
    def measure(stage: Stage) -> Sample:
        store, size, count = stage.store(Kind.HTTP), size_of(stage.scale.bulk), count_of(stage)
        with stage.fresh_server(S3PROXY, Kind.HTTP) as server:
            source = stage.workplace.source(size)
            commands = [upload(S3PROXY.url(server, f"crowd-{number}"), source) for number in range(count)]
            meter, store_meter = server.meter(), store.process.meter()
            wall = run_together(commands, timeout=stage.scale.timeout)
            usage = meter.read()
            store_cpu = store_meter.read().cpu
        for number in range(count):
            check_stored(store, f"crowd-{number}", size)
        return Sample(wall=wall, size=size * count, cpu=usage.cpu, peak=usage.peak, store_cpu=store_cpu)

    return measure


CASES = (
    Case(
        name="uploads-64",
        title="64 PUTs of large objects at once (the crowd), budget 256 MiB",
        entries=(
            Entry(FEW, _at_once(lambda stage: 4)),
            Entry(CROWD, _at_once(lambda stage: stage.scale.uploads_at_once)),
        ),
        goals=(
            Goal(text="peak resident memory", metric="peak", of=CROWD, limit=PEAK_LIMIT),
            Goal(
                text="rate against 4 at once",
                metric="throughput",
                of=CROWD,
                against=FEW,
                limit=0.9,
                at_least=True,
            ),
        ),
        stress=True,
    ),
)
