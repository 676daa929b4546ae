"""What the log says of every decision and transfer: who, what, which key, how much, with what outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import access_fields
from tests.http.doors import api_key, bearer, guard_of, principal
from tests.http.place import Bucket, Call
from tests.http.wire import FORM_TYPE, File, form, until

Log = Callable[[], list[Mapping[str, Any]]]
ALICE = bearer(api_key("alice"))


@pytest.fixture
def access(tmp_path: Path) -> Mapping[str, Any]:
    return {"guard": guard_of(tmp_path, principal("alice", "read,write,list,delete photos/home/**"))}


def parts(line: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in names)


async def only_line(access_log: Log) -> Mapping[str, Any]:
    """The one line, which is written when the answer is on its way."""
    await until(lambda: bool(access_log()))
    (line,) = access_log()
    return line


WHO = ("principal", "via", "action", "bucket", "key", "decision", "status", "outcome")


@pytest.mark.gen_test
async def test_an_upload_has_a_line_with_who_what_how_much_and_its_checksum(
    call: Call, bucket: Bucket, access_log: Log
) -> None:
    answer = await call("PUT", "/files/photos/home/k", body=b"hello", headers=ALICE)
    line = await only_line(access_log)
    assert parts(line, *WHO) == ("alice", "key", "write", "photos", "home/k", "allow", 200, "completed")
    assert parts(line, "size", "received", "client") == (5, 5, "127.0.0.1")
    assert line["checksum"] == "crc64nvme:" + answer.json["crc64nvme"]
    assert line["seconds"] >= 0


@pytest.mark.gen_test
async def test_a_download_has_one_with_the_bytes_sent(call: Call, bucket: Bucket, access_log: Log) -> None:
    bucket.put("home/k", b"hello")
    await call("GET", "/files/photos/home/k", headers=ALICE)
    line = await only_line(access_log)
    assert parts(line, *WHO) == ("alice", "key", "read", "photos", "home/k", "allow", 200, "completed")
    assert line["sent"] == 5


@pytest.mark.gen_test
async def test_a_refusal_has_one_that_says_what_was_wanted(call: Call, bucket: Bucket, access_log: Log) -> None:
    await call("DELETE", "/files/photos/away/k", headers=ALICE)
    line = await only_line(access_log)
    assert parts(line, *WHO) == ("alice", "key", "delete", "photos", "away/k", "deny", 403, "forbidden")


@pytest.mark.gen_test
async def test_a_listing_is_of_a_prefix(call: Call, bucket: Bucket, access_log: Log) -> None:
    await call("GET", "/files/photos/?prefix=home/", headers=ALICE)
    line = await only_line(access_log)
    assert parts(line, *WHO) == ("alice", "key", "list", "photos", "home/", "allow", 200, "completed")


@pytest.mark.gen_test
async def test_a_stranger_has_a_line_without_a_name(call: Call, bucket: Bucket, access_log: Log) -> None:
    await call("GET", "/files/photos/home/k")
    line = await only_line(access_log)
    assert parts(line, "principal", "status", "outcome") == (None, 401, "unauthorized")


@pytest.mark.gen_test
async def test_every_file_of_a_form_has_a_line_of_its_own(
    call: Call, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    fields = (("bucket_name", "photos"), ("object_name", "home/"))
    body = form(*fields, File(b"one", "a"), File(b"three", "b"))
    headers = {**ALICE, "Content-Type": FORM_TYPE.partition(": ")[2]}
    answer = await call("POST", "/files", body=body, headers=headers)
    assert answer.status == 200, answer.body
    await until(lambda: "request" in caplog.messages)
    lines = [access_fields(record) for record in caplog.records if record.getMessage() == "object"]
    assert [parts(line, "principal", "action", "key", "decision", "size") for line in lines] == [
        ("alice", "write", "home/a", "allow", 3),
        ("alice", "write", "home/b", "allow", 5),
    ]
    assert all(line["checksum"].startswith("crc64nvme:") for line in lines)


@pytest.mark.gen_test
async def test_a_wrong_credential_is_told_apart_in_the_log_only(
    call: Call, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answer = await call("GET", "/files/photos/home/k", headers=bearer("s3p_" + "x" * 43))
    nothing = await call("GET", "/files/photos/home/k")
    assert (answer.status, answer.body) == (nothing.status, nothing.body)
    assert "credential refused" in [record.getMessage() for record in caplog.records]
