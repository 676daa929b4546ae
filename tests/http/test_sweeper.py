"""`kill -9` of a real server process with uploads under way, and what the next process makes of what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from s3proxy.transfer.journal import journals
from tests.http.place import MIB, MotoBucket
from tests.process import ROOT, ServerProcess, wait_for

UPLOADS = 5

SETTINGS = {"UPLOAD_MULTIPART_LIMIT_MB": "5", "UPLOAD_MULTIPART_CHUNK_SIZE": "5", "LINGER_SECONDS": "1"}

SWEEPS = {"SWEEP_AGE_SECONDS": "0", "SWEEP_INTERVAL_SECONDS": "0.1"}


@pytest.fixture
def bucket(moto_client: Any) -> MotoBucket:
    return MotoBucket(moto_client)


@contextmanager
def uploads_under_way(server: ServerProcess, bucket: MotoBucket) -> Iterator[list[HTTPConnection]]:
    """Several PUTs of which the client has sent one half."""
    before = bucket.uploads()
    with ExitStack() as stack:
        connections = []
        for number in range(UPLOADS):
            connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
            stack.callback(connection.close)
            connection.putrequest("PUT", f"/files/{bucket.name}/k{number}")
            connection.putheader("Content-Length", str(12 * MIB))
            connection.endheaders()
            connection.send(b"a" * (6 * MIB))
            connections.append(connection)
        wait_for(lambda: bucket.uploads() == before + UPLOADS, "the uploads have begun")
        yield connections


def kill_with_uploads(endpoint: str, directory: Path, bucket: MotoBucket) -> None:
    """Leave the uploads of a process that had no time for anything."""
    with ServerProcess(endpoint, directory, **SETTINGS) as server, uploads_under_way(server, bucket):
        server.kill()
    assert journals(directory)


def sweep(endpoint: str, directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`python -m s3proxy.sweep`, with the settings of the server."""
    environment = ServerProcess(endpoint, directory, SWEEP_AGE_SECONDS="0", **settings).environment
    return subprocess.run(
        [sys.executable, "-m", "s3proxy.sweep", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_restarted_server_aborts_what_the_killed_one_left(
    s3_endpoint: str, tmp_path: Path, bucket: MotoBucket, moto_client: Any
) -> None:
    theirs = moto_client.create_multipart_upload(Bucket=bucket.name, Key="k0")["UploadId"]
    kill_with_uploads(s3_endpoint, tmp_path, bucket)
    assert bucket.uploads() == UPLOADS + 1
    with ServerProcess(s3_endpoint, tmp_path, **SETTINGS, **SWEEPS) as server:
        wait_for(lambda: bucket.uploads() == 1, "the uploads are swept")
        wait_for(lambda: journals(tmp_path) == [], "the journal is removed")
        assert sum("upload swept" in line for line in server.lines) == UPLOADS
    (left,) = moto_client.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
    assert left["UploadId"] == theirs
    moto_client.abort_multipart_upload(Bucket=bucket.name, Key="k0", UploadId=theirs)


def test_two_living_processes_do_not_sweep_each_other(s3_endpoint: str, tmp_path: Path, bucket: MotoBucket) -> None:
    settings = SETTINGS | SWEEPS
    with (
        ServerProcess(s3_endpoint, tmp_path, **settings) as one,
        ServerProcess(s3_endpoint, tmp_path, **settings) as two,
        uploads_under_way(one, bucket) as ones,
        uploads_under_way(two, bucket) as twos,
    ):
        # A third process is killed; once its uploads are gone, both sweepers have looked at everything.
        kill_with_uploads(s3_endpoint, tmp_path, bucket)
        wait_for(lambda: bucket.uploads() == 2 * UPLOADS, "the dead one's uploads are swept")
        for connection in ones + twos:
            connection.send(b"b" * (6 * MIB))
            assert connection.getresponse().status == 200
    assert bucket.uploads() == 0
    assert bucket.data("k0") == b"a" * (6 * MIB) + b"b" * (6 * MIB)


def test_the_program_for_cron_says_what_it_does(s3_endpoint: str, tmp_path: Path, bucket: MotoBucket) -> None:
    kill_with_uploads(s3_endpoint, tmp_path, bucket)
    dry = sweep(s3_endpoint, tmp_path, "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout.count(f"would abort {bucket.name}/k") == UPLOADS
    assert bucket.uploads() == UPLOADS
    real = sweep(s3_endpoint, tmp_path)
    assert real.returncode == 0
    assert real.stdout.splitlines()[-1] == f"aborted {UPLOADS}, left for later 0, failed 0"
    assert bucket.uploads() == 0
    assert journals(tmp_path) == []


def test_the_program_for_cron_fails_with_the_store(s3_endpoint: str, tmp_path: Path, bucket: MotoBucket) -> None:
    kill_with_uploads(s3_endpoint, tmp_path, bucket)
    text = journals(tmp_path)[0].read_text()
    with_nobody = text.replace(s3_endpoint, "http://127.0.0.1:9")
    journals(tmp_path)[0].write_text(with_nobody)
    dead = sweep("http://127.0.0.1:9", tmp_path, S3_ATTEMPTS="1")
    assert (dead.returncode, dead.stdout.splitlines()[-1]) == (
        1,
        f"aborted 0, left for later {UPLOADS}, failed {UPLOADS}",
    )
    assert bucket.uploads() == UPLOADS
    journals(tmp_path)[0].write_text(text)
    assert sweep(s3_endpoint, tmp_path).returncode == 0
    assert bucket.uploads() == 0


def test_the_program_for_cron_refuses_wrong_settings(s3_endpoint: str, tmp_path: Path) -> None:
    wrong = sweep(s3_endpoint, tmp_path, STATE_DIR=os.fspath(tmp_path / "nowhere"))
    assert wrong.returncode == 1
    assert "STATE_DIR is not a directory" in wrong.stderr
