"""The one table, and the results file."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.case import Case
from bench.goal import Verdict
from bench.sample import Row
from bench.workplace import ROOT

MIB = 1024**2
_HEADINGS = (
    "case",
    "contender",
    "CPU",
    "wall s",
    "MiB/s",
    "peak MiB",
    "req/s",
    "p50 ms",
    "p99 ms",
    "store CPU",
    "stolen",
    "runs",
)
_WIDTHS = (20, 22, 12, 8, 8, 9, 8, 8, 8, 12, 6, 5)

Rows = Mapping[str, Mapping[str, Row]]


def verdicts(case: Case, rows: Mapping[str, Row]) -> list[Verdict]:
    """Every goal of a case beside what was measured."""
    return [goal.judge(rows) for goal in case.goals]


def table(cases: Sequence[Case], rows: Rows) -> str:
    """All rows with their medians, and under each case its goals."""
    lines = [_line(_HEADINGS), _line(["─" * width for width in _WIDTHS])]
    for case in cases:
        found = rows.get(case.name, {})
        for number, row in enumerate(found.values()):
            lines.append(_line([case.name if number == 0 else "", *_cells(row)]))
            lines += [f"{'':{_WIDTHS[0] + 2}}! {fault.splitlines()[0]}" for fault in dict.fromkeys(row.faults)]
        lines += [_goal_line(verdict) for verdict in verdicts(case, found)]
        lines.append("")
    return "\n".join(lines)


def results(cases: Sequence[Case], rows: Rows, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything measured, for the results file."""
    return {
        **facts,
        "machine": _machine(),
        "rows": [row.as_json() for case in cases for row in rows.get(case.name, {}).values()],
        "goals": [
            {
                "case": case.name,
                "goal": verdict.goal.text,
                "metric": verdict.goal.metric,
                "of": verdict.goal.of,
                "against": verdict.goal.against,
                "limit": verdict.goal.limit,
                "at_least": verdict.goal.at_least,
                "measured": verdict.measured,
                "met": verdict.met,
            }
            for case in cases
            for verdict in verdicts(case, rows.get(case.name, {}))
        ],
    }


def write_results(path: Path, found: Mapping[str, Any]) -> None:
    """Write the results file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(found, indent=1) + "\n")
    unfinished.replace(path)


def _cells(row: Row) -> list[str]:
    per_gib, per_request = row.median("cpu_per_gib"), row.median("cpu_per_request")
    store_per_gib, store_per_request = row.median("store_cpu_per_gib"), row.median("store_cpu_per_request")
    failures, stolen = row.median("failures"), row.median("stolen")
    return [
        row.contender,
        _cpu(per_gib, per_request),
        _number(row.median("wall"), 1, 2) if per_request is None and row.median("rate") is None else "",
        _number(row.median("throughput"), 1 / MIB, 0),
        _number(row.median("peak"), 1 / MIB, 0),
        _number(row.median("rate"), 1, 0),
        _number(row.median("p50"), 1000, 2),
        _number(row.median("p99"), 1000, 2),
        _cpu(store_per_gib, store_per_request),
        "" if stolen is None else f"{stolen:.0%}",
        f"{len(row.samples)}" + (f", {failures:.0f} failed" if failures else ""),
    ]


def _cpu(per_gib: float | None, per_request: float | None) -> str:
    if per_gib is not None:
        return f"{per_gib:.2f} s/GiB"
    return "" if per_request is None else f"{per_request * 1000:.2f} ms/req"


def _number(value: float | None, factor: float, digits: int) -> str:
    return "" if value is None else f"{value * factor:,.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    parts = [
        f"{cell:<{width}}" if number < 2 else f"{cell:>{width}}"
        for number, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    ]
    return "  ".join(parts).rstrip()


def _goal_line(verdict: Verdict) -> str:
    goal = verdict.goal
    word = {True: "met", False: "NOT MET", None: "not measured"}[verdict.met]
    sign = "≥" if goal.at_least else "≤"
    measured = "-" if verdict.measured is None else _in_unit(verdict.measured, verdict)
    text = f"{goal.of}: {goal.text}"
    return f"{'':{_WIDTHS[0]}}  → {text:<58} {measured:>10}   goal {sign} {_in_unit(goal.limit, verdict):<9} {word}"


def _in_unit(value: float, verdict: Verdict) -> str:
    if verdict.goal.against is not None:
        return f"{value:.2f}x"
    if verdict.goal.metric == "peak":
        return f"{value / MIB:.0f} MiB"
    return f"{value * 1000:.1f} ms" if verdict.goal.metric == "p99" else f"{value:.0f}"


def _machine() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
