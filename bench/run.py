"""The command: start everything, run the cases, print one table, write it as JSON and as a chart."""

import argparse
import contextlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.case import Case, Entry, size_of
from bench.cases import CASES
from bench.meter import Thief
from bench.process import BenchError
from bench.report import results, table, write_results
from bench.sample import Row
from bench.stage import Scale, Stage
from bench.workplace import ROOT, Workplace, make_workplace

RESULTS = ROOT / "bench" / "results"
PUBLISHED_CHART = ROOT / "docs" / "benchmark.png"
QUICK = Scale(bulk="256m", rate_seconds=1.0, uploads_at_once=16, tricklers=200, trickle_seconds=10.0, timeout=30.0)
QUICK_LIMIT = 90.0  # seconds; what has not been measured by then is left out


class Runner:
    """Runs cases in rounds and keeps the rows."""

    def __init__(self, stage: Stage, cases: Sequence[Case], *, deadline: float | None) -> None:
        self._stage = stage
        self._cases = cases
        self._deadline = deadline
        self._told: list[BenchError] = []
        self.rows = {
            case.name: {entry.contender: Row(case.name, entry.contender) for entry in case.entries} for case in cases
        }

    def run(self, rounds: int) -> None:
        """Every entry of every case once a round."""
        for number in range(rounds):
            for case in self._cases:
                for entry in case.entries:
                    if self._deadline is not None and time.monotonic() > self._deadline:
                        print("out of time: the rest is left out", file=sys.stderr)
                        return
                    self._measure(case, entry, f"round {number + 1}/{rounds}")

    def _measure(self, case: Case, entry: Entry, place: str) -> None:
        row = self.rows[case.name][entry.contender]
        print(f"{place}  {case.name}: {entry.contender}", file=sys.stderr, flush=True)
        try:
            thief = Thief()
            sample = entry.measure(self._stage)
            row.samples.append(replace(sample, stolen=thief.read()))
        except BenchError as error:
            row.faults.append(str(error))
            if error not in self._told:  # a server that does not start raises the same error each time
                print(f"  {error}", file=sys.stderr)
                self._told.append(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. 0 when it ran; 1 with --strict when a goal was missed; 2 when it could not run."""
    options = _parser().parse_args(arguments)
    if options.list:
        for case in CASES:
            print(f"{case.name:<20} {case.title}{' (stress)' if case.stress else ''}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for the tricklers; servers inherit it
    try:
        return _run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    if options.publish and (options.quick or options.case):
        raise BenchError("--publish wants a whole run: no --quick, no --case")
    begun = time.monotonic()
    cases = _chosen(options)
    rounds = options.runs or (1 if any(case.stress for case in cases) else 3)
    with tempfile.TemporaryDirectory(prefix="s3proxy-bench-") as folder:
        workplace = make_workplace(Path(folder), _service_python(options.python))
        deadline = time.monotonic() + QUICK_LIMIT if options.quick else None
        with Stage(workplace, _scale(options), dict(options.env)) as stage:
            runner = Runner(stage, cases, deadline=deadline)
            with contextlib.suppress(KeyboardInterrupt):
                runner.run(rounds)
            unfinished = stage.unfinished()
        facts = {
            "quick": options.quick,
            "bulk": stage.scale.bulk,
            "settings": dict(options.env),
            "unfinished_uploads": unfinished,
        }
        found = results(cases, runner.rows, facts)
        path = RESULTS / "latest.json"
        write_results(path, found)
        _draw(workplace, path, publish=options.publish)
    print(table(cases, runner.rows))
    if options.quick:
        print("quick: small objects and short runs; the goals are meant for a full run")
    print(f"multipart uploads left behind in the stores: {unfinished}")
    print(f"{time.monotonic() - begun:.0f} s; figures in {path.relative_to(ROOT)}, chart beside it")
    missed = [goal for goal in found["goals"] if goal["met"] is not True]
    return 1 if options.strict and missed else 0


def _draw(workplace: Workplace, results_path: Path, *, publish: bool) -> None:
    targets = [results_path.with_suffix(".png"), *([PUBLISHED_CHART] if publish else [])]
    command = [str(word) for word in (workplace.python, "-m", "bench.chart", results_path, *targets)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        print(f"bench: no chart: {finished.stderr.strip()[-300:]}", file=sys.stderr)


def _chosen(options: argparse.Namespace) -> list[Case]:
    if not options.case:
        return [case for case in CASES if options.stress or not case.stress]
    known = {case.name: case for case in CASES}
    unknown = [name for name in options.case if name not in known]
    if unknown:
        raise BenchError(f"no such case: {', '.join(unknown)} (--list shows them)")
    return [known[name] for name in options.case]


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else Scale()
    if options.size is None:
        return scale
    size_of(options.size)
    return Scale(**{**{name: getattr(scale, name) for name in Scale.__slots__}, "bulk": options.size})


def _service_python(chosen: Path | None) -> Path:
    usual = ROOT / ".venv" / "bin" / "python"
    return chosen or (usual if usual.exists() else Path(sys.executable))


def _setting(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller objects, shorter times; ends within two minutes")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this case (may be repeated)")
    parser.add_argument("--stress", action="store_true", help="also the cases that take minutes")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--runs", type=int, help="runs of each case (3; 1 with stress cases)")
    parser.add_argument("--size", help="size of the large objects, such as 512m or 4g")
    parser.add_argument("--python", type=Path, help="the service's interpreter (.venv/bin/python)")
    parser.add_argument("--env", action="append", type=_setting, default=[], metavar="NAME=VALUE",
                        help="a setting for the service (may be repeated)")  # fmt: skip
    parser.add_argument("--publish", action="store_true", help="also draw docs/benchmark.png (a whole run only)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 unless every goal is met")
    return parser
