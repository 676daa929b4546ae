"""curl, as people paste it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Run
from tests.http.place import MIB, MotoBucket
from tests.process import ServerProcess, wait_for

DATA = random.Random(1).randbytes(12 * MIB)
"""Three parts of S3's smallest size."""

STORED = b'{"detail":"File uploaded successfully","status_code":200}'


@pytest.fixture
def curl(run: Run) -> Run:
    """Runs curl quietly but for errors."""

    def curl(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return run("curl", "--disable", "--silent", "--show-error", *arguments, stdin=stdin)

    return curl  # type: ignore[return-value]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of several parts."""
    path = tmp_path / "large file.bin"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("size", [5, len(DATA)])
def test_a_form_stores_a_file(
    curl: Run, server: ServerProcess, bucket: MotoBucket, tmp_path: Path, slash: str, size: int
) -> None:
    (tmp_path / "file").write_bytes(DATA[:size])
    fields = ["-F", f"bucket_name={bucket.name}", "-F", "object_name=dir/k", "-F", "file_request=@file"]
    done = curl(*fields, f"{server.url}/files{slash}")
    assert (done.returncode, done.stdout) == (0, STORED)
    assert bucket.data("dir/k") == DATA[:size]


def test_a_form_with_the_file_first_stores_it_too(
    curl: Run, server: ServerProcess, bucket: MotoBucket, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    fields = ["-F", "file_request=@file", "-F", "object_name=k", "-F", f"bucket_name={bucket.name}"]
    assert curl(*fields, f"{server.url}/files").stdout == STORED
    assert bucket.data("k") == b"hello"


def test_a_form_may_come_from_a_pipe(curl: Run, server: ServerProcess, bucket: MotoBucket) -> None:
    target = f"{server.url}/files?bucket_name={bucket.name}&object_name=k"
    done = curl("-F", "file_request=@-;filename=x", target, stdin=DATA)
    assert (done.returncode, done.stdout) == (0, STORED)
    assert bucket.data("k") == DATA


def test_several_files_go_under_a_prefix(curl: Run, server: ServerProcess, bucket: MotoBucket, tmp_path: Path) -> None:
    for name in ("one.txt", "two words.txt"):
        (tmp_path / name).write_text(name)
    fields = ["-F", f"bucket_name={bucket.name}", "-F", "object_name=in/"]
    done = curl(*fields, "-F", "a=@one.txt", "-F", "b=@two words.txt", f"{server.url}/files")
    assert [row["key"] for row in json.loads(done.stdout)["files"]] == ["in/one.txt", "in/two words.txt"]
    assert bucket.data("in/two words.txt") == b"two words.txt"


def test_the_original_download_finds_what_was_stored(curl: Run, server: ServerProcess, bucket: MotoBucket) -> None:
    bucket.put("dir/a b", b"hello")
    query = ["-G", "-d", f"bucket_name={bucket.name}", "--data-urlencode", "object_name=dir/a b"]
    assert curl(*query, f"{server.url}/files").stdout == b"hello"
    done = curl("--fail-with-body", *query, "-d", "x=y", f"{server.url}/files/nothing/", "-w", "%{http_code}")
    assert done.returncode == 22


def test_a_file_is_put(curl: Run, base: str, bucket: MotoBucket, large: Path) -> None:
    done = curl("-T", large, f"{base}/k")
    assert (done.returncode, json.loads(done.stdout)["size"]) == (0, len(DATA))
    assert bucket.data("k") == DATA


def test_a_file_put_to_a_directory_keeps_its_name(curl: Run, base: str, bucket: MotoBucket, large: Path) -> None:
    assert json.loads(curl("-T", large, f"{base}/dir/").stdout)["key"] == "dir/large file.bin"
    assert json.loads(curl("-T", large, f"{base}/").stdout)["key"] == "large file.bin"
    assert bucket.data("dir/large file.bin") == DATA


def test_several_files_are_put_in_one_call(curl: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    assert curl("-T", "{a,b}", f"{base}/dir/").returncode == 0
    assert (bucket.data("dir/a"), bucket.data("dir/b")) == (b"a", b"b")


@pytest.mark.parametrize("size", [0, 5, len(DATA)])
def test_standard_input_is_put(curl: Run, base: str, bucket: MotoBucket, size: int) -> None:
    done = curl("-T", "-", f"{base}/k", stdin=DATA[:size])
    assert (done.returncode, json.loads(done.stdout)["size"]) == (0, size)
    assert bucket.data("k") == DATA[:size]


def test_names_of_all_kinds_survive_the_way_there_and_back(curl: Run, base: str, bucket: MotoBucket) -> None:
    names = {"a%20b": "a b", "a+b": "a+b", "%7Ba%7D": "{a}", "caf%C3%A9": "café", "100%25": "100%", "x%2Fy": "x/y"}
    for encoded, key in names.items():
        assert curl("-T", "-", f"{base}/{encoded}", stdin=key.encode()).returncode == 0
        assert bucket.data(key) == key.encode()
        assert curl(f"{base}/{encoded}").stdout == key.encode()


def test_a_download_is_what_was_stored(curl: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    bucket.put("dir/k", DATA)
    assert curl("-o", "out", f"{base}/dir/k").returncode == 0
    assert (tmp_path / "out").read_bytes() == DATA


def test_a_download_broken_off_is_resumed(curl: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    bucket.put("k", DATA)
    (tmp_path / "out").write_bytes(DATA[: 7 * MIB])
    done = curl("-C", "-", "-o", "out", f"{base}/k", "-w", "%{http_code} %{size_download}")
    assert (done.returncode, done.stdout) == (0, b"206 %d" % (len(DATA) - 7 * MIB))
    assert (tmp_path / "out").read_bytes() == DATA


def test_a_download_that_is_whole_stays_so(curl: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    bucket.put("k", DATA)
    (tmp_path / "out").write_bytes(DATA)
    assert curl("-C", "-", "-o", "out", f"{base}/k", "-w", "%{http_code}").stdout == b"416"
    assert (tmp_path / "out").read_bytes() == DATA


def test_a_range_is_cut_out(curl: Run, base: str, bucket: MotoBucket) -> None:
    bucket.put("k", b"0123456789")
    for span, expected in {"2-5": b"2345", "-3": b"789", "7-": b"789", "0-": b"0123456789"}.items():
        assert curl("-r", span, f"{base}/k").stdout == expected


def test_one_connection_serves_everything(curl: Run, base: str, bucket: MotoBucket) -> None:
    bucket.put("k", b"hello")
    calls = [f"{base}/k", f"{base}/nothing", f"{base}/", f"{base}/k"]
    connects = ["-o", "/dev/null", "-w", "%{num_connects} "]
    done = curl(*(argument for call in calls for argument in (*connects, call, "--next", "-s")), f"{base}/k")
    assert done.stdout == b"1 0 0 0 hello"


def test_a_file_is_saved_under_its_own_name(curl: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    bucket.put("dir/report 1.txt", b"hello")
    assert curl("-OJ", f"{base}/dir/report%201.txt?x=y").returncode == 0
    assert (tmp_path / "report 1.txt").read_bytes() == b"hello"


def test_a_known_version_is_not_sent_again(curl: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    bucket.put("k", b"hello")
    etag = ["--etag-save", "etag", "--etag-compare", "etag", "-w", "%{http_code}"]
    assert curl(*etag, f"{base}/k").stdout == b"hello200"
    assert curl(*etag, f"{base}/k").stdout == b"304"
    bucket.put("k", b"other")
    assert curl(*etag, f"{base}/k").stdout == b"other200"


def test_head_list_and_delete(curl: Run, base: str, bucket: MotoBucket) -> None:
    bucket.put("k", b"hello")
    assert b"Content-Length: 5\r\n" in curl("-I", f"{base}/k").stdout
    assert [row["key"] for row in json.loads(curl(f"{base}/").stdout)["objects"]] == ["k"]
    assert curl("-X", "DELETE", f"{base}/k", "-w", "%{http_code}").stdout == b"204"
    assert curl("-f", f"{base}/k").returncode == 22


def test_a_refusal_comes_before_the_body_is_sent(
    curl: Run, server: ServerProcess, base: str, bucket: MotoBucket, large: Path
) -> None:
    bucket.put("there", b"old")
    summary = ["-w", "\n%{http_code} %{size_upload}"]
    done = curl("-T", large, f"{server.url}/files/no-such-bucket/k", *summary)
    assert done.stdout == b'{"detail":"Bucket no-such-bucket does not exist."}\n404 0'
    done = curl("-T", large, "-H", "If-None-Match: *", f"{base}/there", *summary)
    assert done.stdout.endswith(b"\n412 0")
    assert bucket.data("there") == b"old"


@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"], ids=["asking first", "sending at once"])
@pytest.mark.parametrize("source", ["file", "pipe"])
def test_a_refusal_in_mid_body_is_read_every_time(
    curl: Run, server: ServerProcess, base: str, large: Path, source: str, expect: str
) -> None:
    for _ in range(5):
        argument = large if source == "file" else "-"
        done = curl("-T", argument, "-H", expect, f"{base}/a%00b", "-w", "\n%{http_code}", stdin=DATA)
        assert done.stdout == b'{"detail":"The object key has a control character."}\n400'


def test_an_object_over_the_limit_is_refused_by_its_growth(curl: Run, base: str, bucket: MotoBucket) -> None:
    done = curl("-T", "-", f"{base}/k", "-w", "\n%{http_code}", stdin=bytes(65 * MIB))
    assert done.stdout.endswith(b"\n413")
    assert bucket.stored() == []


def test_a_curl_that_is_killed_leaves_nothing(base: str, bucket: MotoBucket, large: Path) -> None:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    command = [program, "--disable", "--silent", "--limit-rate", "8M", "-T", str(large), f"{base}/k"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: bucket.uploads() == 1, "the upload has begun")
        os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: bucket.uploads() == 0, "the upload is aborted", seconds=10)
    assert bucket.stored() == []
