"""Objects of 1 KiB: how many a second one process serves, beside a bare boto3 loop."""

from collections.abc import Callable

from bench.case import Case, Entry
from bench.contender import BUCKET, GUARDED, NGINX, ORIGINAL, S3PROXY, Contender
from bench.goal import Goal
from bench.load import Rate, run_json, wrk
from bench.process import ServerProcess
from bench.sample import Sample
from bench.stage import Stage
from bench.store import Kind, NullStore
from bench.workplace import ACCESS

CONNECTIONS = 16
BOTO3 = "boto3 loop"
NO_PROXY = "no proxy"


def measure_rate(store: NullStore, server: ServerProcess | None, load: Callable[[], Rate]) -> Sample:
    """Run a generator of small requests against `server` (None: the store itself)."""
    meter = server.meter() if server is not None else None
    store_meter = store.process.meter()
    rate = load()
    usage = meter.read() if meter is not None else None
    return Sample(
        wall=rate.count / rate.per_second if rate.per_second else 0.0,
        count=rate.count,
        cpu=usage.cpu if usage else None,
        peak=usage.peak if usage else None,
        store_cpu=store_meter.read().cpu,
        rate=rate.per_second,
        p50=rate.p50,
        p99=rate.p99,
        failures=rate.failures,
    )


def get_small(contender: Contender, connections: int = CONNECTIONS) -> Callable[[Stage], Sample]:
    """GETs of one 1 KiB object through a contender."""

    def measure(stage: Stage) -> Sample:
        store, server = stage.store(Kind.HTTP), stage.server(contender, Kind.HTTP)
        url = contender.url(server, "1k")
        seconds, headers = stage.scale.rate_seconds, contender.headers
        return measure_rate(store, server, lambda: wrk(url, connections=connections, seconds=seconds, headers=headers))

    return measure


def _put_small(contender: Contender) -> Callable[[Stage], Sample]:
    def measure(stage: Stage) -> Sample:
        store, server = stage.store(Kind.HTTP), stage.server(contender, Kind.HTTP)
        url = contender.url(server, "small-")
        seconds = stage.scale.rate_seconds
        return measure_rate(store, server, lambda: wrk(url, connections=CONNECTIONS, seconds=seconds, put=True))

    return measure


def _straight(*, put: bool) -> Callable[[Stage], Sample]:
    def measure(stage: Stage) -> Sample:
        store, seconds = stage.store(Kind.HTTP), stage.scale.rate_seconds
        url = f"{store.backing.url}/{BUCKET}/{'straight-' if put else '1k'}"
        return measure_rate(store, None, lambda: wrk(url, connections=CONNECTIONS, seconds=seconds, put=put))

    return measure


def _boto3_loop(operation: str) -> Callable[[Stage], Sample]:
    def measure(stage: Stage) -> Sample:
        store, seconds = stage.store(Kind.HTTP), stage.scale.rate_seconds
        command = [str(stage.workplace.python), "-m", "bench.baselines.boto3_loop", "--endpoint", store.backing.url]
        command += ["--operation", operation, "--seconds", str(seconds)]
        store_meter = store.process.meter()
        found = run_json(command, timeout=seconds + 30, env=ACCESS)
        return Sample(
            wall=seconds,
            count=int(found["count"]),
            cpu=found["loop_cpu"],  # without the import of boto3
            peak=found["peak"],
            store_cpu=store_meter.read().cpu,
            rate=found["rate"],
            p50=found["p50"],
            p99=found["p99"],
        )

    return measure


CASES = (
    Case(
        name="get-1k",
        title=f"GET of 1 KiB, {CONNECTIONS} connections, one process",
        entries=(
            Entry("s3proxy", get_small(S3PROXY)),
            Entry(BOTO3, _boto3_loop("get")),
            Entry("original", get_small(ORIGINAL)),
            Entry("nginx", get_small(NGINX)),
            Entry(NO_PROXY, _straight(put=False)),
        ),
        goals=(
            Goal(text="rate against bare boto3", metric="rate", of="s3proxy", against=BOTO3, limit=1.5, at_least=True),
            Goal(text="failed requests", metric="failures", of="s3proxy", limit=0),
        ),
    ),
    Case(
        name="get-1k-access",
        title="GET of 1 KiB with an API key, authorized and logged",
        entries=(Entry("s3proxy", get_small(S3PROXY)), Entry(GUARDED.name, get_small(GUARDED))),
        goals=(
            Goal(
                text="rate against the open service",
                metric="rate",
                of=GUARDED.name,
                against="s3proxy",
                limit=0.95,
                at_least=True,
            ),
            Goal(text="failed requests", metric="failures", of=GUARDED.name, limit=0),
        ),
    ),
    Case(
        name="put-1k",
        title=f"PUT of 1 KiB, {CONNECTIONS} connections, one process",
        entries=(
            Entry("s3proxy", _put_small(S3PROXY)),
            Entry(BOTO3, _boto3_loop("put")),
            Entry("nginx", _put_small(NGINX)),
            Entry(NO_PROXY, _straight(put=True)),
        ),
        goals=(
            Goal(text="rate against bare boto3", metric="rate", of="s3proxy", against=BOTO3, limit=1.0, at_least=True),
            Goal(text="failed requests", metric="failures", of="s3proxy", limit=0),
        ),
    ),
)
