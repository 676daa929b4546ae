"""A server as `server.py` builds it, on a loopback socket, over a store that a test can look into and break.

After every test the server must be at rest: no request, task, granted memory, open stream or multipart upload is left,
nothing was logged as an error and no client read a 500.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import Application

from s3proxy.app import make_app
from s3proxy.protocol.checksums import ChecksumAlgorithm
from s3proxy.protocol.parts import PartPolicy
from s3proxy.service import Limits, Service
from s3proxy.store.contract import ObjectStore
from s3proxy.store.s3 import S3Store
from s3proxy.store.s3_client import S3Options
from s3proxy.transfer.budget import MemoryBudget
from s3proxy.transfer.cleanup import Cleanup
from s3proxy.transfer.reader import Downloads
from s3proxy.transfer.spool import Spool
from s3proxy.transfer.writer import Uploads
from server import build_server
from settings import Settings
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import MIB, Bucket, Call, MemoryBucket, MotoBucket, Shape, open_s3
from tests.http.wire import Answer, until

SETTINGS = Settings(_env_file=None)


@pytest.fixture
def memory() -> MemoryStore:
    """The store behind the server, when it is in memory."""
    return MemoryStore("photos")


@pytest.fixture
def faulty(memory: MemoryStore) -> FaultyStore:
    """The same, to be broken."""
    return FaultyStore(memory)


@pytest.fixture(params=["memory"])
def backend(request: pytest.FixtureRequest) -> str:
    """`memory`, or `moto` for the real S3 client against moto; contract tests are parametrised with both."""
    return str(request.param)


@pytest.fixture
def bucket(backend: str, request: pytest.FixtureRequest) -> Bucket:
    """A bucket that exists."""
    if backend == "memory":
        return MemoryBucket(request.getfixturevalue("memory"), "photos")
    return MotoBucket(request.getfixturevalue("moto_client"))


@pytest.fixture(scope="session")
def moto_client(s3_endpoint: str) -> Iterator[Any]:
    """boto3 on moto, without the server between."""
    client = open_s3(s3_endpoint)
    yield client
    client.close()


@pytest.fixture
def store(backend: str, request: pytest.FixtureRequest) -> ObjectStore:
    """The store behind the server."""
    if backend == "memory":
        faulty: FaultyStore = request.getfixturevalue("faulty")
        return faulty
    options = S3Options(
        region="us-east-1",
        endpoint_url=request.getfixturevalue("s3_endpoint"),
        addressing_style="path",
        credentials={"aws_access_key_id": "test", "aws_secret_access_key": "test"},
        attempts=1,
        threads=4,
    )
    return S3Store(options)


@pytest.fixture
def shape(request: pytest.FixtureRequest, backend: str) -> Shape:
    """The sizes of this test: the defaults, S3's smallest for moto, and what `@pytest.mark.shape` says."""
    marker = request.node.get_closest_marker("shape")
    sizes = {"part_size": 5 * MIB, "put_limit": 5 * MIB} if backend == "moto" else {}
    return Shape(**(sizes | (marker.kwargs if marker else {})))


@pytest.fixture
def budget(shape: Shape) -> MemoryBudget:
    """The memory all transfers of the server share."""
    return MemoryBudget(shape.budget)


@pytest.fixture
def access() -> Mapping[str, Any]:
    """Who may come and what they may: fields of `Service`, to be overridden. By default it is open."""
    return {}


@pytest.fixture
def service(
    store: ObjectStore, shape: Shape, budget: MemoryBudget, access: Mapping[str, Any], tmp_path: Path
) -> Service:
    """What the handlers share."""
    spool = Spool(tmp_path, shape.spool)
    cleanup = Cleanup(store)
    policy = PartPolicy(
        part_size=shape.part_size,
        put_limit=shape.put_limit,
        max_parts=shape.max_parts,
        max_object_size=shape.max_object_size,
    )
    return Service(
        store=store,
        uploads=Uploads(
            store,
            budget,
            spool,
            cleanup,
            policy=policy,
            window=shape.window,
            algorithm=ChecksumAlgorithm.CRC64NVME,
        ),
        downloads=Downloads(
            store,
            budget,
            chunk_size=shape.chunk_size,
            range_size=shape.range_size,
            window=shape.download_window,
            resumes=shape.resumes,
        ),
        cleanup=cleanup,
        limits=Limits(
            form_hold_limit=shape.hold_limit,
            form_max_fields=shape.max_fields,
            client_timeout=shape.client_timeout,
            linger=shape.linger,
            client_min_rate=shape.client_min_rate,
            max_transfers=shape.max_transfers,
        ),
        **access,
    )


@pytest.fixture
def app(service: Service) -> Application:
    """For pytest-tornado."""
    return make_app(service)


@pytest.fixture
def http_server(
    io_loop: IOLoop,
    app: Application,
    service: Service,
    budget: MemoryBudget,
    bucket: Bucket,
    backend: str,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    _unused_port: tuple[socket.socket, int],
) -> Iterator[HTTPServer]:
    """pytest-tornado's, built as `server.py` builds it, and brought to rest after the test."""
    caplog.set_level(logging.INFO, "s3proxy")
    server = build_server(app, SETTINGS)
    server.add_socket(_unused_port[0])
    yield server
    server.stop()
    io_loop.run_sync(lambda: _rest(server, service, budget, bucket))
    if backend == "memory":
        assert request.getfixturevalue("memory").open_streams == 0
    records = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    assert [record.getMessage() for record in records if record.levelno >= logging.ERROR] == []
    assert [fields for record in records if (fields := access_fields(record)).get("status") == 500] == []


async def _rest(server: HTTPServer, service: Service, budget: MemoryBudget, bucket: Bucket) -> None:
    """Wait until everything has ended, as it must once the connections are gone."""
    await server.close_all_connections()
    await until(lambda: len(service.traffic) == 0)
    assert await service.cleanup.wait(10)
    await until(lambda: budget.granted == 0)
    assert bucket.uploads() == 0
    await service.store.close()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


def access_fields(record: logging.LogRecord) -> Mapping[str, Any]:
    """What a line of the access log says; nothing for other lines."""
    fields: Mapping[str, Any] = getattr(record, "fields", {}) if record.name == "s3proxy.access" else {}
    return fields


@pytest.fixture
def access_log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Mapping[str, Any]]]:
    """Looks up the lines of the access log so far."""
    return lambda: [fields for record in caplog.records if (fields := access_fields(record))]


@pytest.fixture
def base_url(http_port: int) -> str:
    """pytest-tornado's, by address: `localhost` may mean another family of addresses first."""
    return f"http://127.0.0.1:{http_port}"


@pytest.fixture
def port(http_server: HTTPServer, http_port: int) -> int:
    """Where the running server listens, for `wire`."""
    return http_port


@pytest.fixture
def call(http_client: AsyncHTTPClient, base_url: str) -> Call:
    """Sends requests to the running server."""

    async def send(
        method: str, target: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        response = await http_client.fetch(
            base_url + target,
            method=method,
            body=body,
            headers=dict(headers or {}),
            raise_error=False,
            follow_redirects=False,
            decompress_response=False,
            allow_nonstandard_methods=True,
        )
        return Answer(response.code, response.headers, response.body)

    return send
