"""wget, as people paste it."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Run
from tests.http.place import MIB, MotoBucket

DATA = random.Random(2).randbytes(12 * MIB)


@pytest.fixture
def wget(run: Run) -> Run:
    """Runs wget, that tries once."""

    def wget(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return run("wget", "--no-config", "--tries=1", "--no-proxy", *arguments, stdin=stdin)

    return wget  # type: ignore[return-value]


def test_a_download_is_what_was_stored(wget: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    bucket.put("dir/large.bin", DATA)
    assert wget(f"{base}/dir/large.bin").returncode == 0
    assert (tmp_path / "large.bin").read_bytes() == DATA


def test_a_download_broken_off_is_continued(wget: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    bucket.put("large.bin", DATA)
    (tmp_path / "large.bin").write_bytes(DATA[: 5 * MIB])
    done = wget("-c", f"{base}/large.bin")
    assert done.returncode == 0
    assert b"206 Partial Content" in done.stderr
    assert (tmp_path / "large.bin").read_bytes() == DATA
    done = wget("-c", f"{base}/large.bin")
    assert done.returncode == 0
    assert b"nothing to do" in done.stderr


def test_the_date_is_kept_and_saves_the_next_download(wget: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    bucket.put("k.txt", b"hello")
    assert wget("-N", f"{base}/k.txt").returncode == 0
    done = wget("-N", f"{base}/k.txt")
    assert b"304 Not Modified" in done.stderr


def test_a_missing_object_is_an_error_of_the_server(wget: Run, base: str) -> None:
    done = wget(f"{base}/nothing")
    assert done.returncode == 8
    assert b"404 Not Found" in done.stderr
    assert wget("--spider", f"{base}/nothing").returncode == 8


def test_a_small_file_is_put(wget: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    # wget's own type is that of a web form, at which moto takes the body for one and drops it.
    put = ["--method=PUT", "--body-file=file", "--header=Content-Type: text/plain"]
    assert wget(*put, "-O", "-", f"{base}/k").returncode == 0
    assert bucket.data("k") == b"hello"
