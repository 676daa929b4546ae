"""One real server process before moto, and a bucket for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.http.place import MotoBucket, open_s3
from tests.process import ServerProcess, wait_for


@pytest.fixture(scope="package")
def server(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the smallest parts S3 takes."""
    settings = {"UPLOAD_MULTIPART_LIMIT_MB": "5", "UPLOAD_MULTIPART_CHUNK_SIZE": "5", "MAX_OBJECT_SIZE_MB": "64"}
    with ServerProcess(s3_endpoint, tmp_path_factory.mktemp("server"), **settings) as server:
        yield server
        server.terminate()
        assert server.exit_code() == 0
    assert not server.said("Traceback")


@pytest.fixture(scope="package")
def s3(s3_endpoint: str) -> Iterator[Any]:
    """boto3 on moto, without the server between."""
    client = open_s3(s3_endpoint)
    yield client
    client.close()


@pytest.fixture
def bucket(s3: Any) -> Iterator[MotoBucket]:
    """A new bucket; no test may leave a multipart upload in it."""
    bucket = MotoBucket(s3)
    yield bucket
    wait_for(lambda: bucket.uploads() == 0, "no multipart upload is left", seconds=10)


@pytest.fixture
def base(server: ServerProcess, bucket: MotoBucket) -> str:
    """The URL of the bucket on the server."""
    return f"{server.url}/files/{bucket.name}"


class Run(Protocol):
    """Runs a program and hands back what it printed and its exit code; never fails by itself."""

    def __call__(
        self, program: str, *arguments: str | Path, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs programs in an empty directory, without any configuration of this machine's."""

    def run(program: str, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"{program} is not installed")
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
        return subprocess.run(
            [path, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment,
            timeout=50,
            check=False,
        )

    return run
