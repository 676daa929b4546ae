"""Small GETs beside bulk transfers: does a page wait for somebody's backup?"""

import time
from collections.abc import Callable
from dataclasses import replace

from bench.case import Case, Entry, size_of
from bench.cases.small import CONNECTIONS, get_small
from bench.contender import NGINX, S3PROXY, Contender
from bench.goal import Goal
from bench.load import Background, download, upload
from bench.sample import Sample
from bench.stage import Stage
from bench.store import Kind

SETTLE = 1.0  # seconds until all bulk transfers are under way


def _beside_bulk(contender: Contender, connections: int) -> Callable[[Stage], Sample]:
    small = get_small(contender, connections)

    def measure(stage: Stage) -> Sample:
        server, bulk = stage.server(contender, Kind.HTTP), stage.scale.bulk
        source = stage.workplace.source(size_of(bulk))
        streams = range(stage.scale.bulk_streams)
        commands = [upload(contender.url(server, f"beside-{stream}"), source) for stream in streams]
        commands += [download(contender.url(server, bulk)) for _ in streams]
        with Background(commands) as background:
            time.sleep(SETTLE)
            sample = small(stage)
        # CPU and store CPU are the bulk's, not the small requests': left out.
        return replace(sample, cpu=None, store_cpu=None, failures=sample.failures + background.failures)

    return measure


def _entries(contender: Contender, connections: int) -> tuple[Entry, Entry]:
    suffix = f", {connections} conn" if connections > 1 else ", 1 conn"
    return (
        Entry(f"{contender.name} idle{suffix}", get_small(contender, connections)),
        Entry(f"{contender.name} busy{suffix}", _beside_bulk(contender, connections)),
    )


_MANY = f"{CONNECTIONS} conn"

CASES = (
    Case(
        name="get-1k-beside-bulk",
        title="p99 of a 1 KiB GET while 8 uploads and 8 downloads of large objects run",
        entries=(*_entries(S3PROXY, CONNECTIONS), *_entries(S3PROXY, 1), *_entries(NGINX, 1)),
        goals=(
            Goal(
                text="p99 busy against idle",
                metric="p99",
                of=f"s3proxy busy, {_MANY}",
                against=f"s3proxy idle, {_MANY}",
                limit=5.0,
            ),
            Goal(text="p99 busy, 16 connections", metric="p99", of=f"s3proxy busy, {_MANY}", limit=0.1),
            Goal(text="p99 busy, one connection", metric="p99", of="s3proxy busy, 1 conn", limit=0.1),
            Goal(text="failed transfers", metric="failures", of=f"s3proxy busy, {_MANY}", limit=0),
        ),
    ),
)
