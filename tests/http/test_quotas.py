"""What one principal may use up, end to end: bytes of an object, of a day, of a second; transfers and requests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from s3proxy.access.access_guard import AccessGuard
from s3proxy.access.bandwidth import SLACK
from s3proxy.access.links import Links
from s3proxy.access.quotas import Quotas
from s3proxy.handlers.body import BodyHandler
from s3proxy.ledger.database import Ledger, open_ledger
from s3proxy.service import Service
from tests.http.doors import api_key, bearer, guard_of, links, principal
from tests.http.place import KIB, MIB, Bucket, Call, both
from tests.http.wire import FORM_TYPE, Answer, File, chunked, connect, exchange, form, until

FORM_HEADER = dict([FORM_TYPE.split(": ", 1)])

NAMES = ("alice", "bob")
ALICE, BOB = (bearer(api_key(name)) for name in NAMES)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
TILL_MIDNIGHT = 12 * 3600

DATA = random.Random(5).randbytes(2 * MIB)


class Clock:
    """Unix seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def limited(bounds: str) -> pytest.MarkDecorator:
    """Marks a test in which this is the quota of alice and of bob, each."""
    return pytest.mark.parametrize("bounds", [bounds])


@pytest.fixture
def bounds() -> str:
    """The quota, as the access file has it."""
    return ""


@pytest.fixture
def guard(bounds: str, bucket: Bucket, tmp_path: Path) -> AccessGuard:
    everything = f"read,write,list,delete,share {bucket.name}/**"
    people = [principal(name, everything, extra=f"quota = {{ {bounds} }}") for name in NAMES]
    return guard_of(tmp_path, *people, links())


@pytest.fixture
def clock() -> Clock:
    """What quotas take for the time of day."""
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, io_loop: IOLoop) -> Iterator[Ledger]:
    """What the processes of a machine share, closed after the server has come to rest."""
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    io_loop.run_sync(ledger.close)


