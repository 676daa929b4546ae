"""A server with an access file, as operators run it: started, reloaded under load, listened to for secrets."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest

from tests.access.issuer import Issuer, jwk
from tests.access.people import password_hash
from tests.http.doors import LINK_SECRET, api_key, bearer, links, principal
from tests.http.place import open_s3
from tests.process import ROOT, ServerProcess, wait_for


@pytest.fixture
def bucket(s3_endpoint: str) -> str:
    """A bucket with one object, `k`."""
    name = f"bucket-{uuid4().hex}"
    client = open_s3(s3_endpoint)
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="k", Body=b"hello")
    client.close()
    return name


@pytest.fixture
def access_file(tmp_path: Path) -> Path:
    """Where the access file will be."""
    return tmp_path / "access.toml"


@contextlib.contextmanager
def serving(endpoint: str, access_file: Path, **settings: str) -> Iterator[ServerProcess]:
    """A server with that access file."""
    with ServerProcess(endpoint, access_file.parent, ACCESS_FILE=str(access_file), **settings) as server:
        yield server


def ask(
    server: ServerProcess,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, bytes]:
    """One request over a connection of its own; status and body."""
    address = urlsplit(server.url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def lets_in(server: ServerProcess, target: str, name: str) -> bool:
    """Whether the principal's key opens it."""
    return ask(server, "GET", target, bearer(api_key(name)))[0] == 200


def start(directory: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to end by itself."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "AWS_EC2_METADATA_DISABLED": "true",
        "S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "PORT": "0",
        "SPOOL_DIR": str(directory),
        **settings,
    }
    command = [sys.executable, str(ROOT / "server.py")]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=30)


def test_without_an_access_file_the_start_says_loudly_that_it_is_open(s3_endpoint: str, tmp_path: Path) -> None:
    with ServerProcess(s3_endpoint, tmp_path) as server:
        assert server.said("WARNING: no ACCESS_FILE is configured. Everyone")


def test_a_setting_refuses_to_start_open(tmp_path: Path) -> None:
    ended = start(tmp_path, REQUIRE_ACCESS_FILE="true")
    assert ended.returncode == 2
    assert "REQUIRE_ACCESS_FILE" in ended.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_broken_access_file_ends_the_start(access_file: Path, workers: str) -> None:
    access_file.write_text("[principals.alice]\nkeys = ['my-secret-in-the-clear']\n[nonsense]\n")
    ended = start(access_file.parent, ACCESS_FILE=str(access_file), WORKERS=workers)
    assert ended.returncode == 2
    assert "nonsense" in ended.stderr
    assert "my-secret" not in ended.stderr + ended.stdout


def test_a_database_that_is_none_ends_the_start_without_showing_its_password(access_file: Path) -> None:
    access_file.write_text(principal("alice", "read */**"))
    for url in ("mysql://user:pass-word@127.0.0.1/x", "sqlite:////no/such/directory/x", "pass-word"):
        ended = start(access_file.parent, ACCESS_FILE=str(access_file), DATABASE_URL=url)
        assert ended.returncode == 2, (url, ended.stderr)
        assert "pass-word" not in ended.stderr + ended.stdout


