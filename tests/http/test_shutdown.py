"""SIGTERM to a real server process: nothing new, what is under way gets its time, the rest leaves no trace (exit 0)."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from s3proxy.service import Service
from tests.fakes import FaultyStore, Operation
from tests.http.place import KIB, MIB, Bucket, MotoBucket
from tests.http.wire import exchange, until
from tests.process import ServerProcess, wait_for

SIZE = 20 * MIB
"""Of an upload or download that is under way: several parts, and more than the kernel's buffers hold."""

SETTINGS = {"UPLOAD_MULTIPART_LIMIT_MB": "5", "UPLOAD_MULTIPART_CHUNK_SIZE": "5", "LINGER_SECONDS": "1"}


@pytest.fixture
def moto_bucket(moto_client: Any) -> MotoBucket:
    """A bucket of the S3 that the server process talks to."""
    return MotoBucket(moto_client)


@contextmanager
def half_an_upload(server: ServerProcess, bucket: MotoBucket) -> Iterator[HTTPConnection]:
    """A PUT of which the store has a part already and the client has sent one half."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("PUT", f"/files/{bucket.name}/k")
    connection.putheader("Content-Length", str(SIZE))
    connection.endheaders()
    connection.send(b"a" * (SIZE // 2))
    wait_for(lambda: bucket.uploads() == 1, "the upload has begun")
    try:
        yield connection
    finally:
        connection.close()


def refuses_connections(server: ServerProcess) -> bool:
    """Whether nobody listens there any more."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_an_idle_server_ends_at_once(s3_endpoint: str, tmp_path: Path, signal: str) -> None:
    with ServerProcess(s3_endpoint, tmp_path) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/readyz")
        assert connection.getresponse().read() == b'{"status":"ready"}'
        started = time.monotonic()
        server.terminate() if signal == "SIGTERM" else server.interrupt()
        assert server.exit_code() == 0
        assert time.monotonic() - started < 3
        connection.close()
    assert not server.said("Traceback")