@pytest.fixture
def access(guard: AccessGuard, clock: Clock, ledger: Ledger) -> Mapping[str, Any]:
    return {
        "guard": guard,
        "quotas": Quotas(None, clock=clock),
        "ledger": ledger,
        "links": Links(lambda: guard.policy, ledger),
    }


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and code."""
    return answer.status, answer.headers["X-Error-Code"]


LARGE = (413, "too_large")
SPENT = (429, "quota_exceeded")


def lines(headers: Mapping[str, str]) -> list[str]:
    """The headers as `exchange` takes them."""
    return [f"{name}: {value}" for name, value in headers.items()]


# The largest object.


@both
@limited("object_mb = 1")
@pytest.mark.gen_test
async def test_a_larger_object_is_refused_and_not_stored(port: int, call: Call, bucket: Bucket) -> None:
    much = DATA[: MIB + 1]
    path = f"/files/{bucket.name}/k"
    fields = (("bucket_name", bucket.name), ("object_name", "k"))
    answers = [
        await call("PUT", path, body=much, headers=ALICE),
        await exchange(port, "PUT", path, *lines(ALICE), "Transfer-Encoding: chunked", body=chunked(much, 100_000)),
        await exchange(port, "POST", "/files", *lines(ALICE), FORM_TYPE, body=form(*fields, File(much))),
    ]
    assert [refusal(answer) for answer in answers] == [LARGE] * 3
    assert bucket.stored() == []
    just = DATA[:MIB]
    assert (await call("PUT", path, body=just, headers=ALICE)).status == 200
    answer = await call("POST", "/files", body=form(*fields, File(just)), headers={**ALICE, **FORM_HEADER})
    assert (answer.status, bucket.data("k")) == (200, just)


@limited("object_mb = 1")
@pytest.mark.gen_test
async def test_a_larger_object_is_refused_before_it_is_sent(port: int, bucket: Bucket) -> None:
    async with connect(port) as wire:
        length = f"Content-Length: {MIB + 1}"
        await wire.request("PUT", f"/files/{bucket.name}/k", *lines(ALICE), length, "Expect: 100-continue")
        assert (await wire.answer()).status == 413


@limited("object_mb = 1")
@pytest.mark.gen_test
async def test_a_link_takes_no_larger_object_than_its_issuer_may_store(call: Call, bucket: Bucket) -> None:
    share = f"/files/{bucket.name}/k?share&method=PUT&max_size={2 * MIB}"
    url = (await call("POST", share, headers=ALICE)).json["url"]
    target = url[url.index("/files") :]
    assert refusal(await call("PUT", target, body=DATA[: MIB + 1])) == LARGE
    assert (await call("PUT", target, body=DATA[:MIB])).status == 200


@limited("object_mb = 1")
@pytest.mark.gen_test
async def test_what_is_larger_may_be_read(call: Call, bucket: Bucket) -> None:
    bucket.put("k", DATA)
    assert (await call("GET", f"/files/{bucket.name}/k", headers=ALICE)).body == DATA


# Bytes a day.

PART = 600 * KIB
"""More than half of what may be moved in a day."""


@both
@limited("daily_mb = 1")
@pytest.mark.gen_test
async def test_what_does_not_fit_into_the_day_is_refused_until_midnight(
    port: int, call: Call, bucket: Bucket, clock: Clock
) -> None:
    path = f"/files/{bucket.name}/k"
    body = DATA[:PART]
    assert (await call("PUT", path, body=body, headers=ALICE)).status == 200
    fields = (("bucket_name", bucket.name), ("object_name", "l"))
    answers = [
        await call("PUT", f"/files/{bucket.name}/l", body=body, headers=ALICE),
        await exchange(
            port,
            "PUT",
            f"/files/{bucket.name}/l",
            *lines(ALICE),
            "Transfer-Encoding: chunked",
            body=chunked(body, 100_000),
        ),
    ]
    assert [refusal(answer) for answer in answers] == [SPENT] * 2
    assert {answer.headers["Retry-After"] for answer in answers} == {str(TILL_MIDNIGHT)}
    assert {answer.detail for answer in answers} == {"The bytes of the day are spent."}
    assert bucket.stored() == ["k"]
    clock.now += TILL_MIDNIGHT
    assert (await call("PUT", f"/files/{bucket.name}/l", body=body, headers=ALICE)).status == 200
    answer = await exchange(port, "POST", "/files", *lines(ALICE), FORM_TYPE, body=form(*fields, File(body)))
    assert refusal(answer) == SPENT
    assert bucket.data("l") == body


@both
@limited("daily_mb = 1")
@pytest.mark.gen_test
async def test_downloads_count_and_are_refused_too(call: Call, bucket: Bucket, clock: Clock) -> None:
    bucket.put("k", DATA[:PART])
    path = f"/files/{bucket.name}/k"
    assert (await call("GET", path, headers=ALICE)).body == DATA[:PART]
    answer = await call("GET", path, headers=ALICE)
    assert (*refusal(answer), answer.headers["Retry-After"]) == (*SPENT, str(TILL_MIDNIGHT))
    assert refusal(await call("PUT", f"/files/{bucket.name}/l", body=DATA[:PART], headers=ALICE)) == SPENT
    # What fits is sent, and what moves no bytes is answered.
    ranged = await call("GET", path, headers={**ALICE, "Range": "bytes=0-999"})
    assert (ranged.status, ranged.body) == (206, DATA[:1000])
    assert (await call("HEAD", path, headers=ALICE)).status == 200
    assert (await call("GET", f"/files/{bucket.name}/", headers=ALICE)).status == 200
    clock.now += TILL_MIDNIGHT
    assert (await call("GET", path, headers=ALICE)).status == 200


@limited("daily_mb = 1")
@pytest.mark.gen_test
async def test_an_upload_is_refused_in_the_middle_when_another_spent_the_day(
    port: int, call: Call, bucket: Bucket
) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", f"/files/{bucket.name}/slow", *lines(ALICE), f"Content-Length: {PART}", body=b"x")
        assert (await call("PUT", f"/files/{bucket.name}/k", body=DATA[:PART], headers=ALICE)).status == 200
        await wire.send(DATA[: PART - 1])
        answer = await wire.answer()
    assert (*refusal(answer), answer.headers["Retry-After"]) == (*SPENT, str(TILL_MIDNIGHT))
    assert bucket.stored() == ["k"]


@limited("daily_mb = 1")
@pytest.mark.shape(chunk_size=16 * KIB)
@pytest.mark.gen_test
async def test_a_download_breaks_off_when_another_spent_the_day(port: int, call: Call, bucket: Bucket) -> None:
    bucket.put("large", DATA[:MIB])
    async with connect(port, receive_buffer=4 * KIB) as wire:
        await wire.request("GET", f"/files/{bucket.name}/large", *lines(ALICE))
        head = await wire.read_until(b"\r\n\r\n")
        assert f"Content-Length: {MIB}".encode() in head
        # In small pieces, as one that does not fit is not begun.
        statuses = {200}
        while statuses == {200}:
            answer = await call("PUT", f"/files/{bucket.name}/k", body=DATA[: 32 * KIB], headers=ALICE)
            statuses.add(answer.status)
        assert statuses == {200, 429}
        body = await wire.rest()
    assert len(body) < MIB
    assert DATA.startswith(body)


@limited("daily_mb = 1")
@pytest.mark.gen_test
async def test_the_day_of_one_is_not_the_day_of_another(call: Call, bucket: Bucket) -> None:
    path = f"/files/{bucket.name}/k"
    for headers in (ALICE, BOB):
        assert (await call("PUT", path, body=DATA[:PART], headers=headers)).status == 200
        assert (await call("PUT", path, body=DATA[:PART], headers=headers)).status == 429


@limited("daily_mb = 1")
@pytest.mark.gen_test
async def test_a_link_spends_the_day_of_its_issuer(call: Call, bucket: Bucket) -> None:
    bucket.put("k", DATA[:PART])
    url = (await call("POST", f"/files/{bucket.name}/k?share", headers=ALICE)).json["url"]
    target = url[url.index("/files") :]
    assert (await call("GET", target)).body == DATA[:PART]
    assert refusal(await call("GET", target)) == SPENT
    assert refusal(await call("GET", f"/files/{bucket.name}/k", headers=ALICE)) == SPENT
    assert (await call("GET", f"/files/{bucket.name}/k", headers=BOB)).status == 200


class TestSeveralProcesses:
    """The day's bytes are counted in the ledger."""

    @pytest.fixture
    def access(self, access: Mapping[str, Any], ledger: Ledger, clock: Clock) -> Mapping[str, Any]:
        return {**access, "quotas": Quotas(ledger, clock=clock)}

    @limited("daily_mb = 1")
    @pytest.mark.gen_test
    async def test_what_was_spent_at_another_counts(
        self, call: Call, bucket: Bucket, ledger: Ledger, service: Service
    ) -> None:
        path = f"/files/{bucket.name}/k"
        await ledger.add_usage("alice", datetime.fromtimestamp(NOON, UTC).date(), MIB - PART)
        assert (await call("PUT", path, body=DATA[:PART], headers=ALICE)).status == 200
        assert refusal(await call("PUT", path, body=b"x", headers=ALICE)) == SPENT
        assert (await call("PUT", path, body=DATA[:PART], headers=BOB)).status == 200
        await service.quotas.settle()
        assert await ledger.usage("alice", datetime.fromtimestamp(NOON, UTC).date()) == MIB

    @limited("daily_mb = 1")
    @pytest.mark.gen_test
    async def test_while_the_ledger_does_not_answer_no_transfer_begins(
        self, call: Call, bucket: Bucket, ledger: Ledger
    ) -> None:
        bucket.put("k", b"data")
        await ledger.close()
        path = f"/files/{bucket.name}/k"
        for method, body in (("PUT", b"new"), ("GET", None)):
            answer = await call(method, path, body=body, headers=ALICE)
            assert refusal(answer) == (503, "access_unavailable")
        assert (bucket.data("k"), (await call("HEAD", path, headers=ALICE)).status) == (b"data", 200)