class Load:
    """Clients that GET an object again and again, each over a connection it keeps; `statuses` is what they read."""

    def __init__(self, server: ServerProcess, target: str, headers: Mapping[str, str], clients: int = 4) -> None:
        self.statuses: list[int | str] = []
        self._ending = threading.Event()
        work = (server, target, headers)
        self._threads = [threading.Thread(target=self._run, args=work) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self, server: ServerProcess, target: str, headers: Mapping[str, str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        while not self._ending.is_set():
            try:
                connection.request("GET", target, headers=dict(headers))
                answer = connection.getresponse()
                answer.read()
                self.statuses.append(answer.status)
            except OSError as fault:
                self.statuses.append(repr(fault))
        connection.close()


def test_a_reload_under_load_drops_no_request_and_takes_effect(
    s3_endpoint: str, access_file: Path, bucket: str
) -> None:
    target = f"/files/{bucket}/k"
    before = principal("alice", f"read {bucket}/**")
    access_file.write_text(before)
    with serving(s3_endpoint, access_file) as server, Load(server, target, bearer(api_key("alice"))) as load:
        wait_for(lambda: len(load.statuses) > 20, "requests are served")
        for name in ("bob", "carol", "dave"):
            assert ask(server, "GET", target, bearer(api_key(name)))[0] == 401
            access_file.write_text(before + principal(name, f"read {bucket}/**"))
            server.signal(signal.SIGHUP)
            wait_for(functools.partial(lets_in, server, target, name), "it was reloaded")
        # Without a signal it is found out by itself; and a mistake changes nothing.
        access_file.write_text("[principals.")
        wait_for(lambda: server.said("access file broken"), "the alarm")
        assert ask(server, "GET", target, bearer(api_key("dave")))[0] == 200
        count = len(load.statuses)
        wait_for(lambda: len(load.statuses) > count + 20, "requests are still served")
    assert set(load.statuses) == {200}


def test_who_is_taken_out_of_the_file_is_out(s3_endpoint: str, access_file: Path, bucket: str) -> None:
    access_file.write_text(principal("alice", f"read {bucket}/**") + principal("bob", f"read {bucket}/**"))
    with serving(s3_endpoint, access_file) as server:
        assert ask(server, "GET", f"/files/{bucket}/k", bearer(api_key("bob")))[0] == 200
        access_file.write_text(principal("alice", f"read {bucket}/**"))
        wait_for(lambda: ask(server, "GET", f"/files/{bucket}/k", bearer(api_key("bob")))[0] == 401, "bob is out")
        assert ask(server, "GET", f"/files/{bucket}/k", bearer(api_key("alice")))[0] == 200


def test_tokens_of_an_issuer_let_in_across_a_rotation_of_its_keys(
    s3_endpoint: str, access_file: Path, bucket: str
) -> None:
    issuer = Issuer()
    access_file.write_text(
        f'[oidc]\nissuer = "{issuer.url}"\naudience = "s3proxy"\nalgorithms = ["ES256"]\n'
        'groups_claim = "groups"\ngroups = { "s3-readers" = "readers" }\n'
        f'[groups.readers]\ngrants = [{{ allow = ["read"], on = "{bucket}/**" }}]\n'
    )
    target = f"/files/{bucket}/k"
    with contextlib.closing(issuer), serving(s3_endpoint, access_file) as server:
        old = issuer.token("one", groups=["s3-readers"])
        assert ask(server, "GET", target, bearer(old)) == (200, b"hello")
        assert ask(server, "PUT", target, bearer(old), b"x")[0] == 403
        assert ask(server, "GET", target, bearer(issuer.token("one", groups=["others"])))[0] == 403
        for claims in ({"aud": "another"}, {"exp": 1}, {"iss": "https://evil.example"}, {"exp": None}):
            assert ask(server, "GET", target, bearer(issuer.token("one", groups=["s3-readers"], **claims)))[0] == 401
        forged = issuer.token("one", number=3, groups=["s3-readers"])
        assert ask(server, "GET", target, bearer(forged))[0] == 401
        issuer.keys = [jwk("two", number=2)]
        new = issuer.token("two", number=2, groups=["s3-readers"])
        # An issuer is asked for a key it had not at most every ten seconds.
        wait_for(lambda: ask(server, "GET", target, bearer(new)) == (200, b"hello"), "the new key is known")
        # Known keys go on being good while the issuer is away.
        issuer.down = True
        another = issuer.token("two", number=2, groups=["s3-readers"], jti="another")
        assert ask(server, "GET", target, bearer(another))[0] == 200


def test_no_secret_is_in_anything_the_server_says(s3_endpoint: str, access_file: Path, bucket: str) -> None:
    password, stolen, aws = (secrets.token_urlsafe(12) for _ in range(3))
    issuer = Issuer()
    access_file.write_text(
        principal(
            "alice",
            f"read,write,list,delete,share {bucket}/**",
            extra=f'password = "{password_hash(password)}"\nquota = {{ object_mb = 1 }}',
        )
        + principal("bob")
        + links()
        + f'[oidc]\nissuer = "{issuer.url}"\naudience = "s3proxy"\nalgorithms = ["ES256"]\n'
    )

    def basic(name: str, word: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode()}

    tokens = [issuer.token("one"), issuer.token("one", exp=1), issuer.token("lost"), issuer.token("one", aud="x")]
    environment = {
        "LOG_LEVEL": "DEBUG",
        "AWS_SECRET_ACCESS_KEY": aws,
        "AWS_SESSION_TOKEN": aws + "-session",
        "REDIRECT_DOWNLOADS": "asked",
        "S3_ATTEMPTS": "1",
    }
    with contextlib.closing(issuer), serving(s3_endpoint, access_file, **environment) as server:
        alice = bearer(api_key("alice"))
        status, body = ask(server, "POST", f"/files/{bucket}/k?share", alice)
        assert status == 200, body
        link = body.partition(b"?link=")[2].partition(b'"')[0].decode()
        status, body = ask(server, "POST", f"/files/{bucket}/up?share&method=PUT&uses=1", alice)
        upload_link = body.partition(b"?link=")[2].partition(b'"')[0].decode()
        credentials: list[Mapping[str, str]] = [
            alice,
            {"X-Api-Key": api_key("alice")},
            bearer(api_key("bob")),
            bearer(api_key("mallory")),
            basic("alice", password),
            basic("alice", stolen),
            basic(stolen, password),
            basic("alice", api_key("alice")),
            {**alice, "X-Api-Key": api_key("bob")},
            {"Authorization": stolen},
            {"Authorization": f"Digest {stolen}"},
            *(bearer(token) for token in tokens),
        ]
        targets = [
            ("GET", f"/files/{bucket}/k", None),
            ("GET", f"/files/{bucket}/k?redirect", None),
            ("GET", f"/files/{bucket}/none", None),
            ("GET", f"/files/{bucket}/%00", None),
            ("GET", f"/files/{bucket}/?cursor=x", None),
            ("PUT", f"/files/{bucket}/big", bytes(1024 * 1024 + 1)),
            ("PUT", "/files/no-such-bucket-here/k", b"x"),
            ("POST", "/files", b"no form"),
            ("DELETE", f"/files/{bucket}/none", None),
            ("FOO", "/nowhere", None),
        ]
        for credential in credentials:
            for method, target, content in targets:
                ask(server, method, target, credential, content)
        for token in (link, upload_link, link[:-2] + "AA", stolen):
            for method, key in (("GET", "k"), ("PUT", "up"), ("PUT", "up"), ("DELETE", "k"), ("GET", "%00")):
                ask(
                    server,
                    method,
                    f"/files/{bucket}/{key}?link={quote(token)}",
                    None,
                    b"x" if method == "PUT" else None,
                )
        # A client that leaves in the middle, headers that are too long, and a line that is none.
        for text in (
            f"PUT /files/{bucket}/gone?link={link} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
            f"GET /files/{bucket}/k HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stolen * 2000}\r\n\r\n",
            f"Authorization: Bearer {stolen}\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(text.encode())
                client.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    client.recv(65536)
        access_file.write_text(f'[principals.x]\npassword = "{stolen}"\n[links]\nsecrets = ["{stolen}"]\n')
        server.signal(signal.SIGHUP)
        wait_for(lambda: server.said("access file broken"), "the alarm")
        server.terminate()
        assert server.exit_code() == 0
        said = "\n".join(server.lines)
    assert said.count('"message": "request"') > len(credentials) * len(targets) - 10
    signatures = ("X-Amz-Signature", "X-Amz-Credential")
    words = [password, stolen, aws, LINK_SECRET, link, upload_link, *tokens, *signatures]
    words += [api_key(name) for name in ("alice", "bob", "mallory")]
    assert [word for word in words if word in said] == []


def test_addresses_are_taken_from_trusted_proxies_only(s3_endpoint: str, access_file: Path, bucket: str) -> None:
    access_file.write_text(principal("alice", f"read {bucket}/**"))
    told = {"X-Real-Ip": "192.0.2.1", **bearer(api_key("alice"))}
    for trusted, address in (("127.0.0.0/8", "192.0.2.1"), ("10.0.0.0/8, ::1", "127.0.0.1")):
        settings = {"TRUST_PROXY_HEADERS": "true", "TRUSTED_PROXIES": trusted}
        with serving(s3_endpoint, access_file, **settings) as server:
            assert ask(server, "GET", f"/files/{bucket}/k", told)[0] == 200
            wait_for(functools.partial(server.said, '"message": "request"'), "the line about it")
            assert server.said(f'"client": "{address}"')
