"""nginx, supervisord and two server processes on one port, all real, in front of an S3 on this machine."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from s3proxy.store.embedded import BUCKET, EmbeddedStore

from .site import Nginx, Supervised, accepts, connections, curl, host_tree, image_tree, needs, until

pytestmark = needs("nginx", "supervisord", "curl")

MIB = 1024 * 1024


@dataclass(frozen=True)
class Site:
    """What runs."""

    nginx: Nginx
    supervised: Supervised

    @property
    def files(self) -> str:
        """Where the bucket's files are."""
        return f"{self.nginx.url}/files/{BUCKET}"


@pytest.fixture(scope="module")
def store() -> Iterator[EmbeddedStore]:
    """The S3 behind everything."""
    with EmbeddedStore() as running:
        yield running


@pytest.fixture(scope="module")
def site(store: EmbeddedStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """As in the image: the files that the Dockerfile copies, and the number of processes from the environment."""
    folder = tmp_path_factory.mktemp("site")
    with (
        Supervised(image_tree(folder / "app"), folder / "home", store.endpoint_url) as supervised,
        Nginx(folder / "nginx", supervised.port) as nginx,
    ):
        yield Site(nginx, supervised)


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    """A file that is too large for one part, and for every buffer on the way."""
    path = tmp_path / "upload"
    path.write_bytes(random.Random(20).randbytes(20 * MIB))
    return path


def head(path: str, size: int) -> bytes:
    """The start of an upload."""
    return f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()


def status(connection: socket.socket) -> int:
    """Of the answer that comes on `connection`."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def test_a_file_goes_up_and_comes_down_as_it_was(site: Site, upload: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert curl("--upload-file", str(upload), f"{site.files}/twenty").status == 200
    assert curl("--output", str(copy), f"{site.files}/twenty").status == 200
    assert hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(upload.read_bytes()).digest()


def test_a_file_of_unknown_length_goes_up_and_comes_down_as_it_was(site: Site, upload: Path) -> None:
    content = upload.read_bytes()
    assert curl("--upload-file", "-", f"{site.files}/piped", stdin=content).status == 200
    assert curl(f"{site.files}/piped").body == content


def test_a_form_is_stored(site: Site, upload: Path) -> None:
    fields = ("--form", f"bucket_name={BUCKET}", "--form", "object_name=form", "--form", f"file_request=@{upload}")
    answer = curl(*fields, f"{site.nginx.url}/files")
    assert answer.status == 200
    assert json.loads(answer.body) == {"detail": "File uploaded successfully", "status_code": 200}
    assert curl(f"{site.files}/form").body == upload.read_bytes()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(f"/files/{BUCKET}/" + "k" * 1025, 400, id="key too long"),
        pytest.param(f"/files/{BUCKET}/a/%2e%2e/b", 400, id="key with two meanings"),
        pytest.param("/files/no-such-bucket/key", 404, id="no such bucket"),
    ],
)
@pytest.mark.parametrize("source", ["file", "pipe"])
def test_a_refusal_reaches_curl_though_the_body_was_still_on_its_way(
    site: Site, upload: Path, source: str, path: str, expected: int
) -> None:
    content = upload.read_bytes() * 2
    upload.write_bytes(content)
    for expect in ("Expect: 100-continue", "Expect:"):
        arguments = ("--header", expect, "--path-as-is", site.nginx.url + path)
        if source == "file":
            answer = curl("--upload-file", str(upload), *arguments)
        else:
            answer = curl("--upload-file", "-", *arguments, stdin=content)
        assert answer.status == expected, answer.body
        assert json.loads(answer.body).keys() == {"detail"}


def test_the_client_address_is_the_one_nginx_saw(site: Site) -> None:
    curl("--header", "X-Real-IP: 192.0.2.1", "--header", "X-Request-Id: spoofing-client", f"{site.files}/none")
    until(lambda: "spoofing-client" in site.supervised.output(), "the request is logged")
    (line,) = [line for line in site.supervised.output().splitlines() if "spoofing-client" in line]
    assert json.loads(line)["client"] == "127.0.0.1"


def test_health_is_told_through_nginx(site: Site) -> None:
    assert curl(f"{site.nginx.url}/healthz").status == 200
    assert curl(f"{site.nginx.url}/readyz").status == 200


def test_uploads_are_shared_out_among_the_processes(site: Site) -> None:
    with ExitStack() as stack:
        clients = []
        for number in range(16):
            client = socket.create_connection(("127.0.0.1", site.nginx.port), timeout=10)
            clients.append(stack.enter_context(client))
            client.sendall(head(f"/files/{BUCKET}/shared/{number}", 4) + b"ab")

        def held() -> list[int]:
            return [connections(server, site.supervised.port) for server in site.supervised.servers()]

        until(lambda: sum(held()) >= len(clients), "every upload has a process")
        assert len(held()) == 2
        assert all(held())
        for client in clients:
            client.sendall(b"cd")
        assert {status(client) for client in clients} == {200}


def test_processes_run_with_the_limits_and_memory_settings_they_need(site: Site) -> None:
    for server in site.supervised.servers():
        (limits,) = [
            line.split()[3:5]
            for line in Path(f"/proc/{server}/limits").read_text().splitlines()
            if line.startswith("Max open files")
        ]
        assert limits[0] in ("65536", limits[1])
        environment = Path(f"/proc/{server}/environ").read_text()
        assert "MALLOC_TRIM_THRESHOLD_=" in environment
        assert "WORKERS=1\0" in environment


def test_no_read_fails_while_every_process_is_replaced(site: Site) -> None:
    curl("--upload-file", "-", f"{site.files}/small", stdin=b"small")
    replaced = False

    def read() -> list[int]:
        statuses = []
        connection = http.client.HTTPConnection("127.0.0.1", site.nginx.port, timeout=10)
        while not replaced:
            connection.request("GET", f"/files/{BUCKET}/small")
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
        return statuses

    before = site.supervised.servers()
    with ThreadPoolExecutor(4) as readers:
        reading = [readers.submit(read) for _ in range(4)]
        try:
            for server in before:
                site.supervised.replace(server)
        finally:
            replaced = True
    assert {status for statuses in reading for status in statuses.result()} == {200}
    assert set(site.supervised.servers()).isdisjoint(before)


def test_supervisord_told_to_end_lets_an_upload_end_first(store: EmbeddedStore, tmp_path: Path) -> None:
    content = os.urandom(6 * MIB)
    with (
        Supervised(host_tree(tmp_path / "host"), tmp_path / "home", store.endpoint_url) as supervised,
        Nginx(tmp_path / "nginx", supervised.port) as nginx,
        socket.create_connection(("127.0.0.1", nginx.port), timeout=10) as client,
    ):
        client.sendall(head(f"/files/{BUCKET}/slow", len(content)) + content[: 3 * MIB])
        until(
            lambda: sum(connections(server, supervised.port) for server in supervised.servers()), "the upload is served"
        )
        supervised.terminate()
        until(lambda: not accepts(supervised.port), "no process takes more connections")
        client.sendall(content[3 * MIB :])
        assert status(client) == 200
        began = time.monotonic()
        assert supervised.exit_code() == 0
        assert time.monotonic() - began < 5
    assert curl(f"{store.endpoint_url}/{BUCKET}/slow").body == content
