"""The commands that make and check what stands in the access file."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import argon2
import pytest

from s3proxy.access import api_key
from s3proxy.access.__main__ import main
from s3proxy.access.file import load
from s3proxy.access.policy import Via
from tests.access.people import PASSWORD, people

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def access_file(tmp_path: Path) -> Path:
    """The file of `people`."""
    path = tmp_path / "access.toml"
    path.write_text(people())
    return path


def toml_in(text: str) -> str:
    """What of an output is meant for the file."""
    return text[text.index("\n[") + 1 if not text.startswith("[") else 0 :]


def test_a_new_key_is_shown_once_and_its_hash_opens_the_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-key", "al.ice@example.org"]) == 0
    output = capsys.readouterr().out
    (key,) = re.findall(r"^s3p_[\w-]{43}$", output, re.MULTILINE)
    path = tmp_path / "access.toml"
    path.write_text(toml_in(output))
    assert key not in path.read_text()
    assert load(path).keys[api_key.digest(key)].principal == "al.ice@example.org"


def test_a_password_from_a_pipe_is_hashed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSWORD + "\nmore\n"))
    assert main(["hash-password", "bob"]) == 0
    output = capsys.readouterr().out
    assert PASSWORD not in output
    assert argon2.PasswordHasher().verify(tomllib.loads(output)["principals"]["bob"]["password"], PASSWORD)


class Terminal(io.StringIO):
    """Somebody types."""

    def isatty(self) -> bool:
        return True


def test_a_password_is_asked_for_twice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    typed = iter(["one", "one", "one", "two"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    assert main(["hash-password"]) == 0
    assert '[principals."NAME"]' in capsys.readouterr().out
    assert main(["hash-password"]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("password", ["", "x" * 1_025, "a\tb", api_key.new_key()], ids=["empty", "long", "tab", "key"])
def test_what_could_not_be_sent_as_a_password_is_not_hashed(
    password: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(password + "\n"))
    assert main(["hash-password"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert not password or password not in output.err


def test_a_new_secret_signs_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-secret"]) == 0
    path = tmp_path / "access.toml"
    path.write_text(toml_in(capsys.readouterr().out) + "[principals.a]\n")
    links = load(path).links
    assert links is not None
    assert len(links.secrets[0]) == 32


def test_check_sums_up_a_good_file(access_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(access_file)]) == 0
    output = capsys.readouterr().out
    assert "3 principals, 2 groups, 2 API keys, 2 passwords, 0 token issuers" in output
    assert "principal alice [staff]\n  home/{principal}/**: read, write, list, delete, share\n" in output
    assert "argon2" not in output


def test_check_tells_the_faults_of_a_broken_one(access_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    access_file.write_text("[principals.a]\nkey = 1\ngroups = 3\n")
    assert main(["check", str(access_file)]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "principals.a.key" in output.err
    assert "principals.a.groups" in output.err
    assert main(["check", str(access_file.parent / "gone")]) == 1


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["alice", "read", "photos/a/b.jpg"], "yes"),
        (["alice", "write", "photos/a/b.jpg"], "no"),
        (["alice", "delete", "home/alice/x y"], "yes"),
        (["alice", "read", "home/bob/x"], "no"),
        (["alice", "read", "home/alice/x", "--group", "staff"], "no"),  # Nobody may vouch for that name.
        (["carol", "read", "photos/a"], "no"),
        (["carol", "read", "photos/a", "--group", "staff"], "yes"),
        (["bob", "read", "photos/a"], "no"),
        (["bob", "read", "photos/a", "--group", "guests", "--group", "staff"], "yes"),
    ],
    ids=str,
)
def test_may_answers_yes_or_no(
    access_file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], answer: str
) -> None:
    assert main(["may", str(access_file), *arguments]) == (0 if answer == "yes" else 1)
    assert capsys.readouterr().out == f"{answer}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["new-key"],
        ["new-key", "a/b"],
        ["may", "FILE", "alice", "eat", "b/k"],
        ["may", "FILE", "alice", "read", "bucket"],
        ["may", "FILE", "alice", "read", "bucket/../x"],
        ["may", "FILE", "alice", "read", "../x"],
    ],
    ids=str,
)
def test_a_wrong_call_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().out == ""


def test_it_runs_as_a_program(access_file: Path) -> None:
    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "s3proxy.access", *arguments]
        return subprocess.run(command, cwd=ROOT, input="hunter2\n", capture_output=True, text=True, check=False)

    hashed = program("hash-password", "alice")
    assert hashed.returncode == 0
    access_file.write_text(hashed.stdout)
    assert program("check", str(access_file)).returncode == 0
    assert program("may", str(access_file), "alice", "read", "bucket/key").returncode == 1
    assert load(access_file).resolve("alice", Via.PASSWORD)
