"""The server under test and the bucket behind it, as tests see them."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from s3proxy.protocol.keys import ObjectPath
from s3proxy.store.contract import ObjectAttributes
from tests.fakes import MemoryStore
from tests.http.wire import Answer

KIB, MIB = 1024, 1024 * 1024

both = pytest.mark.parametrize("backend", ["memory", "moto"], indirect=True)
"""Marks tests that hold with the real S3 client too."""

NO_ATTRIBUTES = ObjectAttributes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes in bytes and times in seconds of the server under test: small, so that little data reaches every edge."""

    part_size: int = 64 * KIB
    put_limit: int = 64 * KIB
    max_parts: int = 10_000
    max_object_size: int = 1024 * MIB
    window: int = 2
    budget: int = 32 * MIB
    spool: int = 32 * MIB
    hold_limit: int = 128 * KIB
    max_fields: int = 100
    chunk_size: int = 16 * KIB
    range_size: int = 64 * KIB
    download_window: int = 4
    resumes: int = 5
    client_timeout: float = 10.0
    linger: float = 2.0
    client_min_rate: int = 0
    max_transfers: int = 1_000


class Bucket(Protocol):
    """A bucket of the store behind the server, looked at behind the server's back."""

    name: str

    def put(self, key: str, data: bytes, attributes: ObjectAttributes = ...) -> str:
        """Store an object; returns its ETag."""
        ...

    def data(self, key: str) -> bytes | None:
        """The object's bytes, if there is one."""
        ...

    def attributes(self, key: str) -> ObjectAttributes:
        """What is kept beside the bytes."""
        ...

    def stored(self) -> list[str]:
        """The keys of all objects."""
        ...

    def uploads(self) -> int:
        """How many multipart uploads are open."""
        ...


class MemoryBucket:
    """A bucket of `MemoryStore`."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self.name = name
        self._store = store

    def put(self, key: str, data: bytes, attributes: ObjectAttributes = NO_ATTRIBUTES) -> str:
        """See `Bucket.put`."""
        return self._store.seed(self.name, key, data, attributes=attributes).etag

    def data(self, key: str) -> bytes | None:
        """See `Bucket.data`."""
        return self._store.data(self.name, key)

    def attributes(self, key: str) -> ObjectAttributes:
        """See `Bucket.attributes`."""
        return self._store.objects[ObjectPath(self.name, key)].info.attributes

    def stored(self) -> list[str]:
        """See `Bucket.stored`."""
        return [path.key for path in self._store.objects]

    def uploads(self) -> int:
        """See `Bucket.uploads`."""
        return len(self._store.uploads)


def open_s3(endpoint: str) -> Any:
    """boto3 on an S3, without the server between. To be closed."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": "path"}),
    )


class MotoBucket:
    """A bucket of moto, new for each test."""

    def __init__(self, client: Any) -> None:
        self.name = f"bucket-{uuid4().hex}"
        self._client = client
        client.create_bucket(Bucket=self.name)

    def put(self, key: str, data: bytes, attributes: ObjectAttributes = NO_ATTRIBUTES) -> str:
        """See `Bucket.put`."""
        fields = {
            "ContentType": attributes.content_type,
            "CacheControl": attributes.cache_control,
            "ContentDisposition": attributes.content_disposition,
            "Metadata": dict(attributes.metadata),
        }
        given = {name: value for name, value in fields.items() if value}
        return str(self._client.put_object(Bucket=self.name, Key=key, Body=data, **given)["ETag"])

    def data(self, key: str) -> bytes | None:
        """See `Bucket.data`."""
        if key not in self.stored():
            return None
        data: bytes = self._client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def attributes(self, key: str) -> ObjectAttributes:
        """See `Bucket.attributes`."""
        head = self._client.head_object(Bucket=self.name, Key=key)
        return ObjectAttributes(
            content_type=head.get("ContentType"),
            cache_control=head.get("CacheControl"),
            content_disposition=head.get("ContentDisposition"),
            metadata=head["Metadata"],
        )

    def stored(self) -> list[str]:
        """See `Bucket.stored`."""
        return [row["Key"] for row in self._client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def uploads(self) -> int:
        """See `Bucket.uploads`."""
        return len(self._client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))


class Call(Protocol):
    """One request by Tornado's client, its answer as it came, whatever the status."""

    def __call__(
        self, method: str, target: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Coroutine[Any, Any, Answer]: ...