# Transfers at once.


@limited("transfers = 1")
@pytest.mark.gen_test
async def test_one_transfer_too_many_is_told_to_come_again(
    port: int, call: Call, bucket: Bucket, service: Service
) -> None:
    bucket.put("there", b"data")
    there = f"/files/{bucket.name}/there"
    async with connect(port) as wire:
        await wire.request("PUT", f"/files/{bucket.name}/k", *lines(ALICE), "Content-Length: 4", body=b"ab")
        await until(lambda: service.traffic.transfers == 1)
        for method, target in (("GET", there), ("PUT", there), ("POST", "/files")):
            answer = await call(method, target, body=None if method == "GET" else b"new", headers=ALICE)
            assert refusal(answer) == SPENT
            assert int(answer.headers["Retry-After"]) > 0
        # What moves no object, and another's transfers, are served.
        assert (await call("HEAD", there, headers=ALICE)).status == 200
        assert (await call("GET", f"/files/{bucket.name}/", headers=ALICE)).status == 200
        assert (await call("GET", there, headers=BOB)).status == 200
        await wire.send(b"cd")
        assert (await wire.answer()).status == 200
    assert (await call("GET", there, headers=ALICE)).body == b"data"


@both
@limited("transfers = 1")
@pytest.mark.gen_test
async def test_a_transfer_that_ends_makes_room_however_it_ends(
    port: int, call: Call, bucket: Bucket, service: Service
) -> None:
    bucket.put("k", b"data")
    path = f"/files/{bucket.name}/k"
    target = f"/files/{bucket.name}/new"
    for method, where, extra, body, status in (
        ("GET", path, {}, None, 200),
        ("GET", path + "2", {}, None, 404),
        ("GET", path, {"If-Match": '"x"'}, None, 412),
        ("GET", path, {"Range": "bytes=100-"}, None, 416),
        ("PUT", target, {}, b"new", 200),
        ("PUT", target, {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, b"new", 400),
        ("PUT", "/files/no-such-bucket/k", {}, b"new", 403),
        ("POST", "/files", FORM_HEADER, b"no form", 400),
        ("POST", path, {}, b"", 405),
        ("PUT", f"/files/{bucket.name}/../k", {}, b"new", 400),
    ):
        answer = await call(method, where, body=body, headers={**ALICE, **extra})
        assert answer.status == status, (method, where)
        await until(lambda: service.traffic.transfers == 0)
    for method, where in (("PUT", target), ("POST", "/files"), ("GET", path)):
        async with connect(port) as wire:
            length = [] if method == "GET" else ["Content-Length: 1000000"]
            await wire.request(method, where, *lines(ALICE), FORM_TYPE, *length, body=b"--" if length else b"")
            await until(lambda: service.traffic.transfers > 0 or not length)  # noqa: B023 - called at once
            wire.reset()

        async def is_room() -> bool:
            return (await call("GET", path, headers=ALICE)).body == b"data"

        await until(is_room)


@limited("transfers = 1")
@pytest.mark.shape(chunk_size=16 * KIB)
@pytest.mark.gen_test
async def test_a_client_that_leaves_in_the_middle_of_a_download_makes_room(
    port: int, call: Call, bucket: Bucket, service: Service
) -> None:
    bucket.put("k", DATA * 8)
    bucket.put("small", b"data")
    small = f"/files/{bucket.name}/small"
    async with connect(port, receive_buffer=4 * KIB) as wire:
        await wire.request("GET", f"/files/{bucket.name}/k", *lines(ALICE))
        await wire.read_until(b"\r\n\r\n")
        wire.stop_reading()
        assert (await call("GET", small, headers=ALICE)).status == 429
        wire.reset()
    await until(lambda: service.traffic.transfers == 0)
    assert (await call("GET", small, headers=ALICE)).body == b"data"


@limited("transfers = 1")
@pytest.mark.gen_test
async def test_a_link_takes_a_transfer_of_its_issuer(port: int, call: Call, bucket: Bucket, service: Service) -> None:
    bucket.put("k", b"data")
    path = f"/files/{bucket.name}/k"
    url = (await call("POST", f"{path}?share&method=PUT", headers=ALICE)).json["url"]
    async with connect(port) as wire:
        await wire.request("PUT", url[url.index("/files") :], "Content-Length: 4", body=b"ab")
        await until(lambda: service.traffic.transfers == 1)
        assert (await call("GET", path, headers=ALICE)).status == 429
        assert (await call("GET", path, headers=BOB)).status == 200
        wire.reset()
    await until(lambda: service.traffic.transfers == 0)


# Requests per second.


@limited("requests_per_second = 0.01")
@pytest.mark.gen_test
async def test_one_request_too_many_is_told_when_to_come_again(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"data")
    path = f"/files/{bucket.name}/k"
    assert (await call("GET", path, headers=ALICE)).status == 200
    body = form(("bucket_name", bucket.name), ("object_name", "k"), File(b"new"))
    answers = [
        await call("GET", path, headers=ALICE),
        await call("PUT", path, body=b"new", headers=ALICE),
        await call("DELETE", path, headers=ALICE),
        await call("GET", f"/files/{bucket.name}/", headers=ALICE),
        await call("GET", "/links", headers=ALICE),
        await call("POST", f"{path}?share", headers=ALICE),
        await call("POST", "/files", body=body, headers={**ALICE, **FORM_HEADER}),
    ]
    assert [refusal(answer) for answer in answers] == [SPENT] * len(answers)
    assert {answer.detail for answer in answers} == {"Too many requests. Try again later."}
    # Of the hundred seconds that one request is for, few have passed.
    assert all(70 < int(answer.headers["Retry-After"]) <= 100 for answer in answers)
    assert bucket.data("k") == b"data"
    assert (await call("GET", path, headers=BOB)).status == 200
    assert (await call("GET", "/healthz")).status == 200


@limited("requests_per_second = 5")
@pytest.mark.gen_test
async def test_the_requests_of_a_second_may_come_at_once(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"data")
    answers = await asyncio.gather(*(call("HEAD", f"/files/{bucket.name}/k", headers=ALICE) for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5


# Bandwidth.

RATE = 512 * KIB
MOVED = 256 * KIB


@both
@limited(f"bandwidth_kb = {RATE // KIB}")
@pytest.mark.parametrize("way", ["PUT", "GET"])
@pytest.mark.gen_test
async def test_bytes_move_no_faster_than_they_may(call: Call, bucket: Bucket, service: Service, way: str) -> None:
    body = DATA[:MOVED]
    bucket.put("there", body)
    quantum = RATE * SLACK
    loop = asyncio.get_running_loop()
    began = loop.time()
    if way == "PUT":
        assert (await call("PUT", f"/files/{bucket.name}/k", body=body, headers=ALICE)).status == 200
    else:
        assert (await call("GET", f"/files/{bucket.name}/there", headers=ALICE)).body == body
    took = loop.time() - began
    assert RATE * (took + SLACK) + quantum >= MOVED
    # The rate is for alice: bob has one of his own.
    assert (await call("GET", f"/files/{bucket.name}/there", headers={**BOB, "Range": "bytes=0-9"})).status == 206


BURST = 80 * KIB


def has_received(request: BodyHandler, size: int) -> bool:
    return request.received >= size


@both
@limited("bandwidth_kb = 4_000")
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.gen_test
async def test_what_comes_while_a_chunk_waits_for_its_turn_does_not_take_its_place(
    port: int, bucket: Bucket, service: Service, framing: str
) -> None:
    body = chunked(DATA, len(DATA)) if framing == "chunked" else DATA
    coding = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(DATA)}"
    async with connect(port) as wire:
        await wire.request("PUT", f"/files/{bucket.name}/k", *lines(ALICE), coding)
        await until(lambda: service.traffic.transfers == 1)
        (request,) = service.traffic._requests
        assert isinstance(request, BodyHandler)
        for sent in range(0, len(body), BURST):
            # The last one has come, and waits.
            await until(partial(has_received, request, sent - KIB))
            await wire.send(body[sent : sent + BURST])
        assert (await wire.answer()).status == 200
    assert bucket.data("k") == DATA
