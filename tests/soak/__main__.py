"""`python -m tests.soak --minutes N`: exit code 1 unless there are no mismatches, leftovers, stalls and leaks.

Memory is judged at rest: every `ROUND` seconds all clients finish what they do, and what is held then, with nothing on
its way, is looked at. What it grows by over the second half of the run is a leak; what is reached before is not, for
the blocks of memory that are kept are bounded by the budget, and all of them are touched before the run (`fill`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults.client import Client, exchange
from tests.faults.invariants import digest
from tests.faults.program import SECRETS, Program, end_with_order, free_port, until
from tests.faults.proxy import FaultProxy
from tests.faults.store import MotoProcess, Truth
from tests.soak.pool import Pool
from tests.soak.sampler import Sample, Sampler, slope, write_samples
from tests.soak.tally import Tally
from tests.soak.visitor import Visitor
from tests.soak.weather import READ_TIMEOUT, Weather

BUCKET = "soak"

MIB = 1024 * 1024

WORKERS = 2

BUDGET_MIB = 32

SWEEP_AGE = 10.0

ROUND = 15.0

REST_SECONDS = 4.0
"""After these without a request, what belonged to the last ones is gone."""

UNDONE_SECONDS = 60.0
"""Within these after the last request nothing may be left but what the store holds."""

WARM_UP = 0.5
"""The share of the run before memory is expected to be level."""

LEAK = 1.0
"""MiB a minute by which memory must not grow."""

JUDGED_SECONDS = 240.0
"""Shorter looks at memory are shown, and prove nothing."""


def main() -> int:
    """Run, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--visitors", type=int, default=8, help="clients at the same time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path, help="a file for what was sampled, as CSV")
    options = parser.parse_args()
    end_with_order()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s3proxy-soak-")))
        store = stack.enter_context(MotoProcess(folder))
        truth = stack.enter_context(Truth(store.port, BUCKET))
        proxy = stack.enter_context(FaultProxy(store.port))
        program = stack.enter_context(_program(folder, proxy.port))
        soak = Soak(truth, proxy, program, options.visitors, options.seed)
        code = soak.run(options.minutes * 60)
        if options.samples is not None:
            write_samples(soak.samples, options.samples)
        return code


def _program(folder: Path, store_port: int) -> Program:
    settings = {
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "WORKERS": str(WORKERS),
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{store_port}",
        "S3_ADDRESSING_STYLE": "path",
        "S3_READ_TIMEOUT_SECONDS": str(READ_TIMEOUT),
        "UPLOAD_MULTIPART_LIMIT_MB": "1",
        "UPLOAD_MULTIPART_CHUNK_SIZE": "5",
        "FORM_HOLD_LIMIT_MB": "8",
        "CLIENT_TIMEOUT_SECONDS": "30",
        "SWEEP_AGE_SECONDS": str(SWEEP_AGE),
        "SWEEP_INTERVAL_SECONDS": "5",
        "S3_THREADS": "8",  # Small bounds are reached soon, and growth beyond them is seen.
        "MEMORY_BUDGET_MB": str(BUDGET_MIB),
        "SPOOL_DIR": str(folder),
        "LOG_LEVEL": "INFO",
    }
    return Program(folder, settings)


