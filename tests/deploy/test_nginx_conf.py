"""deploy/nginx.conf: what it promises, read from the file and seen in what real nginx does with a stand-in service."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from s3proxy.store.s3 import COMPLETE_PATIENCE

from .site import ROOT, Nginx, curl, default, needs
from .upstream import ANSWER, Upstream, reset

WORDS = re.compile(r"""#[^\n]*|"(?:\\.|[^"])*"|'[^']*'|[{};]|[^\s{};]+""")

real_nginx = needs("nginx", "curl")


def directives(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every directive with its arguments, and every block with its header."""
    words: list[str] = []
    for word in WORDS.findall(text):
        if word.startswith("#"):
            continue
        if word not in "{};":
            words.append(word)
            continue
        if words:
            yield words[0], words[1:]
        words = []


@pytest.fixture(scope="module")
def conf() -> list[tuple[str, list[str]]]:
    """The shipped file."""
    return list(directives((ROOT / "deploy/nginx.conf").read_text()))


def values(conf: list[tuple[str, list[str]]], name: str) -> list[str]:
    """The arguments of every directive `name`, in the order of the file."""
    return [" ".join(arguments) for directive, arguments in conf if directive == name]


@dataclass(frozen=True)
class Front:
    """Real nginx in front of a stand-in."""

    nginx: Nginx
    upstream: Upstream


@contextmanager
def front(folder: Path, upstream: Upstream) -> Iterator[Front]:
    """Both, running."""
    with upstream, Nginx(folder / "nginx", upstream.port) as nginx:
        yield Front(nginx, upstream)


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The stand-in says 200 to everything."""
    with front(tmp_path_factory.mktemp("answering"), Upstream()) as running:
        yield running


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The stand-in breaks every connection when it has read the request."""
    with front(tmp_path_factory.mktemp("dying"), Upstream(reset)) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_max_body_size", "0"),
        ("proxy_http_version", "1.1"),
        ("proxy_request_buffering", "off"),
        ("proxy_buffering", "off"),
        ("proxy_max_temp_file_size", "0"),
        ("merge_slashes", "off"),
        ("underscores_in_headers", "on"),
        ("server_tokens", "off"),
        ("lingering_close", "on"),
    ],
)
def test_nothing_is_kept_limited_or_rewritten_on_the_way(
    conf: list[tuple[str, list[str]]], name: str, value: str
) -> None:
    assert values(conf, name) == [value]


def test_no_address_of_the_service_carries_a_path_that_would_replace_the_key(
    conf: list[tuple[str, list[str]]],
) -> None:
    targets = values(conf, "proxy_pass")
    assert targets
    assert all(re.fullmatch(r"http://\w+", target) for target in targets)


def test_nginx_waits_for_clients_longer_than_the_service_does(conf: list[tuple[str, list[str]]]) -> None:
    for name in ("client_body_timeout", "send_timeout"):
        (value,) = values(conf, name)
        assert float(value.removesuffix("s")) > default("client_timeout_seconds")


def test_nginx_waits_for_the_service_longer_than_every_try_of_the_longest_complete(
    conf: list[tuple[str, list[str]]],
) -> None:
    one_try = default("s3_connect_timeout_seconds") + COMPLETE_PATIENCE * default("s3_read_timeout_seconds")
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        (value,) = values(conf, name)
        assert float(value.removesuffix("s")) > default("s3_attempts") * one_try


def test_nginx_lets_go_of_an_idle_connection_before_the_service_does(conf: list[tuple[str, list[str]]]) -> None:
    upstream, _clients = values(conf, "keepalive_timeout")
    assert float(upstream.removesuffix("s")) < default("keepalive_timeout_seconds")
    assert values(conf, "keepalive")


def test_access_log_holds_no_query_string(conf: list[tuple[str, list[str]]]) -> None:
    (form,) = values(conf, "log_format")
    assert not re.search(r"\$(request|request_uri|args|query_string|http_referer)\b", form)


@real_nginx
@pytest.mark.parametrize(
    "path",
    [
        "/files/b/a%2Fb",
        "/files/b//a///b",
        "/files/b/%2e%2e/x",
        "/files/b/a/../../x",
        "/files/b/%F0%9F%98%80+%20%25:{}()'",
        "/files/b/?prefix=a%2Fb&cursor=%3D",
        "//files/b/k",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_path_reaches_the_service_byte_for_byte(answering: Front, method: str, path: str) -> None:
    assert curl("--path-as-is", "--globoff", "--request", method, answering.nginx.url + path).status == 200
    assert answering.upstream.heads[-1].startswith(f"{method} {path} HTTP/1.1\r\n")


@real_nginx
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_a_client_says_about_itself_is_overwritten(answering: Front, method: str) -> None:
    lies = ("X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Scheme", "Forwarded")
    arguments = [argument for name in lies for argument in ("--header", f"{name}: a-lie")]
    kept = ("--header", "x-amz-meta-my_name: kept")
    curl("--request", method, *arguments, *kept, f"{answering.nginx.url}/files/b/k")
    head = answering.upstream.heads[-1]
    assert "a-lie" not in head
    assert "\r\nX-Real-IP: 127.0.0.1\r\n" in head
    assert "\r\nX-Forwarded-For: 127.0.0.1\r\n" in head
    assert f"\r\nHost: 127.0.0.1:{answering.nginx.port}\r\n" in head
    assert "\r\nx-amz-meta-my_name: kept\r\n" in head


@real_nginx
@pytest.mark.parametrize(
    ("method", "tries"), [("GET", 3), ("HEAD", 3), ("PUT", 1), ("POST", 1), ("DELETE", 1), ("PATCH", 1)]
)
def test_only_reads_are_sent_again_when_a_process_dies(dying: Front, method: str, tries: int) -> None:
    data = ["--data", "small"] if method in ("PUT", "POST", "PATCH") else []
    verb = ["--head"] if method == "HEAD" else ["--request", method]
    before = len(dying.upstream.heads)
    assert curl(*verb, *data, f"{dying.nginx.url}/files/b/k").status == 502
    assert len(dying.upstream.heads) - before == tries


@real_nginx
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/files/b/k", 502, "service_unreachable"),
        ("/files/b/%zz", 400, "bad_request"),
        ("/" + "a" * 9_000, 414, "address_too_long"),
        ("/_own_answer", 404, "not_found"),
    ],
)
def test_what_nginx_says_itself_has_the_form_of_our_errors(dying: Front, path: str, status: int, code: str) -> None:
    answer = curl("--include", "--request", "PUT", dying.nginx.url + path)
    head, _, body = answer.body.decode().partition("\r\n\r\n")
    assert answer.status == status
    assert f"\r\nX-Error-Code: {code}\r\n" in head + "\r\n"
    assert re.search(r"\r\nX-Request-Id: \w{32}\r\n", head + "\r\n")
    assert "\r\nServer: nginx\r\n" in head
    assert json.loads(body).keys() == {"detail"}


@real_nginx
def test_bytes_pass_both_ways_before_either_side_has_sent_all(tmp_path: Path) -> None:
    first, last = b"a" * 100_000, b"b" * 100_000
    arrived, more = threading.Event(), threading.Event()

    def echo_late(connection: socket.socket) -> None:
        _receive(connection, len(first))
        arrived.set()
        _receive(connection, len(last))
        connection.sendall(ANSWER.replace(b": 2", b": 100002").removesuffix(b"ok") + b"c" * 100_000)
        assert more.wait(10)
        connection.sendall(b"ok")

    with (
        front(tmp_path, Upstream(echo_late)) as running,
        socket.create_connection(("127.0.0.1", running.nginx.port), timeout=10) as client,
    ):
        client.sendall(b"PUT /files/b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + first)
        assert arrived.wait(10)
        client.sendall(last)
        received = b""
        while received.count(b"c") < 100_000:
            received += client.recv(65_536)
        more.set()
        assert _receive(client, 2) == b"ok"


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        assert chunk
        received += chunk
    return received
