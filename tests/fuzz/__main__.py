"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET SECONDS` (needs atheris: requirements-fuzz.txt)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

from tests.fuzz.seeds import SEEDS, WORDS

with atheris.instrument_imports(include=["s3proxy", "multipart"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz one target; a broken invariant ends the run and leaves the input in a file `crash-*`."""
    if len(sys.argv) != 3 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} SECONDS")
    name, seconds = sys.argv[1:]
    folder = Path(tempfile.mkdtemp(prefix="s3proxy-fuzz-"))  # libFuzzer ends the process, and nothing runs after it.
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS.get(name, ())):
        (corpus / str(number)).write_bytes(seed)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))
    options = [f"-max_total_time={seconds}", "-max_len=4096", f"-dict={words}", str(corpus)]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    """A word as libFuzzer's dictionaries have it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


main()