def test_an_upload_under_way_is_finished(s3_endpoint: str, tmp_path: Path, moto_bucket: MotoBucket) -> None:
    with (
        ServerProcess(s3_endpoint, tmp_path, **SETTINGS) as server,
        half_an_upload(server, moto_bucket) as connection,
    ):
        server.terminate()
        wait_for(lambda: refuses_connections(server), "new connections are refused")
        connection.send(b"b" * (SIZE // 2))
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (200, "close")
        answer.read()
        assert server.exit_code() == 0
    assert moto_bucket.data("k") == b"a" * (SIZE // 2) + b"b" * (SIZE // 2)
    assert moto_bucket.uploads() == 0
    assert not server.said("Traceback")


def test_a_download_under_way_is_finished(s3_endpoint: str, tmp_path: Path, moto_bucket: MotoBucket) -> None:
    data = bytes(range(256)) * (SIZE // 256)
    moto_bucket.put("k", data)
    with ServerProcess(s3_endpoint, tmp_path) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", f"/files/{moto_bucket.name}/k")
        answer = connection.getresponse()
        received = answer.read(MIB)
        server.terminate()
        wait_for(lambda: refuses_connections(server), "new connections are refused")
        received += answer.read()
        assert received == data
        assert server.exit_code() == 0
        connection.close()


def test_an_upload_longer_than_the_grace_is_told_503_and_leaves_nothing(
    s3_endpoint: str, tmp_path: Path, moto_bucket: MotoBucket
) -> None:
    with (
        ServerProcess(s3_endpoint, tmp_path, **SETTINGS, SHUTDOWN_GRACE_SECONDS="0.3") as server,
        half_an_upload(server, moto_bucket) as connection,
    ):
        server.terminate()
        for _ in range(10):
            # A client that goes on sending past the grace, and reads only then.
            connection.send(bytes(64 * KIB))
            time.sleep(0.08)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("X-Error-Code")) == (503, "shutting_down")
        assert answer.getheader("Retry-After") == "2"
        answer.read()
        assert server.exit_code(8) == 0
    assert moto_bucket.uploads() == 0
    assert moto_bucket.stored() == []
    assert not server.said("Traceback")


def test_a_download_longer_than_the_grace_is_broken_off(
    s3_endpoint: str, tmp_path: Path, moto_bucket: MotoBucket
) -> None:
    moto_bucket.put("k", bytes(SIZE))
    with ServerProcess(s3_endpoint, tmp_path, SHUTDOWN_GRACE_SECONDS="0.3") as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(f"GET /files/{moto_bucket.name}/k HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        server.terminate()
        assert server.exit_code(8) == 0
        received = 0
        try:
            while data := client.recv(MIB):
                received += len(data)
        except ConnectionResetError:
            pass
        assert received < SIZE
    assert not server.said("Traceback")


def test_a_second_sigterm_ends_the_waiting(s3_endpoint: str, tmp_path: Path, moto_bucket: MotoBucket) -> None:
    with (
        ServerProcess(s3_endpoint, tmp_path, **SETTINGS, SHUTDOWN_GRACE_SECONDS="600") as server,
        half_an_upload(server, moto_bucket),
    ):
        server.terminate()
        wait_for(lambda: refuses_connections(server), "new connections are refused")
        started = time.monotonic()
        server.terminate()
        assert server.exit_code() == 0
        assert time.monotonic() - started < 4
    assert moto_bucket.uploads() == 0
    assert moto_bucket.stored() == []


def test_a_draining_server_is_not_ready_on_connections_it_still_has(
    s3_endpoint: str, tmp_path: Path, moto_bucket: MotoBucket
) -> None:
    with (
        ServerProcess(s3_endpoint, tmp_path, **SETTINGS) as server,
        half_an_upload(server, moto_bucket) as connection,
    ):
        probe = HTTPConnection("127.0.0.1", server.port, timeout=20)
        for status, header in ((200, None), (503, "close")):
            probe.request("GET", "/readyz")
            answer = probe.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (status, header)
            answer.read()
            if status == 200:
                server.terminate()
                wait_for(lambda: refuses_connections(server), "new connections are refused")
        probe.close()
        connection.send(b"b" * (SIZE // 2))
        assert connection.getresponse().read()
        assert server.exit_code() == 0


@pytest.mark.gen_test
@pytest.mark.parametrize("operation", ["put", "complete_upload"])
async def test_draining_waits_for_a_commit_under_way(
    port: int, service: Service, bucket: Bucket, faulty: FaultyStore, operation: Operation
) -> None:
    data = b"hello" if operation == "put" else bytes(200 * KIB)
    gate = faulty.hang(operation)
    put = asyncio.create_task(exchange(port, "PUT", "/files/photos/k", body=data))
    await gate.reached.wait()
    drained = asyncio.create_task(service.traffic.drain(10))
    await until(lambda: service.traffic.draining)
    assert not drained.done()
    gate.open()
    assert (await put).status == 200
    await drained
    assert bucket.data("k") == data


@pytest.mark.gen_test
async def test_a_commit_longer_than_the_grace_is_told_503_and_still_ends_whole(
    port: int, service: Service, bucket: Bucket, faulty: FaultyStore
) -> None:
    gate = faulty.hang("complete_upload")
    put = asyncio.create_task(exchange(port, "PUT", "/files/photos/k", body=bytes(200 * KIB)))
    await gate.reached.wait()
    await service.traffic.drain(0.01)
    assert (await put).status == 503
    gate.open()
    await until(lambda: bucket.data("k") == bytes(200 * KIB))
    assert faulty.calls["abort_upload"] == 0


CREATED = b"""<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>k</Key><UploadId>1</UploadId>\
</InitiateMultipartUploadResult>"""


@contextmanager
def silent_store(*, creates_uploads: bool) -> Iterator[str]:
    """A store that takes connections and never says a word, but for the id of a multipart upload if it is to."""
    taken: list[socket.socket] = []

    def take(listener: socket.socket) -> None:
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return
            if creates_uploads and b"?uploads" in taken[-1].recv(65536):
                taken[-1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(CREATED), CREATED))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()


@pytest.mark.parametrize(
    ("creates_uploads", "size", "sent"),
    [(False, 5, 5), (False, SIZE, 1000), (True, SIZE, 11 * MIB)],
    ids=["while it stores", "while it begins", "while parts are sent and the next one waits"],
)
def test_a_silent_store_does_not_keep_the_process(tmp_path: Path, creates_uploads: bool, size: int, sent: int) -> None:
    with (
        silent_store(creates_uploads=creates_uploads) as endpoint,
        ServerProcess(endpoint, tmp_path, **SETTINGS, UPLOAD_WINDOW="1", SHUTDOWN_GRACE_SECONDS="0.3") as server,
    ):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.putrequest("PUT", "/files/bucket/k")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        connection.send(bytes(sent))
        probe = HTTPConnection("127.0.0.1", server.port, timeout=20)
        probe.request("GET", "/healthz")
        assert probe.getresponse().read() == b'{"status":"alive"}'
        server.terminate()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("X-Error-Code")) == (503, "shutting_down")
        started = time.monotonic()
        server.terminate()
        assert server.exit_code() == 0
        assert time.monotonic() - started < 4
        probe.close()
        connection.close()
    assert not server.said("Traceback")
