"""The benchmark's figures: medians, ratios, goals, the table and the results file. Nothing here takes time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.case import Case, Entry, size_of
from bench.goal import Goal
from bench.load import _LATENCY
from bench.process import BenchError
from bench.report import results, table, verdicts, write_results
from bench.sample import GIB, Row, Sample

MIB = 1024**2


def row(contender: str, *samples: Sample) -> Row:
    """What a contender showed in the case `up`."""
    return Row("up", contender, samples=list(samples))


def never(_: Any) -> Sample:
    raise AssertionError("a report measures nothing")


def case(*goals: Goal, contenders: tuple[str, ...] = ("ours", "theirs")) -> Case:
    """A case with these contenders and goals."""
    return Case(name="up", title="Up", entries=tuple(Entry(name, never) for name in contenders), goals=goals)


class TestSample:
    def test_cost_is_for_a_gib_and_rate_for_a_second(self) -> None:
        sample = Sample(wall=4.0, size=GIB // 2, cpu=1.5, store_cpu=0.25)
        assert sample.cpu_per_gib == 3.0
        assert sample.store_cpu_per_gib == 0.5
        assert sample.throughput == GIB / 8

    def test_cost_of_requests_is_for_each(self) -> None:
        sample = Sample(wall=2.0, count=1_000, cpu=1.5, store_cpu=0.5)
        assert sample.cpu_per_request == 0.0015
        assert sample.store_cpu_per_request == 0.0005

    def test_what_was_not_measured_is_not_zero(self) -> None:
        sample = Sample(wall=1.0)
        for metric in ("cpu_per_gib", "cpu_per_request", "store_cpu_per_gib", "store_cpu_per_request", "throughput"):
            assert getattr(sample, metric) is None


class TestMedian:
    def test_of_an_odd_number_it_is_the_middle_one(self) -> None:
        assert row("ours", Sample(wall=9.0), Sample(wall=1.0), Sample(wall=2.0)).median("wall") == 2.0

    def test_of_an_even_number_it_is_between_the_two(self) -> None:
        assert row("ours", Sample(wall=1.0), Sample(wall=2.0)).median("wall") == 1.5

    def test_runs_without_the_figure_do_not_count(self) -> None:
        assert row("ours", Sample(wall=1.0), Sample(wall=1.0, peak=7)).median("peak") == 7
        assert row("ours", Sample(wall=1.0)).median("peak") is None
        assert row("ours").median("wall") is None


ROWS = {"ours": row("ours", Sample(wall=3.0)), "theirs": row("theirs", Sample(wall=2.0))}


class TestGoal:
    @pytest.mark.parametrize(
        ("goal", "measured", "met"),
        [
            (Goal(text="", metric="wall", of="ours", limit=3.0), 3.0, True),
            (Goal(text="", metric="wall", of="ours", limit=2.9), 3.0, False),
            (Goal(text="", metric="wall", of="ours", limit=3.0, at_least=True), 3.0, True),
            (Goal(text="", metric="wall", of="ours", limit=3.1, at_least=True), 3.0, False),
            (Goal(text="", metric="wall", of="ours", against="theirs", limit=1.5), 1.5, True),
            (Goal(text="", metric="wall", of="ours", against="theirs", limit=1.4), 1.5, False),
            (Goal(text="", metric="wall", of="nobody", limit=1.0), None, None),
            (Goal(text="", metric="wall", of="ours", against="nobody", limit=1.0), None, None),
            (Goal(text="", metric="peak", of="ours", limit=1.0), None, None),
        ],
    )
    def test_it_is_met_or_missed_or_not_measured(self, goal: Goal, measured: float | None, met: bool | None) -> None:
        verdict = goal.judge(ROWS)
        assert (verdict.measured, verdict.met) == (measured, met)

    def test_nothing_is_divided_by_zero(self) -> None:
        rows = {"ours": row("ours", Sample(wall=1.0)), "theirs": row("theirs", Sample(wall=0.0))}
        assert Goal(text="", metric="wall", of="ours", against="theirs", limit=1.0).judge(rows).met is None


class TestTable:
    def test_a_row_shows_the_medians_in_their_units(self) -> None:
        samples = [Sample(wall=2.0, size=GIB, cpu=cpu, peak=100 * MIB, store_cpu=0.25) for cpu in (1.0, 1.5, 9.0)]
        text = table([case()], {"up": {"ours": row("ours", *samples)}})
        cells = text.splitlines()[2].split()
        assert cells == ["up", "ours", "1.50", "s/GiB", "2.00", "512", "100", "0.25", "s/GiB", "3"]

    def test_requests_are_shown_in_milliseconds(self) -> None:
        sample = Sample(wall=1.0, count=1_000, cpu=1.5, rate=1_234.5, p50=0.001, p99=0.0123, failures=2)
        text = table([case()], {"up": {"ours": row("ours", sample)}})
        assert text.splitlines()[2].split() == [
            "up",
            "ours",
            "1.50",
            "ms/req",
            "1,234",
            "1.00",
            "12.30",
            "1,",
            "2",
            "failed",
        ]

    @pytest.mark.parametrize(
        ("goal", "shown"),
        [
            (Goal(text="cpu", metric="wall", of="ours", against="theirs", limit=2.0), ("1.50x", "≤ 2.00x", "met")),
            (Goal(text="p", metric="peak", of="ours", limit=MIB), ("2 MiB", "≤ 1 MiB", "NOT MET")),
            (Goal(text="q", metric="p99", of="ours", limit=0.1), ("-", "≤ 100.0 ms", "not measured")),
            (Goal(text="r", metric="failures", of="ours", limit=0), ("0", "≤ 0", "met")),
        ],
    )
    def test_a_goal_is_shown_under_its_case(self, goal: Goal, shown: tuple[str, ...]) -> None:
        rows = {"ours": row("ours", Sample(wall=3.0, peak=2 * MIB)), "theirs": row("theirs", Sample(wall=2.0))}
        (line,) = [line for line in table([case(goal)], {"up": rows}).splitlines() if "→" in line]
        for piece in (goal.of, goal.text, *shown):
            assert piece in line
        assert ("NOT MET" in line) == (shown[-1] == "NOT MET")

    def test_what_went_wrong_is_told_once_and_in_a_line(self) -> None:
        broken = Row("up", "ours", faults=["curl ended with 56\nand more", "curl ended with 56\nand more"])
        text = table([case()], {"up": {"ours": broken}})
        assert text.count("! curl ended with 56") == 1
        assert "and more" not in text

    def test_a_case_that_was_not_run_is_no_error(self) -> None:
        goal = Goal(text="cpu", metric="wall", of="ours", limit=2.0)
        assert "not measured" in table([case(goal)], {})


class TestResults:
    def test_every_run_is_kept_beside_the_medians(self, tmp_path: Path) -> None:
        goal = Goal(text="cpu", metric="wall", of="ours", against="theirs", limit=2.0)
        rows = {"ours": row("ours", Sample(wall=3.0), Sample(wall=5.0)), "theirs": row("theirs", Sample(wall=2.0))}
        path = tmp_path / "deep" / "latest.json"
        write_results(path, results([case(goal)], {"up": rows}, {"quick": True}))
        found = json.loads(path.read_text())
        assert found["quick"] is True
        assert found["rows"][0]["medians"]["wall"] == 4.0
        assert [sample["wall"] for sample in found["rows"][0]["samples"]] == [3.0, 5.0]
        (judged,) = found["goals"]
        assert (judged["measured"], judged["met"], judged["against"]) == (2.0, True, "theirs")
        assert list(path.parent.iterdir()) == [path]

    def test_verdicts_come_in_the_order_of_the_goals(self) -> None:
        goals = [Goal(text=text, metric="wall", of="ours", limit=1.0) for text in "abc"]
        assert [verdict.goal.text for verdict in verdicts(case(*goals), {})] == ["a", "b", "c"]


class TestReading:
    @pytest.mark.parametrize(("name", "size"), [("1k", 1024), ("256m", 256 * MIB), ("1g", GIB)])
    def test_sizes_are_binary(self, name: str, size: int) -> None:
        assert size_of(name) == size

    @pytest.mark.parametrize("name", ["", "k", "1x", "-1m", "1.5g"])
    def test_what_is_no_size_is_refused(self, name: str) -> None:
        with pytest.raises(BenchError, match="no size"):
            size_of(name)

    def test_latencies_are_read_from_what_wrk_prints(self) -> None:
        printed = "  Latency Distribution\n     50%  812.00us\n     75%    1.10ms\n     99%    1.04s\n"
        assert _LATENCY.findall(printed) == [("50", "812.00", "us"), ("99", "1.04", "s")]
