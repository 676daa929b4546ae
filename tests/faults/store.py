"""moto's S3 as a process of its own, and a view of it without proxy and service between."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.faults.program import START_SECONDS, free_port, until


class MotoProcess:
    """A running moto. A context manager; what it prints goes to a file, for it prints much."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._output = folder / "moto"

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if not until(self._answers, START_SECONDS):
            self._process.kill()
            raise AssertionError(f"moto does not start; it said:\n{self._output.read_text()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


class Truth:
    """The store itself. May be used from several threads; a context manager."""

    def __init__(self, port: int, bucket: str) -> None:
        self.bucket = bucket
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="truth",
            aws_secret_access_key="truth",
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=32),
        )
        self._client.create_bucket(Bucket=bucket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def put(self, key: str, data: bytes) -> None:
        """Store an object."""
        self._client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes | None:
        """An object's bytes; None when there is none."""
        try:
            data: bytes = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as fault:
            if fault.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        return data

    def remove(self, key: str) -> None:
        """Delete an object."""
        self._client.delete_object(Bucket=self.bucket, Key=key)

    def uploads(self) -> list[tuple[str, str]]:
        """Key and id of every open multipart upload."""
        answer = self._client.list_multipart_uploads(Bucket=self.bucket)
        return [(row["Key"], row["UploadId"]) for row in answer.get("Uploads", [])]

    def abort(self, key: str, upload_id: str) -> None:
        """End a multipart upload."""
        with contextlib.suppress(ClientError):
            self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
