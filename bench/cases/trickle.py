"""A thousand slow uploads beside a fast one; the store checks every byte."""

import threading
import time
from dataclasses import replace
from typing import Any

from bench.case import Case, Entry, check_stored, measure_transfer, size_of
from bench.contender import BUCKET, S3PROXY
from bench.goal import Goal
from bench.load import run_json, upload
from bench.process import BenchError, ServerProcess
from bench.sample import Sample
from bench.stage import Stage
from bench.store import Kind

ALONE, BESIDE = "fast one alone", "fast one beside"
SIZE = 6 * 1024**2
PEAK_LIMIT = 400 * 1024**2
FAST_STARTS_AT = 0.3  # of the tricklers' time: most of them hold part of an unfinished object


def _fast(stage: Stage, server: ServerProcess) -> Sample:
    store, size = stage.store(Kind.VERIFY), size_of(stage.scale.bulk)
    command = upload(S3PROXY.url(server, "fast"), stage.workplace.source(size))
    sample = measure_transfer(store, server, command, size, timeout=stage.scale.timeout)
    check_stored(store, "fast", size)
    return sample


def _alone(stage: Stage) -> Sample:
    with stage.fresh_server(S3PROXY, Kind.VERIFY) as server:
        return _fast(stage, server)


def _beside(stage: Stage) -> Sample:
    scale, found, faults = stage.scale, dict[str, Any](), list[BenchError]()
    with stage.fresh_server(S3PROXY, Kind.VERIFY) as server:
        command = [str(stage.workplace.python), "-m", "bench.trickle", "--url", f"{S3PROXY.url(server, '')}"]
        command += ["--store", stage.store(Kind.VERIFY).process.address, "--bucket", BUCKET]
        command += ["--clients", str(scale.tricklers), "--size", str(SIZE), "--seconds", str(scale.trickle_seconds)]

        def trickle() -> None:
            try:
                found.update(run_json(command, timeout=scale.trickle_seconds + 240))
            except BenchError as error:
                faults.append(error)

        meter = server.meter()
        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            time.sleep(scale.trickle_seconds * FAST_STARTS_AT)
            sample = _fast(stage, server)
        finally:
            thread.join()
        usage = meter.read()
    if faults:
        raise faults[0]
    # CPU is left out: in the fast one's time it is mostly the tricklers'.
    wrong = scale.tricklers - min(int(found["completed"]), int(found["right"]))
    return replace(sample, cpu=None, store_cpu=None, peak=usage.peak, failures=wrong)


CASES = (
    Case(
        name="trickle-1000",
        title="1,000 clients trickle 6 MiB over 60 s; one fast client uploads a large object beside them",
        entries=(Entry(ALONE, _alone), Entry(BESIDE, _beside)),
        goals=(
            Goal(text="trickled objects missing or wrong", metric="failures", of=BESIDE, limit=0),
            Goal(text="peak resident memory", metric="peak", of=BESIDE, limit=PEAK_LIMIT),
            Goal(text="time of the fast one against alone", metric="wall", of=BESIDE, against=ALONE, limit=1.5),
        ),
        stress=True,
    ),
)
