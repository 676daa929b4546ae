"""`python -m tests.soak --minutes N`: exit code 1 unless there are no mismatches and no leftovers."""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

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

UNDONE_SECONDS = 60.0
"""Within these after the last request nothing may be left but what the store holds."""

WARM_UP = 0.3
"""The share of the run before memory is expected to be level."""


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
        "S3_THREADS": "8",  # Small bounds are reached soon, and growth beyond them is seen.
        "MEMORY_BUDGET_MB": "32",
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
        self._visitors = [
            Visitor(f"visitor-{n}", BUCKET, program.port, self._pool, self._tally, seed * 1000 + n)
            for n in range(visitors)
        ]

    def run(self, seconds: float) -> int:
        """Let the visitors act for so long, then compare; the exit code."""
        self._proxy.install((), Weather(self._seed))
        deadline = time.monotonic() + seconds
        with Sampler(self._program, self._proxy.port) as sampler:
            threads = [threading.Thread(target=self._visit, args=(visitor, deadline)) for visitor in self._visitors]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        injected = self._proxy.record.injected
        calls = self._proxy.record.calls.total()
        self._proxy.heal()
        leftovers, orphans = self._leftovers()
        self._compare()
        self._read_log()
        self.samples = sampler.samples
        self._report(seconds, injected, calls, leftovers, orphans)
        return 1 if self._tally.mismatches or leftovers else 0

    def _visit(self, visitor: Visitor, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                visitor.act()
            except Exception as fault:  # A visitor that stops must not pass for one that is content.
                self._tally.mismatch(f"{visitor.name} failed: {fault!r}")

    def _leftovers(self) -> tuple[list[tuple[str, str]], int]:
        """Open uploads that the service knew of, and how many it could not know of: their Create's answer was lost."""

        def known() -> list[tuple[str, str]]:
            return [upload for upload in self._truth.uploads() if upload[1] not in self._proxy.orphans]

        until(lambda: not known(), UNDONE_SECONDS)
        return known(), len(self._truth.uploads()) - len(known())

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
        self,
        seconds: float,
        injected: Counter[str],
        calls: int,
        leftovers: list[tuple[str, str]],
        orphans: int,
    ) -> None:
        tally, samples = self._tally, self.samples
        print(f"seconds            {seconds:.0f}, seed {self._seed}")
        print(f"transfers          {tally.transfers}")
        for name, number in sorted(tally.counts.items()):
            print(f"  {name:<20} {number}")
        print(f"store calls        {calls}")
        print(f"faults injected    {injected.total()}")
        for name, number in sorted(injected.items()):
            print(f"  {name:<36} {number}")
        for pid in sorted({sample.pid for sample in samples}):
            self._report_process([sample for sample in samples if sample.pid == pid], seconds)
        print(f"orphans            {orphans}  (uploads whose id was lost with the answer to Create: for a sweeper)")
        print(f"mismatches         {len(tally.mismatches)}")
        for text in tally.mismatches[:20]:
            print(f"  {text}")
        print(f"leftovers          {len(leftovers)}")
        for key, upload_id in leftovers[:20]:
            print(f"  {key} {upload_id}")

    def _report_process(self, samples: list[Sample], seconds: float) -> None:
        level = [sample for sample in samples if sample.at >= WARM_UP * seconds] or samples
        memory = slope([(sample.at, sample.memory) for sample in level]) * 60 / MIB
        descriptors = slope([(sample.at, sample.descriptors) for sample in level]) * 60
        threads = slope([(sample.at, sample.threads) for sample in level]) * 60
        first, last = level[0], level[-1]
        peak = max(sample.memory for sample in samples) / MIB
        print(f"process {samples[0].pid}, after {WARM_UP:.0%} of the time:")
        print(f"  resident           {first.memory / MIB:.1f} to {last.memory / MIB:.1f} MiB, peak {peak:.1f}")
        print(f"  slope              {memory:+.3f} MiB/min")
        print(f"  descriptors        {first.descriptors} to {last.descriptors}, {descriptors:+.2f}/min")
        print(f"  threads            {first.threads} to {last.threads}, {threads:+.2f}/min")


if __name__ == "__main__":
    sys.exit(main())
