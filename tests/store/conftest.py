"""The stores under test. Async tests in this folder all run in one loop, as a server's would."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol, cast

import boto3
import pytest

from s3proxy.buckets import Buckets, BucketsFile
from s3proxy.protocol.keys import MAX_KEY_SIZE
from s3proxy.store.contract import ObjectStore
from s3proxy.store.mounted import MountedStore
from s3proxy.store.s3 import S3Store
from s3proxy.store.s3_client import S3Options
from tests.fakes import FaultyStore, MemoryStore

NUMBERS = count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test to its end."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    runner = cast(asyncio.Runner, pyfuncitem.funcargs["loop"])
    runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session", autouse=True)
def loop() -> Iterator[asyncio.Runner]:
    """The loop of all async tests here."""
    with asyncio.Runner() as runner:
        yield runner


class Backend(Protocol):
    """A store, what the contract has no call for, and where it falls short of S3."""

    store: ObjectStore
    longest_key: int

    def needs(self, ability: str) -> None:
        """Skip the test where the store lacks the ability."""

    def add_bucket(self, name: str) -> None: ...
    def left_open(self, bucket: str) -> list[str]: ...


@dataclass
class MemoryBackend:
    """A fake."""

    store: ObjectStore
    memory: MemoryStore
    longest_key: int = MAX_KEY_SIZE

    def needs(self, ability: str) -> None:
        """It can do everything."""

    def add_bucket(self, name: str) -> None:
        self.memory.buckets.add(name)

    def left_open(self, bucket: str) -> list[str]:
        assert self.memory.misuse == []
        return list(self.memory.uploads)


@dataclass
class S3Backend:
    """moto behind boto3."""

    store: ObjectStore
    client: Any
    longest_key: int = MAX_KEY_SIZE

    def needs(self, ability: str) -> None:
        """moto cannot."""
        pytest.skip(f"moto does not {ability}")

    def add_bucket(self, name: str) -> None:
        self.client.create_bucket(Bucket=name)

    def left_open(self, bucket: str) -> list[str]:
        answer = self.client.list_multipart_uploads(Bucket=bucket)
        return [upload["UploadId"] for upload in answer.get("Uploads", [])]


@dataclass
class MountedBackend:
    """Another backend, through mounts: other names, and a prefix."""

    under: Backend
    prefix: str = "team-ä/"

    def __post_init__(self) -> None:
        self.longest_key = self.under.longest_key - len(self.prefix.encode())
        self._names: dict[str, str] = {}
        self.store: ObjectStore = self._mount()

    def needs(self, ability: str) -> None:
        """As the other."""
        self.under.needs(ability)

    def add_bucket(self, name: str) -> None:
        self._names[name] = f"real-{name}"
        self.under.add_bucket(self._names[name])
        self.store = self._mount()

    def left_open(self, bucket: str) -> list[str]:
        return self.under.left_open(self._names[bucket])

    def _mount(self) -> MountedStore:
        rows = {shown: {"bucket": real, "prefix": self.prefix} for shown, real in self._names.items()}
        return MountedStore({"": self.under.store}, Buckets(BucketsFile.model_validate({"buckets": rows})))


CREDENTIALS = {"aws_access_key_id": "AKIATESTKEYID", "aws_secret_access_key": "test-secret-access-key"}


def s3_options(endpoint_url: str, **changes: Any) -> S3Options:
    """Options for a store at that URL."""
    return S3Options(**{"region": "us-east-1", "endpoint_url": endpoint_url, "credentials": CREDENTIALS, **changes})


@pytest.fixture(scope="session")
def s3_store(loop: asyncio.Runner, s3_endpoint: str) -> Iterator[S3Store]:
    """An `S3Store` on moto, shared: making a boto3 client takes longer than most tests."""

    async def make() -> S3Store:
        return S3Store(s3_options(s3_endpoint))

    store = loop.run(make())
    yield store
    loop.run(store.close())


@pytest.fixture(scope="session")
def s3_client(s3_endpoint: str) -> Iterator[Any]:
    """A plain boto3 client beside the store."""
    client = boto3.session.Session(region_name="us-east-1", **CREDENTIALS).client("s3", endpoint_url=s3_endpoint)
    yield client
    client.close()


@pytest.fixture(params=["memory", "faulty", "s3", "memory, mounted", "s3, mounted"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each store that keeps the contract."""
    kind, _, mounted = request.param.partition(", ")
    backend: Backend
    if kind == "s3":
        backend = S3Backend(request.getfixturevalue("s3_store"), request.getfixturevalue("s3_client"))
    else:
        memory = MemoryStore(part_minimum=5 * 1024 * 1024, body_reads=2)
        backend = MemoryBackend(FaultyStore(memory) if kind == "faulty" else memory, memory)
    return MountedBackend(backend) if mounted else backend


@pytest.fixture
def store(backend: Backend, bucket: str) -> ObjectStore:
    """The store under test. It has the bucket."""
    return backend.store


@pytest.fixture
def bucket(backend: Backend) -> Iterator[str]:
    """A new bucket. No multipart upload may be left in it."""
    name = f"bucket-{next(NUMBERS)}"
    backend.add_bucket(name)
    yield name
    assert backend.left_open(name) == []
