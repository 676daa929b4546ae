"""Dockerfile, .dockerignore and docker-compose.yml: what can be checked without an engine."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading

import pytest

from .site import ROOT
from .test_supervisord_conf import PROGRAM, read

CONTINUED = re.compile(r"\\\n")


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, in order."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = (line.partition(" ") for line in CONTINUED.sub(" ", text).splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in lines]


def environment(instructions: list[tuple[str, str]]) -> dict[str, str]:
    """What ENV sets."""
    pairs = (pair.partition("=") for name, rest in instructions if name == "ENV" for pair in rest.split())
    return {name: value for name, _, value in pairs}


def last(instructions: list[tuple[str, str]], wanted: str) -> str:
    """What the last instruction of that name says; it is the one that counts."""
    return [rest for name, rest in instructions if name == wanted][-1]


def health_check(instructions: list[tuple[str, str]]) -> list[str]:
    """The command of HEALTHCHECK."""
    command: list[str] = json.loads(last(instructions, "HEALTHCHECK").partition(" CMD ")[2])
    return command


def test_the_service_runs_as_a_user_who_is_not_root(instructions: list[tuple[str, str]]) -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(instructions, "USER"))
    assert [name for name, _ in instructions].index("USER") < [name for name, _ in instructions].index("CMD")


def test_supervisord_is_the_first_process_and_gets_the_signals(instructions: list[tuple[str, str]]) -> None:
    assert json.loads(last(instructions, "CMD"))[0] == "supervisord"
    assert "ENTRYPOINT" not in dict(instructions)


def test_only_the_volume_is_written_to(instructions: list[tuple[str, str]]) -> None:
    places = environment(instructions)
    assert places["SPOOL_DIR"] == places["TMPDIR"] == places["HOME"] == last(instructions, "VOLUME")
    for option in (
        read("supervisord.conf")["supervisord"]["pidfile"],
        read("supervisord.conf")["unix_http_server"]["file"],
    ):
        assert option.startswith("~/")


def test_no_secret_gets_into_a_layer(instructions: list[tuple[str, str]]) -> None:
    names = [*environment(instructions), *(rest for name, rest in instructions if name == "ARG")]
    assert not [name for name in names if re.search("KEY|SECRET|TOKEN|PASSWORD", name)]
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    assert not [line for line in ignored if line.startswith("!.") or line in ("!deploy", "!*")]


def test_everything_copied_is_let_through_to_the_build(instructions: list[tuple[str, str]]) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for name, rest in instructions if name == "COPY" for source in rest.split()[:-1]}
    assert copied == allowed


def test_every_variable_supervisord_expands_is_set(instructions: list[tuple[str, str]]) -> None:
    needed = set(re.findall(r"%\(ENV_(\w+)\)s", (ROOT / "deploy/processes-from-env.conf").read_text()))
    assert needed == {"WORKERS"}
    assert needed <= environment(instructions).keys()


def test_memory_settings_are_those_of_supervisord(instructions: list[tuple[str, str]]) -> None:
    theirs = read("supervisord.conf")[PROGRAM]["environment"]
    ours = {name: value for name, value in environment(instructions).items() if name.startswith("MALLOC_")}
    assert len(ours) == 2
    assert all(f'{name}="{value}"' in theirs for name, value in ours.items())


def test_requirements_of_the_image_are_pinned() -> None:
    lines = [line for line in (ROOT / "deploy/requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health_check_tells_a_living_server_from_another(
    instructions: list[tuple[str, str]], status: int, code: int
) -> None:
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    _, *arguments = health_check(instructions)
    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = subprocess.run(
            [sys.executable, *arguments], env={"PORT": str(server.server_port)}, capture_output=True, check=False
        )
        thread.join()
    assert done.returncode == code, done.stderr


def test_health_check_fails_where_nothing_listens(instructions: list[tuple[str, str]]) -> None:
    _, *arguments = health_check(instructions)
    done = subprocess.run([sys.executable, *arguments], env={"PORT": "1"}, capture_output=True, check=False)
    assert done.returncode == 1


def test_compose_stops_the_service_later_than_supervisord_does() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    found = re.search(r"stop_grace_period: (\d+)s", text)
    assert found
    assert int(found[1]) > read("supervisord.conf").getint(PROGRAM, "stopwaitsecs")
    assert "./deploy/nginx.conf:/etc/nginx/nginx.conf:ro" in text
