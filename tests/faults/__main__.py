"""Play the rows and print the table: `python -m tests.faults [NUMBER-OR-WORD ...]`; exit code 1 unless all are green.

With words: the rows whose number is one of them or whose sentence holds one.
"""

from __future__ import annotations

import sys
import time

from tests.faults.elsewhere import OMITTED
from tests.faults.program import end_with_order
from tests.faults.stage import Stage
from tests.faults.table import COLUMNS, ROWS, line, show


def main(words: list[str]) -> int:
    """Play the rows whose number is, or whose sentence holds, one of `words`; all without any."""
    rows = [row for row in ROWS if not words or any(word == row.number or word in row.sentence for word in words)]
    red = 0
    end_with_order()
    started = time.monotonic()
    print(line(COLUMNS))
    with Stage() as stage:
        for row in rows:
            result = stage.play(row)
            red += bool(result.violations)
            print(show(result), flush=True)
    print("\nnot played, and what shows it:")
    for omitted in OMITTED:
        print(f"  {omitted.number:4} {omitted.what}: {omitted.why}")
    print(f"\n{len(rows) - red} green, {red} red, {len(OMITTED)} not played, {time.monotonic() - started:.0f} s")
    return 1 if red or not rows else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
