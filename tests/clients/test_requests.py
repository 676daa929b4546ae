"""Python requests, which reads an answer only when it has sent everything."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.http.place import KIB, MIB, MotoBucket
from tests.process import ServerProcess

DATA = random.Random(3).randbytes(12 * MIB)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """One that keeps its connections, and takes no proxy from the environment."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


def pieces(size: int) -> Iterator[bytes]:
    """The data from a generator: a body of unknown length."""
    for start in range(0, size, 100 * KIB):
        yield DATA[start : min(start + 100 * KIB, size)]


@pytest.mark.parametrize("size", [5, len(DATA)])
def test_a_form_stores_a_file(session: requests.Session, server: ServerProcess, bucket: MotoBucket, size: int) -> None:
    fields = {"bucket_name": bucket.name, "object_name": "dir/ü k"}
    answer = session.post(f"{server.url}/files", data=fields, files={"file_request": ("a.bin", DATA[:size])})
    assert (answer.status_code, answer.text) == (200, '{"detail":"File uploaded successfully","status_code":200}')
    assert bucket.data("dir/ü k") == DATA[:size]


def test_a_generator_is_put(session: requests.Session, base: str, bucket: MotoBucket) -> None:
    answer = session.put(f"{base}/k", data=pieces(len(DATA)))
    assert (answer.status_code, answer.json()["size"]) == (200, len(DATA))
    assert bucket.data("k") == DATA


def test_an_open_file_is_put(session: requests.Session, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    with (tmp_path / "file").open("rb") as file:
        assert session.put(f"{base}/k", data=file).status_code == 200
    assert bucket.data("k") == DATA


def test_a_download_is_streamed(session: requests.Session, base: str, bucket: MotoBucket) -> None:
    bucket.put("k", DATA)
    with session.get(f"{base}/k", stream=True) as answer:
        assert answer.headers["Content-Length"] == str(len(DATA))
        assert b"".join(answer.iter_content(MIB)) == DATA


def test_all_calls_work_one_after_the_other(session: requests.Session, base: str, bucket: MotoBucket) -> None:
    for number in range(3):
        assert session.put(f"{base}/k", data=f"{number}").status_code == 200
        assert session.get(f"{base}/k").text == f"{number}"
        assert session.head(f"{base}/nothing").status_code == 404
        assert session.get(f"{base}/").json()["objects"][0]["size"] == 1
        assert session.delete(f"{base}/k").status_code == 204


def test_a_refusal_in_mid_body_is_read_every_time(session: requests.Session, base: str) -> None:
    for _ in range(5):
        answer = session.put(f"{base}/a%00b", data=pieces(len(DATA)))
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (400, "invalid_key")
        answer = session.put(f"{base}/a%00b", data=DATA)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (400, "invalid_key")
