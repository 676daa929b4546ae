"""A store far away: 30 ms and 40 MB/s a connection, by the relay. One connection is slow, a window of them is not."""

from bench.case import Case, Entry, check_stored, measure_transfer, size_of
from bench.contender import BUCKET, S3PROXY
from bench.goal import Goal
from bench.load import download, upload
from bench.sample import Sample
from bench.stage import Stage
from bench.store import Kind

PROBE = "64m"  # enough to know one connection's rate
ONE = "one connection"


def _down(stage: Stage) -> Sample:
    store, server, size = stage.store(Kind.RELAY), stage.server(S3PROXY, Kind.RELAY), size_of(stage.scale.bulk)
    command = download(S3PROXY.url(server, stage.scale.bulk))
    return measure_transfer(store, server, command, size, timeout=stage.scale.timeout)


def _up(stage: Stage) -> Sample:
    store, server, size = stage.store(Kind.RELAY), stage.server(S3PROXY, Kind.RELAY), size_of(stage.scale.bulk)
    command = upload(S3PROXY.url(server, "far"), stage.workplace.source(size))
    sample = measure_transfer(store, server, command, size, timeout=stage.scale.timeout)
    check_stored(store, "far", size)
    return sample


def _one_down(stage: Stage) -> Sample:
    store = stage.store(Kind.RELAY)
    command = download(f"{store.backing.url}/{BUCKET}/{PROBE}")
    return measure_transfer(store, None, command, size_of(PROBE), timeout=stage.scale.timeout)


def _one_up(stage: Stage) -> Sample:
    store, size = stage.store(Kind.RELAY), size_of(PROBE)
    command = upload(f"{store.backing.url}/{BUCKET}/far-probe", stage.workplace.source(size))
    sample = measure_transfer(store, None, command, size, timeout=stage.scale.timeout)
    check_stored(store, "far-probe", size)
    return sample


def _goal() -> Goal:
    return Goal(
        text="rate against one connection", metric="throughput", of="s3proxy", against=ONE, limit=5.0, at_least=True
    )


CASES = (
    Case(
        name="download-far",
        title="GET of one large object, store at 30 ms and 40 MB/s a connection",
        entries=(Entry("s3proxy", _down), Entry(ONE, _one_down)),
        goals=(_goal(),),
    ),
    Case(
        name="upload-far",
        title="PUT of one large object, store at 30 ms and 40 MB/s a connection",
        entries=(Entry("s3proxy", _up), Entry(ONE, _one_up)),
        goals=(_goal(),),
    ),
)
