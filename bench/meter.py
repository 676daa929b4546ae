"""What a process and its descendants used between two moments, read from /proc."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU in seconds (user and system), peak resident memory in bytes."""

    cpu: float
    peak: int


class Meter:
    """Measures one process tree: make it just before the load, call `read` just after."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        for member in tree(pid):
            _reset_peak(member)
        self._cpu = _cpu_of_tree(pid)

    def read(self) -> Usage:
        """CPU since the start of the meter, and the sum of the members' peaks (pages they share count twice)."""
        return Usage(cpu=_cpu_of_tree(self._pid) - self._cpu, peak=sum(_peak(member) for member in tree(self._pid)))


class Thief:
    """What the machine's host took of its processors, from when it is made until `read` is called."""

    def __init__(self) -> None:
        self._stolen, self._all = _processors()

    def read(self) -> float:
        """The share of all processor time, 0 to 1, in which somebody wanted to run and the host ran others."""
        stolen, everything = _processors()
        return (stolen - self._stolen) / max(everything - self._all, 1)


def _processors() -> tuple[int, int]:
    """(stolen, all) ticks of all processors (proc(5), /proc/stat: `steal` is the eighth; guests are in the first)."""
    ticks = [int(field) for field in (_PROC / "stat").read_text().partition("\n")[0].split()[1:9]]
    return ticks[7], sum(ticks)


def tree(pid: int) -> list[int]:
    """`pid` and its living descendants."""
    parents = {member: fields[0] for member in _all_pids() if (fields := _stat(member)) is not None}
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]


def _stat(pid: int) -> tuple[int, int] | None:
    """(parent, CPU ticks with those of reaped children), None when the process is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(") ")[2].split()  # the name may hold blanks and parentheses
    return int(fields[1]), sum(int(field) for field in fields[11:15])


def _cpu_of_tree(pid: int) -> float:
    return sum(fields[1] for member in tree(pid) if (fields := _stat(member)) is not None) * _TICK


def _peak(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _reset_peak(pid: int) -> None:
    with contextlib.suppress(OSError):  # not ours to reset: the peak is then that of its whole life
        (_PROC / str(pid) / "clear_refs").write_text("5")
