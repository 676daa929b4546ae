"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET SECONDS` (needs atheris: requirements-fuzz.txt)."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["s3proxy", "multipart"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz one target; a broken invariant ends the run and leaves the input in a file `crash-*`."""
    if len(sys.argv) != 3 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} SECONDS")
    atheris.Setup([sys.argv[0], f"-max_total_time={sys.argv[2]}", "-max_len=4096"], TARGETS[sys.argv[1]])
    atheris.Fuzz()


main()
