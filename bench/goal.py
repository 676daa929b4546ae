"""What issue 3 asks for: a bound on a figure, or on the ratio of two figures of one case."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.sample import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """`metric` of contender `of`, divided by that of `against` when there is one, is at most (or least) `limit`."""

    text: str
    metric: str
    of: str
    against: str | None = None
    limit: float
    at_least: bool = False

    def judge(self, rows: Mapping[str, Row]) -> "Verdict":
        """Compare with the rows of the case, by contender."""
        value = self._median(rows, self.of)
        if self.against is not None:
            base = self._median(rows, self.against)
            value = value / base if value is not None and base else None
        return Verdict(goal=self, measured=value)

    def _median(self, rows: Mapping[str, Row], contender: str) -> float | None:
        row = rows.get(contender)
        return row.median(self.metric) if row is not None else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal beside what was measured; None when it was not."""

    goal: Goal
    measured: float | None

    @property
    def met(self) -> bool | None:
        """Whether the goal holds, None when nothing was measured."""
        if self.measured is None:
            return None
        return self.measured >= self.goal.limit if self.goal.at_least else self.measured <= self.goal.limit