class Soak:
    """One run."""

    def __init__(self, truth: Truth, proxy: FaultProxy, program: Program, visitors: int, seed: int) -> None:
        self._truth = truth
        self._proxy = proxy
        self._program = program
        self._pool = Pool(seed)
        self._tally = Tally()
        self._seed = seed
        self.samples: list[Sample] = []
        self.rests: list[Sample] = []
        self._visitors = [
            Visitor(f"visitor-{n}", BUCKET, program.port, self._pool, self._tally, seed * 1000 + n)
            for n in range(visitors)
        ]

    def run(self, seconds: float) -> int:
        """Let the visitors act for so long, then compare; the exit code."""
        fill(self._program.port, WORKERS * BUDGET_MIB * MIB)
        self._proxy.install((), Weather(self._seed))
        started = time.monotonic()
        deadline = started + seconds
        with Sampler(self._program, self._proxy.port) as sampler:
            while time.monotonic() < deadline:
                self._round(min(deadline, time.monotonic() + ROUND))
                until(lambda: not self._proxy.in_flight, UNDONE_SECONDS)
                time.sleep(REST_SECONDS)
                self.rests += [replace(sample, at=time.monotonic() - started) for sample in sampler.look()]
        injected = self._proxy.record.injected
        calls = self._proxy.record.calls.total()
        self._proxy.heal()
        leftovers = self._leftovers()
        self._compare()
        self._read_log()
        self.samples = sampler.samples
        leaks = self._report(seconds, injected, calls, leftovers)
        return 1 if self._tally.mismatches or leftovers or leaks or self._stalls("event loop blocked") else 0

    def _round(self, deadline: float) -> None:
        """Let all visitors act until then, and finish."""
        threads = [threading.Thread(target=self._visit, args=(visitor, deadline)) for visitor in self._visitors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _visit(self, visitor: Visitor, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                visitor.act()
            except Exception as fault:  # A visitor that stops must not pass for one that is content.
                self._tally.mismatch(f"{visitor.name} failed: {fault!r}")

    def _leftovers(self) -> list[tuple[str, str]]:
        """Multipart uploads that are open when all is undone and swept."""
        until(lambda: not self._truth.uploads(), UNDONE_SECONDS)
        return self._truth.uploads()

    def _stalls(self, message: str) -> list[dict[str, Any]]:
        return [record for record in self._program.records() if record["message"] == message]

    def _compare(self) -> None:
        """Every stored object against what it may be."""
        for visitor in self._visitors:
            for key, bodies in visitor.may_hold.items():
                data = self._truth.get(key)
                wanted = {self._pool.digest(body) if body else None for body in bodies}
                if (None if data is None else digest(data)) not in wanted:
                    size = "nothing" if data is None else f"{len(data)} bytes"
                    self._tally.mismatch(f"{key} holds {size}, not one of {bodies}")
                self._tally.count("objects compared")

    def _read_log(self) -> None:
        output = self._program.output()
        for name, secret in SECRETS.items():
            if secret in output:
                self._tally.mismatch(f"the log holds {name}")
        if "Traceback" in output:
            at = output.index("Traceback")
            self._tally.mismatch(f"the log holds {output.count('Traceback')} stack traces: {output[at : at + 1500]}")
        ids = Counter(row["request_id"] for row in self._program.records() if row["message"] == "request")
        twice = [identity for identity, number in ids.items() if number > 1]
        if twice:
            self._tally.mismatch(f"{len(twice)} requests have several log records, such as {twice[0]}")

    def _report(
        self, seconds: float, injected: Counter[str], calls: int, leftovers: list[tuple[str, str]]
    ) -> list[float]:
        """Print everything; returns the leaks, in MiB a minute."""
        tally, samples = self._tally, self.samples
        print(f"seconds            {seconds:.0f}, seed {self._seed}")
        print(f"transfers          {tally.transfers}")
        for name, number in sorted(tally.counts.items()):
            print(f"  {name:<20} {number}")
        print(f"store calls        {calls}")
        print(f"faults injected    {injected.total()}")
        for name, number in sorted(injected.items()):
            print(f"  {name:<36} {number}")
        by_process = [
            [sample for sample in samples if sample.pid == pid] for pid in sorted({sample.pid for sample in samples})
        ]
        slopes = [self._report_process(samples, seconds) for samples in by_process]
        print(f"mismatches         {len(tally.mismatches)}")
        for text in tally.mismatches[:20]:
            print(f"  {text}")
        print(f"leftovers          {len(leftovers)}  ({len(self._proxy.orphans)} orphans of lost answers were swept)")
        for key, upload_id in leftovers[:20]:
            print(f"  {key} {upload_id}")
        stalls = self._stalls("event loop blocked")
        starved = self._stalls("event loop starved")
        longest = max((record["seconds"] for record in starved), default=0)
        print(f"stalls by our code {len(stalls)}")
        for record in stalls[:5]:
            print(f"  {record['seconds']} s, {record['withheld']} of them withheld by the machine\n{record['stack']}")
        print(f"stalls by machine  {len(starved)}, the longest {longest} s")
        if seconds * (1 - WARM_UP) < JUDGED_SECONDS:
            print("memory             shown, not judged: the run is too short")
            return []
        return [slope for slope in slopes if slope > LEAK]

    def _report_process(self, samples: list[Sample], seconds: float) -> float:
        """Print what a process held; returns the slope of its memory's floor in MiB a minute."""
        level = [sample for sample in samples if sample.at >= WARM_UP * seconds] or samples
        rests = [rest for rest in self.rests if rest.pid == samples[0].pid and rest.at >= WARM_UP * seconds]
        memory = slope([(rest.at, rest.memory) for rest in rests]) * 60 / MIB
        at_rest = " ".join(f"{rest.memory / MIB:.0f}" for rest in rests)
        descriptors = slope([(sample.at, sample.descriptors) for sample in level]) * 60
        threads = slope([(sample.at, sample.threads) for sample in level]) * 60
        first, last = level[0], level[-1]
        lowest, peak = (choose(sample.memory for sample in level) / MIB for choose in (min, max))
        print(f"process {samples[0].pid}, after {WARM_UP:.0%} of the time:")
        print(f"  resident           {lowest:.1f} to {peak:.1f} MiB; at rest {at_rest}")
        print(f"  slope at rest      {memory:+.3f} MiB/min")
        print(f"  descriptors        {first.descriptors} to {last.descriptors}, {descriptors:+.2f}/min")
        print(f"  threads            {first.threads} to {last.threads}, {threads:+.2f}/min")
        return memory


def fill(port: int, size: int) -> None:
    """Have `size` bytes of uploads, and as many again, under way at once: every block of the budgets gets touched."""
    body = bytes(4 * MIB)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in range(2 * size // len(body))]
        for number, client in enumerate(clients):
            client.ask("PUT", f"/files/{BUCKET}/fill-{number}", {"Content-Length": str(len(body))})
        senders = [threading.Thread(target=client.send, args=[body[:-1]]) for client in clients]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        for client in clients:
            client.send(body[-1:])
        assert {client.answer().status for client in clients} <= {200, 503}
    for number in range(len(clients)):
        exchange(port, "DELETE", f"/files/{BUCKET}/fill-{number}", {})


if __name__ == "__main__":
    sys.exit(main())
