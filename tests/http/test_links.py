"""Share links, end to end: what a link opens, what it does not, and all that ends it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from tornado.ioloop import IOLoop

from s3proxy.access.access_guard import AccessGuard
from s3proxy.access.links import Links
from s3proxy.access.snapshot import Policy
from s3proxy.errors import StoreRefused
from s3proxy.ledger.database import Ledger, open_ledger
from s3proxy.observe.log import JsonFormatter
from s3proxy.service import Service
from tests.fakes import FaultyStore, Gate
from tests.http.doors import api_key, bearer, guard_of, principal
from tests.http.place import KIB, Bucket, Call, both
from tests.http.wire import BOUNDARY, FORM_TYPE, Answer, File, chunked, connect, exchange, form, until

FORM_HEADER = dict([FORM_TYPE.split(": ", 1)])
ALICE, BOB, BOSS = (bearer(api_key(name)) for name in ("alice", "bob", "boss"))

REFUSED = b'{"detail":"A valid credential is needed."}'
NOT_ALLOWED = b'{"detail":"Not allowed."}'

NEW_SECRET, SECRET = (base64.b64encode(text * 32).decode() for text in (b"n", b"o"))

ALL = "read,write,list,delete,share"


class Clock:
    """Unix seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class GatedLedger:
    """A ledger that stops at a gate in the calls a test names, before or after they take effect."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.gates: dict[str, Gate] = {}

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._ledger, name)

        async def gated(*arguments: Any) -> Any:
            if name in self.gates:
                await self.gates[name].strike()
            return await call(*arguments)

        return gated

    def hang(self, call: str) -> Gate:
        """This call stops from now on."""
        self.gates[call] = Gate()
        return self.gates[call]


def signed_with(*secrets: str) -> str:
    """The section about links, with these secrets."""
    return f"[links]\nsecrets = {json.dumps(secrets)}\nlongest_days = 30\n"


def household(bucket: str, *, alice: str = ALL, secrets: tuple[str, ...] = (SECRET,)) -> list[str]:
    """An access file: alice and bob have a home each, boss has everything, the others less than they need."""
    home = f"{bucket}/home"
    return [
        principal("alice", f"{alice} {home}/alice/**"),
        principal("bob", f"{ALL} {home}/bob/**"),
        principal("boss", f"{ALL} */**"),
        principal("unsharing", f"read,write,list,delete {home}/alice/**"),
        principal("only-sharing", f"share,list {home}/alice/**"),
        principal("sharing-writes", f"share,write {home}/alice/**"),
        principal("one-segment", f"share,write {home}/alice/*"),
        *([signed_with(*secrets)] if secrets else []),
    ]


@pytest.fixture
def clock() -> Clock:
    """What the links take for the time."""
    return Clock()


@pytest.fixture
def guard(bucket: Bucket, tmp_path: Path) -> AccessGuard:
    return guard_of(tmp_path, *household(bucket.name))


@pytest.fixture
def ledger(tmp_path: Path, io_loop: IOLoop) -> Iterator[Ledger]:
    """Where the links are kept, closed after the server has come to rest."""
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    io_loop.run_sync(ledger.close)


@pytest.fixture
def gated(ledger: Ledger) -> GatedLedger:
    return GatedLedger(ledger)


@pytest.fixture
def access(guard: AccessGuard, gated: GatedLedger, ledger: Ledger, clock: Clock) -> Mapping[str, Any]:
    return {"guard": guard, "links": Links(lambda: guard.policy, gated, clock), "ledger": ledger}


class Shared:
    """A link that was made: its `id` and `token`, and the `target` to ask our server for."""

    def __init__(self, answer: Answer) -> None:
        self.id = str(answer.json["id"])
        self.url = str(answer.json["url"])
        self.expires = datetime.fromisoformat(answer.json["expires"])
        parts = urlsplit(self.url)
        self.token = parse_qs(parts.query)["link"][0]
        self.target = f"{parts.path}?{parts.query}"

    def on(self, path: str) -> str:
        """The link's token shown somewhere else."""
        return f"{path}{'&' if '?' in path else '?'}link={self.token}"


class Share:
    """Makes links, as alice unless told otherwise."""

    def __init__(self, call: Call, bucket: Bucket) -> None:
        self._call = call
        self._bucket = bucket

    async def ask(self, key: str, headers: Mapping[str, str] = ALICE, **query: object) -> Answer:
        """The answer to who wants a link."""
        arguments = "".join("&" + urlencode({name: value}) for name, value in query.items())
        return await self._call("POST", f"/files/{self._bucket.name}/{quote(key)}?share{arguments}", headers=headers)

    async def __call__(self, key: str, headers: Mapping[str, str] = ALICE, **query: object) -> Shared:
        answer = await self.ask(key, headers, **query)
        assert answer.status == 200, answer.body
        return Shared(answer)


@pytest.fixture
def share(call: Call, bucket: Bucket) -> Share:
    return Share(call, bucket)


Used = Callable[[Shared], Awaitable[int]]


@pytest.fixture
def uses(ledger: Ledger) -> Used:
    """How often a link was used, as the ledger has it."""

    async def uses(link: Shared) -> int:
        record = await ledger.link(link.id)
        assert record is not None
        return record.uses

    return uses


KEY = "home/alice/report.txt"
DATA = bytes(range(256)) * 4


# Links to download.


@both
@pytest.mark.gen_test
async def test_a_link_fetches_its_object_without_a_credential(
    call: Call, bucket: Bucket, share: Share, base_url: str, clock: Clock
) -> None:
    bucket.put(KEY, DATA)
    answer = await share.ask(KEY)
    link = Shared(answer)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert set(answer.json) == {"detail", "status_code", "url", "id", "expires"}
    assert link.url == f"{base_url}/files/{bucket.name}/{KEY}?link={link.token}"
    assert link.expires == datetime.fromtimestamp(int(clock.now) + 86_400, UTC)
    got = await call("GET", link.target)
    assert (got.status, got.body) == (200, DATA)
    # No cache may hand it on to who has no link.
    assert got.headers["Cache-Control"] == "private, no-cache"
    assert got.headers["Referrer-Policy"] == "no-referrer"
    head = await call("HEAD", link.target)
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(DATA)))
    part = await call("GET", link.target, headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, DATA[10:20])
    unchanged = await call("GET", link.target, headers={"If-None-Match": got.headers["ETag"]})
    assert unchanged.status == 304
    by_query = await call("GET", link.on(f"/files?bucket_name={bucket.name}&object_name={KEY}"))
    assert by_query.body == DATA


@both
@pytest.mark.parametrize("name", ["ü ö+%2F.txt", "a?b=c&d#e.txt", "'\"<b>\\;.txt", "deep//er/x", "日本", "a/"])
@pytest.mark.gen_test
async def test_a_link_can_be_for_any_key(call: Call, bucket: Bucket, share: Share, name: str) -> None:
    key = "home/alice/" + name
    if key.endswith("/"):
        key += "x/y"
    bucket.put(key, DATA)
    link = await share(key)
    assert link.url.isascii()
    assert (await call("GET", link.target)).body == DATA


@both
@pytest.mark.gen_test
async def test_a_link_to_download_opens_nothing_else(call: Call, bucket: Bucket, share: Share) -> None:
    bucket.put(KEY, DATA)
    bucket.put("home/alice/other", b"other")
    link = await share(KEY)
    home = f"/files/{bucket.name}/home/alice"
    body = form(("bucket_name", bucket.name), ("object_name", KEY), File(b"new"))
    tries = {
        "another object": await call("GET", link.on(f"{home}/other")),
        "one that is not there": await call("GET", link.on(f"{home}/nothing")),
        "one that begins so": await call("GET", link.on(f"/files/{bucket.name}/{KEY}2")),
        "one that ends so": await call("GET", link.on(f"/files/{bucket.name}/x/{KEY}")),
        "another, by query": await call(
            "GET", link.on(f"/files?bucket_name={bucket.name}&object_name=home/alice/other")
        ),
        "the same in another bucket": await call("GET", link.on(f"/files/another-bucket/{KEY}")),
        "a change": await call("PUT", link.target, body=b"new"),
        "a change by form": await call("POST", link.on("/files"), body=body, headers=FORM_HEADER),
        "its end": await call("DELETE", link.target),
        "the listing": await call("GET", link.on(f"/files/{bucket.name}/")),
        "the listing of it": await call("GET", link.on(f"/files/{bucket.name}/?prefix={KEY}")),
        "a link": await call("POST", link.on(f"/files/{bucket.name}/{KEY}?share")),
        "the links": await call("GET", link.on("/links")),
    }
    assert {name: answer.status for name, answer in tries.items()} == dict.fromkeys(tries, 403)
    assert {answer.body for answer in tries.values()} == {NOT_ALLOWED}
    assert (await call("DELETE", link.on(f"/links/{link.id}"))).status == 404
    assert (await call("GET", link.target)).body == DATA  # It was not revoked so.
    assert sorted(bucket.stored()) == ["home/alice/other", KEY]


# What ends a link.


class World:
    """All that a link depends on."""

    def __init__(self, call: Call, bucket: Bucket, guard: AccessGuard, clock: Clock, directory: Path) -> None:
        self.call = call
        self._bucket = bucket
        self._guard = guard
        self.clock = clock
        self._directory = directory

    def change(self, **changes: Any) -> None:
        """Put another access file in force, as a reload does."""
        self._guard.policy = guard_of(self._directory, *household(self._bucket.name, **changes)).policy

    def without_alice(self) -> None:
        """The access file, and alice has left it."""
        self._guard.policy = guard_of(self._directory, *household(self._bucket.name)[1:]).policy

    @property
    def policy(self) -> Policy:
        """The one in force."""
        return self._guard.policy


@pytest.fixture
def world(call: Call, bucket: Bucket, guard: AccessGuard, clock: Clock, tmp_path: Path) -> World:
    return World(call, bucket, guard, clock, tmp_path)


async def expires(world: World, link: Shared) -> None:
    world.clock.now += 86_400


async def is_revoked(world: World, link: Shared) -> None:
    assert (await world.call("DELETE", f"/links/{link.id}", headers=ALICE)).status == 204


async def issuer_may_no_longer_read(world: World, link: Shared) -> None:
    world.change(alice="write,list,delete,share")


async def issuer_may_no_longer_share(world: World, link: Shared) -> None:
    world.change(alice="read,write,list,delete")


async def issuer_left(world: World, link: Shared) -> None:
    world.without_alice()


async def secret_was_rotated_out(world: World, link: Shared) -> None:
    world.change(secrets=(NEW_SECRET,))


async def links_were_switched_off(world: World, link: Shared) -> None:
    world.change(secrets=())


ENDS = (
    expires,
    is_revoked,
    issuer_may_no_longer_read,
    issuer_may_no_longer_share,
    issuer_left,
    secret_was_rotated_out,
    links_were_switched_off,
)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: str(end.__name__))
@pytest.mark.gen_test
async def test_a_link_is_worth_nothing_when_it(
    call: Call, bucket: Bucket, share: Share, world: World, end: Callable[[World, Shared], Awaitable[None]]
) -> None:
    bucket.put(KEY, DATA)
    link, other = await share(KEY), await share(KEY, BOSS)
    assert (await call("GET", link.target)).status == 200
    await end(world, link)
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = await call(method, link.target, body=b"new" if method == "PUT" else None)
        assert (answer.status, answer.body) == (401, b"" if method == "HEAD" else REFUSED)
        assert answer.headers["X-Error-Code"] == "unauthorized"
    assert bucket.data(KEY) == DATA
    # What ends this link of alice's leaves boss's, but for what ends all.
    all_end = end in (expires, secret_was_rotated_out, links_were_switched_off)
    assert (await call("GET", other.target)).status == (401 if all_end else 200)


@pytest.mark.gen_test
async def test_a_link_lives_until_the_second_it_was_told_to(
    call: Call, bucket: Bucket, share: Share, clock: Clock
) -> None:
    bucket.put(KEY, DATA)
    link = await share(KEY, expires=60)
    assert link.expires.timestamp() == int(clock.now + 60)
    clock.now = link.expires.timestamp() - 0.5
    assert (await call("GET", link.target)).status == 200
    clock.now = link.expires.timestamp()
    assert (await call("GET", link.target)).status == 401


@pytest.mark.gen_test
async def test_a_right_that_comes_back_brings_its_links_back(
    call: Call, bucket: Bucket, share: Share, world: World
) -> None:
    bucket.put(KEY, DATA)
    link = await share(KEY)
    world.change(alice="list")
    assert (await call("GET", link.target)).status == 401
    world.change()
    assert (await call("GET", link.target)).status == 200


@pytest.mark.gen_test
async def test_the_older_of_two_secrets_still_verifies_and_the_newer_signs(
    call: Call, bucket: Bucket, share: Share, world: World
) -> None:
    bucket.put(KEY, DATA)
    old = await share(KEY)
    world.change(secrets=(NEW_SECRET, SECRET))
    assert (await call("GET", old.target)).body == DATA
    new = await share(KEY)
    world.change(secrets=(NEW_SECRET,))
    assert (await call("GET", new.target)).body == DATA
    assert (await call("GET", old.target)).status == 401


def forgeries(token: str, other: str) -> dict[str, str]:
    """Texts that are not the token, though some are close."""
    version, terms, mac = token.split(".")
    text = base64.urlsafe_b64decode(terms + "=" * (-len(terms) % 4))
    fields = json.loads(text)
    longer = [*fields[:5], fields[5] + 1_000_000, *fields[6:]]
    writes = [fields[0], "write", *fields[2:]]

    def encoded(fields: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")

    assert encoded(fields) == terms  # Else what follows would be refused for its form.
    last = "A" if mac[-1] != "A" else "B"
    return {
        "a longer life": f"{version}.{encoded(longer)}.{mac}",
        "another action": f"{version}.{encoded(writes)}.{mac}",
        "another link's signature": f"{version}.{terms}.{other.rpartition('.')[2]}",
        "another signature": f"{version}.{terms}.{mac[:-1]}{last}",
        "no signature": f"{version}.{terms}.",
        "no signature and no dot": f"{version}.{terms}",
        "half a signature": f"{version}.{terms}.{mac[:20]}",
        "another version": f"2.{terms}.{mac}",
        "capitals": token.upper(),
        "padding": token + "=",
        "a space": token + " ",
        "something before": "x" + token,
        "nothing but dots": "..",
        "no text": "\x00",
        "other letters": "üß",
        "very much": "1." + "x" * 9000 + "." + mac,
    }


@pytest.mark.gen_test
async def test_a_token_that_was_touched_is_refused_like_any_other(port: int, bucket: Bucket, share: Share) -> None:
    bucket.put(KEY, DATA)
    link, other = await share(KEY), await share("home/alice/other")
    path = f"/files/{bucket.name}/{KEY}"
    assert (await exchange(port, "GET", f"{path}?link={quote(link.token, safe='')}")).status == 200
    for name, token in forgeries(link.token, other.token).items():
        answer = await exchange(port, "GET", f"{path}?link={quote(token, safe='')}")
        assert (answer.status, answer.body) == (401, REFUSED), name
        # Browsers ask for a password when told of Basic; who has a link has none.
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="s3proxy"'


@pytest.mark.gen_test
async def test_two_tokens_are_none(call: Call, bucket: Bucket, share: Share) -> None:
    bucket.put(KEY, DATA)
    link, other = await share(KEY), await share("home/alice/other")
    assert (await call("GET", f"{link.target}&link={other.token}")).status == 400
    assert (await call("GET", f"{link.target}&link={link.token}")).status == 200


@pytest.mark.gen_test
async def test_beside_a_credential_the_link_decides(call: Call, bucket: Bucket, share: Share) -> None:
    bucket.put(KEY, DATA)
    bucket.put("home/bob/k", b"bob's")
    link = await share(KEY)
    # A credential that is wrong, or opens nothing here, does no harm.
    for headers in (bearer(api_key("nobody")), BOB, {"Authorization": "nonsense"}):
        assert (await call("GET", link.target, headers=headers)).body == DATA
    # One that would open what the link does not is not looked at.
    assert (await call("GET", link.on(f"/files/{bucket.name}/home/bob/k"), headers=BOB)).status == 403
    assert (await call("PUT", link.target, body=b"new", headers=ALICE)).status == 403
    assert (await call("GET", f"/files/{bucket.name}/{KEY}?link=forged", headers=ALICE)).status == 401
    # An empty one is none.
    assert (await call("GET", f"/files/{bucket.name}/{KEY}?link=", headers=ALICE)).status == 200


@pytest.mark.gen_test
async def test_while_the_ledger_does_not_answer_nobody_is_let_in(
    call: Call, bucket: Bucket, share: Share, ledger: Ledger
) -> None:
    bucket.put(KEY, DATA)
    link = await share(KEY)
    await ledger.close()
    answer = await call("GET", link.target)
    assert (answer.status, answer.headers["X-Error-Code"]) == (503, "access_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await share.ask(KEY)).status == 503
    assert (await call("GET", f"/files/{bucket.name}/{KEY}", headers=ALICE)).body == DATA


# Links to upload.

INBOX = "home/alice/inbox/"


async def put(call: Call, target: str, body: bytes = b"new", **headers: str) -> Answer:
    """Upload by PUT. Names of headers have `_` for `-`."""
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return await call("PUT", target, body=body, headers=given)


def form_target(link: Shared, bucket: Bucket, key: str) -> str:
    """Where the page of an upload link sends its form."""
    return link.on("/files?" + urlencode({"bucket_name": bucket.name, "object_name": key}))


async def post(call: Call, link: Shared, bucket: Bucket, key: str, *files: File) -> Answer:
    """Upload by a form, as the page of the link does."""
    return await call("POST", form_target(link, bucket, key), body=form(*files), headers=FORM_HEADER)


@both
@pytest.mark.gen_test
async def test_an_upload_link_stores_its_object_by_put_and_by_form(call: Call, bucket: Bucket, share: Share) -> None:
    link = await share(KEY, method="PUT")
    answer = await put(call, link.target, b"by put")
    assert (answer.status, bucket.data(KEY)) == (200, b"by put")
    answer = await post(call, link, bucket, KEY, File(b"by form"))
    assert (answer.status, bucket.data(KEY)) == (200, b"by form")
    fields = (("object_name", KEY), ("bucket_name", bucket.name))
    body = form(File(b"file first"), *fields)
    answer = await call("POST", link.on("/files"), body=body, headers=FORM_HEADER)
    assert (answer.status, bucket.data(KEY)) == (200, b"file first")
    body = form(*fields, File(b"fields first"))
    answer = await call("POST", link.on("/files"), body=body, headers=FORM_HEADER)
    assert (answer.status, bucket.data(KEY)) == (200, b"fields first")
    assert bucket.stored() == [KEY]


@both
@pytest.mark.gen_test
async def test_a_link_for_a_prefix_stores_anything_under_it(call: Call, bucket: Bucket, share: Share) -> None:
    link = await share(INBOX, method="PUT")
    place = f"/files/{bucket.name}/{INBOX}"
    assert (await put(call, link.on(place + "a"))).status == 200
    assert (await put(call, link.on(place + "deep/er/b"))).status == 200
    answer = await post(call, link, bucket, INBOX, File(b"c", file_name="c"), File(b"d", file_name="d"))
    assert [row["status_code"] for row in answer.json["files"]] == [200, 200]
    assert (await post(call, link, bucket, INBOX + "deep/", File(b"e", file_name="e"))).status == 200
    assert sorted(bucket.stored()) == [INBOX + name for name in ("a", "c", "d", "deep/e", "deep/er/b")]


@both
@pytest.mark.gen_test
async def test_a_link_for_a_prefix_replaces_nothing_and_its_use_is_given_back(
    call: Call, bucket: Bucket, share: Share
) -> None:
    bucket.put(INBOX + "taken", DATA)
    link = await share(INBOX, method="PUT", uses=1)
    answer = await put(call, link.on(f"/files/{bucket.name}/{INBOX}taken"))
    assert (answer.status, answer.detail) == (412, "There is a file of this name already.")
    assert (await post(call, link, bucket, INBOX + "taken", File(b"new"))).status == 412
    assert bucket.data(INBOX + "taken") == DATA
    assert (await put(call, link.on(f"/files/{bucket.name}/{INBOX}free"))).status == 200


@both
@pytest.mark.gen_test
async def test_an_upload_link_stores_nowhere_else(call: Call, bucket: Bucket, share: Share) -> None:
    one, many = await share(KEY, method="PUT"), await share(INBOX, method="PUT")
    elsewhere = (KEY + "2", "home/alice/other", "home/alice/inboxes/k", "home/alice/inbox", "home/bob/k", "k")
    for link in (one, many):
        for key in elsewhere:
            assert (await put(call, link.on(f"/files/{bucket.name}/{key}"))).status == 403, key
            assert (await post(call, link, bucket, key, File(b"new"))).status == 403, key
            body = form(File(b"new"), ("bucket_name", bucket.name), ("object_name", key))
            assert (await call("POST", link.on("/files"), body=body, headers=FORM_HEADER)).status == 403, key
    assert (await post(call, one, bucket, KEY + "/", File(b"new"))).status == 403
    assert (await post(call, one, bucket, "home/alice/", File(b"new", file_name="other"))).status == 403
    for dots in ("../../bob/k", "%2e%2e/x", "a/../../x", "./x"):
        assert (await put(call, many.on(f"/files/{bucket.name}/{INBOX}{dots}"))).status == 400, dots
    assert (await put(call, many.on(f"/files/another-bucket/{INBOX}k"))).status == 403
    assert bucket.stored() == []


@both
@pytest.mark.gen_test
async def test_an_upload_link_reads_and_removes_nothing(call: Call, bucket: Bucket, share: Share) -> None:
    bucket.put(KEY, DATA)
    bucket.put(INBOX + "k", DATA)
    for link, key in ((await share(KEY, method="PUT"), KEY), (await share(INBOX, method="PUT"), INBOX + "k")):
        target = link.on(f"/files/{bucket.name}/{key}")
        for method, accept in (("GET", "*/*"), ("HEAD", "*/*"), ("HEAD", "text/html"), ("DELETE", "text/html")):
            answer = await call(method, target, headers={"Accept": accept})
            assert (answer.status, DATA in answer.body) == (403, False), (method, accept)
        answer = await call("GET", target, headers={"Accept": "text/html", "Range": "bytes=0-9"})
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert DATA[:10] not in answer.body
        query = f"/files?bucket_name={bucket.name}&object_name={key}"
        for accept in ("*/*", "text/html"):
            assert (await call("GET", link.on(query), headers={"Accept": accept})).status == 403
        for listing in (f"/files/{bucket.name}/", f"/files/{bucket.name}/?prefix={INBOX}"):
            assert (await call("GET", link.on(listing), headers={"Accept": "text/html"})).status == 403
        assert (await call("POST", link.on(f"/files/{bucket.name}/{key}?share"))).status == 403
        assert (await call("POST", link.on(f"/files/{bucket.name}/{key}?share&method=PUT"))).status == 403
    assert bucket.data(KEY) == bucket.data(INBOX + "k") == DATA


LIMIT = 3 * KIB


@both
@pytest.mark.gen_test
async def test_more_bytes_than_the_link_takes_are_refused_and_not_stored(
    port: int, call: Call, bucket: Bucket, share: Share
) -> None:
    link = await share(KEY, method="PUT", max_size=LIMIT)
    much = b"x" * (LIMIT + 1)
    page = form_target(link, bucket, KEY)
    late = form(File(much), ("bucket_name", bucket.name), ("object_name", KEY))
    answers = {
        "declared": await put(call, link.target, much),
        "chunked": await exchange(port, "PUT", link.target, "Transfer-Encoding: chunked", body=chunked(much, 1000)),
        "in a form": await exchange(port, "POST", page, FORM_TYPE, body=form(File(much))),
        "in a form that names it last": await exchange(port, "POST", link.on("/files"), FORM_TYPE, body=late),
    }
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(answers, 413)
    assert {answer.headers["X-Error-Code"] for answer in answers.values()} == {"too_large"}
    assert bucket.stored() == []
    just = b"x" * LIMIT
    assert (await put(call, link.target, just)).status == 200
    assert (await post(call, link, bucket, KEY, File(just))).status == 200
    assert bucket.data(KEY) == just


@pytest.mark.gen_test
async def test_a_declared_length_over_the_links_is_refused_before_it_is_sent(port: int, share: Share) -> None:
    link = await share(KEY, method="PUT", max_size=LIMIT)
    async with connect(port) as wire:
        await wire.request("PUT", link.target, f"Content-Length: {LIMIT + 1}", "Expect: 100-continue")
        assert (await wire.answer()).status == 413


TYPES = {
    "image/png": 200,
    "IMAGE/PNG": 200,
    "image/png; a=b": 200,
    "application/pdf": 200,
    "text/html": 415,
    "application/pdfs": 415,
    "application/x-pdf": 415,
    "image": 415,
    "image/png, text/html": 415,
}


@both
@pytest.mark.parametrize(("content_type", "status"), TYPES.items())
@pytest.mark.gen_test
async def test_a_link_takes_only_the_types_it_was_made_for(
    call: Call, bucket: Bucket, share: Share, content_type: str, status: int
) -> None:
    link = await share(INBOX, method="PUT", types="image/*, application/pdf")
    answers = [
        await put(call, link.on(f"/files/{bucket.name}/{INBOX}k"), Content_Type=content_type),
        await post(call, link, bucket, INBOX + "l", File(b"new", content_type=content_type)),
        await post(call, link, bucket, INBOX, File(b"new", content_type=content_type)),
    ]
    assert [answer.status for answer in answers] == [status] * 3
    assert len(bucket.stored()) == (3 if status == 200 else 0)
    if status == 415:
        assert {answer.headers["X-Error-Code"] for answer in answers[:2]} == {"type_not_allowed"}
        assert answers[0].detail == "This link does not take objects of this type."


# A number of uses.


@both
@pytest.mark.gen_test
async def test_a_link_for_one_use_is_over_after_it(call: Call, bucket: Bucket, share: Share, uses: Used) -> None:
    link = await share(KEY, method="PUT", uses=1)
    assert (await put(call, link.target, b"first")).status == 200
    answers = [
        await put(call, link.target, b"second"),
        await post(call, link, bucket, KEY, File(b"second")),
        await call("GET", link.target, headers={"Accept": "text/html"}),
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(401, REFUSED)}
    assert (bucket.data(KEY), await uses(link)) == (b"first", 1)


@pytest.mark.gen_test
async def test_to_look_at_the_page_is_no_use(call: Call, share: Share, uses: Used) -> None:
    link = await share(KEY, method="PUT", uses=1)
    for _ in range(3):
        assert (await call("GET", link.target, headers={"Accept": "text/html"})).status == 200
    assert await uses(link) == 0


@both
@pytest.mark.gen_test
async def test_every_file_of_a_form_is_a_use(call: Call, bucket: Bucket, share: Share, uses: Used) -> None:
    link = await share(INBOX, method="PUT", uses=2)
    files = [File(name.encode(), file_name=name) for name in ("one", "two", "three")]
    answer = await post(call, link, bucket, INBOX, *files)
    assert answer.status == 401
    assert [row["status_code"] for row in answer.json["files"]] == [200, 200, 401]
    assert sorted(bucket.stored()) == [INBOX + "one", INBOX + "two"]
    assert await uses(link) == 2
    assert (await post(call, link, bucket, INBOX, File(b"x", file_name="x"))).status == 401


Failure = Callable[[Call, int, Bucket, Shared], Awaitable[Answer]]


async def too_large(call: Call, port: int, bucket: Bucket, link: Shared) -> Answer:
    return await put(call, link.target, b"x" * (LIMIT + 1))


async def too_large_and_undeclared(call: Call, port: int, bucket: Bucket, link: Shared) -> Answer:
    return await exchange(
        port, "PUT", link.target, "Transfer-Encoding: chunked", body=chunked(b"x" * (LIMIT + 1), 1000)
    )


async def of_another_type(call: Call, port: int, bucket: Bucket, link: Shared) -> Answer:
    return await put(call, link.target, Content_Type="text/html")


async def damaged(call: Call, port: int, bucket: Bucket, link: Shared) -> Answer:
    return await put(call, link.target, Content_MD5=base64.b64encode(bytes(16)).decode())


async def on_a_false_condition(call: Call, port: int, bucket: Bucket, link: Shared) -> Answer:
    return await put(call, link.target, If_Match='"another"')


async def an_empty_form(call: Call, port: int, bucket: Bucket, link: Shared) -> Answer:
    return await post(call, link, bucket, KEY, File(b""))


async def a_form_without_an_end(call: Call, port: int, bucket: Bucket, link: Shared) -> Answer:
    body = form(File(b"new"))[:-20]
    return await exchange(port, "POST", form_target(link, bucket, KEY), FORM_TYPE, body=body)


async def a_form_with_two_files(call: Call, port: int, bucket: Bucket, link: Shared) -> Answer:
    return await post(call, link, bucket, KEY, File(b"one"), File(b"two"))


FAILURES: dict[Failure, int] = {
    too_large: 413,
    too_large_and_undeclared: 413,
    of_another_type: 415,
    damaged: 400,
    on_a_false_condition: 412,
    an_empty_form: 400,
    a_form_without_an_end: 400,
    a_form_with_two_files: 400,
}


@pytest.mark.parametrize(("fail", "status"), FAILURES.items(), ids=[failure.__name__ for failure in FAILURES])
@pytest.mark.gen_test
async def test_an_upload_that_fails_gives_its_use_back(
    call: Call, port: int, bucket: Bucket, share: Share, uses: Used, fail: Failure, status: int
) -> None:
    link = await share(KEY, method="PUT", uses=1, max_size=LIMIT, types="text/plain")
    answer = await fail(call, port, bucket, link)
    assert (answer.status, bucket.stored()) == (status, [])

    async def is_free() -> bool:
        return await uses(link) == 0

    await until(is_free)
    assert (await put(call, link.target, Content_Type="text/plain")).status == 200
    assert (await put(call, link.target, Content_Type="text/plain")).status == 401


@pytest.mark.parametrize("size", [10, 200 * KIB], ids=["in one request", "in parts"])
@pytest.mark.gen_test
async def test_an_upload_that_the_store_refuses_gives_its_use_back(
    call: Call, bucket: Bucket, faulty: FaultyStore, share: Share, uses: Used, size: int
) -> None:
    link = await share(KEY, method="PUT", uses=1)
    faulty.fail("put" if size == 10 else "create_upload", StoreRefused(reason="AccessDenied"))
    assert (await put(call, link.target, b"x" * size)).status == 502

    async def is_free() -> bool:
        return await uses(link) == 0

    await until(is_free)
    assert (await put(call, link.target)).status == 200


@pytest.mark.gen_test
async def test_of_a_forms_files_those_that_fail_give_their_use_back(
    call: Call, bucket: Bucket, share: Share, uses: Used
) -> None:
    link = await share(INBOX, method="PUT", uses=3, max_size=LIMIT)
    files = [
        File(b"one", file_name="one"),
        File(b"x" * (LIMIT + 1), file_name="two"),
        File(b"three", file_name="three"),
    ]
    answer = await post(call, link, bucket, INBOX, *files)
    assert [row["status_code"] for row in answer.json["files"]] == [200, 413, 200]

    async def are_two() -> bool:
        return await uses(link) == 2

    await until(are_two)


@pytest.mark.gen_test
async def test_of_a_form_that_breaks_off_the_files_that_were_stored_are_used(
    port: int, bucket: Bucket, share: Share, uses: Used, service: Service
) -> None:
    link = await share(INBOX, method="PUT", uses=2)
    body = form(File(b"one", file_name="one"), File(b"two", file_name="two"))
    broken = body[: -len(BOUNDARY) - 20]
    answer = await exchange(port, "POST", form_target(link, bucket, INBOX), FORM_TYPE, body=broken)
    assert (answer.status, bucket.stored()) == (400, [INBOX + "one"])
    await until(lambda: len(service.traffic) == 0)
    assert await service.cleanup.wait(10)
    assert await uses(link) == 1


@pytest.mark.gen_test
async def test_of_two_uploads_at_once_one_has_the_last_use(
    call: Call, port: int, bucket: Bucket, share: Share, uses: Used
) -> None:
    link = await share(KEY, method="PUT", uses=1)

    async def is_taken() -> bool:
        return await uses(link) == 1

    async with connect(port) as wire:
        await wire.request("PUT", link.target, "Content-Length: 5", body=b"fi")
        await until(is_taken)
        assert (await put(call, link.target, b"second")).status == 401
        await wire.send(b"rst")
        assert (await wire.answer()).status == 200
    assert (bucket.data(KEY), await uses(link)) == (b"first", 1)


@pytest.mark.gen_test
async def test_of_many_uploads_that_race_as_many_win_as_there_are_uses(
    call: Call, bucket: Bucket, share: Share
) -> None:
    link = await share(INBOX, method="PUT", uses=3)
    place = f"/files/{bucket.name}/{INBOX}"
    answers = await asyncio.gather(*(put(call, link.on(f"{place}{number}")) for number in range(10)))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [401] * 7
    assert len(bucket.stored()) == 3


@both
@pytest.mark.parametrize("way", ["PUT", "POST"])
@pytest.mark.parametrize("size", [KIB, 6 * 1024 * KIB], ids=["small", "in parts"])
@pytest.mark.gen_test
async def test_a_client_that_leaves_gives_its_use_back(
    call: Call, port: int, bucket: Bucket, share: Share, uses: Used, way: str, size: int
) -> None:
    link = await share(KEY, method="PUT", uses=1)

    async def is_taken() -> bool:
        return await uses(link) == 1

    async def is_free() -> bool:
        return await uses(link) == 0

    async with connect(port) as wire:
        body = b"x" * size if way == "PUT" else form(File(b"x" * size))[: -len(BOUNDARY) - 20]
        target = link.target if way == "PUT" else form_target(link, bucket, KEY)
        await wire.request(way, target, FORM_TYPE, f"Content-Length: {len(body) + 10_000}", body=body)
        await until(is_taken)
        wire.reset()
        await until(is_free)
    assert bucket.stored() == []
    assert (await put(call, link.target)).status == 200


@pytest.mark.gen_test
async def test_a_client_that_leaves_while_its_use_is_taken_gives_it_back(
    port: int, share: Share, uses: Used, gated: GatedLedger, service: Service
) -> None:
    link = await share(KEY, method="PUT", uses=1)
    gate = gated.hang("claim")
    async with connect(port) as wire:
        await wire.request("PUT", link.target, "Content-Length: 10")
        await gate.reached.wait()
        wire.reset()
    refunding = gated.hang("refund")
    refunding.open()
    gate.open()
    await asyncio.wait_for(refunding.reached.wait(), 10)

    async def is_free() -> bool:
        return await uses(link) == 0

    await until(is_free)
    await until(lambda: len(service.traffic) == 0)


@pytest.mark.parametrize("size", [10, 200 * KIB], ids=["in one request", "in parts"])
@pytest.mark.gen_test
async def test_a_client_that_leaves_when_all_was_sent_has_used_what_is_stored(
    port: int, bucket: Bucket, faulty: FaultyStore, share: Share, uses: Used, service: Service, size: int
) -> None:
    link = await share(KEY, method="PUT", uses=1)
    gate = faulty.hang("put" if size == 10 else "complete_upload")
    async with connect(port) as wire:
        await wire.request("PUT", link.target, f"Content-Length: {size}", body=b"x" * size)
        await gate.reached.wait()
        wire.reset()
        await until(lambda: len(service.traffic) == 0)
    gate.open()
    assert await service.cleanup.wait(10)
    # The store was past the point of return.
    assert (bucket.stored(), await uses(link)) == ([KEY], 1)


@pytest.mark.gen_test
async def test_a_client_that_leaves_when_all_was_sent_gives_its_use_back_when_the_store_refuses(
    port: int, bucket: Bucket, faulty: FaultyStore, share: Share, uses: Used, service: Service
) -> None:
    link = await share(KEY, method="PUT", uses=1)
    gate = faulty.hang("put")
    faulty.fail("put", StoreRefused(reason="AccessDenied"))
    async with connect(port) as wire:
        await wire.request("PUT", link.target, "Content-Length: 3", body=b"new")
        await gate.reached.wait()
        wire.reset()
        await until(lambda: len(service.traffic) == 0)
    gate.open()

    async def is_free() -> bool:
        return await uses(link) == 0

    await until(is_free)
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_a_client_that_leaves_while_its_link_is_looked_up_leaves_nothing_behind(
    call: Call, port: int, bucket: Bucket, share: Share, gated: GatedLedger, service: Service
) -> None:
    bucket.put(KEY, DATA)
    link = await share(KEY)
    gate = gated.hang("link")
    async with connect(port) as wire:
        await wire.request("GET", link.target)
        await gate.reached.wait()
        wire.reset()
    gate.open()
    assert (await call("GET", link.target)).body == DATA
    await until(lambda: len(service.traffic) == service.traffic.transfers == 0)


# The page of an upload link.


@both
@pytest.mark.gen_test
async def test_a_person_who_opens_an_upload_link_sees_a_form_that_works(
    call: Call, bucket: Bucket, share: Share
) -> None:
    key = 'home/alice/Grüße & "Küsse" <b>+%.txt'
    bucket.put(key, b"what is there already")
    link = await share(key, method="PUT", max_size=LIMIT, types="text/plain,image/*")
    page = await call("GET", link.target, headers={"Accept": "text/html,application/xhtml+xml"})
    html = page.body.decode()
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "what is there" not in html
    assert "<b>+%" not in html  # It names the key, as text.
    assert key in unescape(html)
    assert (str(LIMIT) in html, 'accept="text/plain,image/*"' in html, " multiple" in html) == (True, True, False)
    assert "form-action 'self'" in page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    action = re.search(r'<form method="post" enctype="multipart/form-data" action="([^"]*)"', html)
    assert action is not None
    field = re.search(r'<input type="file" name="([^"]*)"', html)
    assert field is not None
    body = form(File(b"new", name=field[1], file_name="what they call it.txt"))
    answer = await call("POST", unescape(action[1]), body=body, headers=FORM_HEADER)
    assert (answer.status, bucket.data(key), len(bucket.stored())) == (200, b"new", 1)


@pytest.mark.gen_test
async def test_the_page_of_a_prefix_sends_several_files(call: Call, bucket: Bucket, share: Share) -> None:
    link = await share(INBOX, method="PUT")
    page = await call("GET", link.target, headers={"Accept": "text/html"})
    html = page.body.decode()
    action = re.search(r'action="([^"]*)"', html)
    assert (page.status, " multiple" in html, action is not None) == (200, True, True)
    assert action is not None
    body = form(File(b"1", file_name="one"), File(b"2", file_name="two"))
    assert (await call("POST", unescape(action[1]), body=body, headers=FORM_HEADER)).status == 200
    assert sorted(bucket.stored()) == [INBOX + "one", INBOX + "two"]


@pytest.mark.gen_test
async def test_there_is_no_page_for_what_the_link_is_not_for(call: Call, bucket: Bucket, share: Share) -> None:
    link = await share(KEY, method="PUT")
    for path in (f"/files/{bucket.name}/other", f"/files/{bucket.name}/home/alice/", f"/files/{bucket.name}/"):
        assert (await call("GET", link.on(path), headers={"Accept": "text/html"})).status == 403, path
    # Nor for who comes by another way: that is a download.
    bucket.put(KEY, DATA)
    got = await call("GET", f"/files/{bucket.name}/{KEY}", headers={**ALICE, "Accept": "text/html"})
    assert got.body == DATA


# Who may make a link, and what of.

WRITES: Mapping[str, object] = {"method": "PUT"}

MAKERS: Mapping[tuple[str, str], tuple[int, int, int]] = {
    # who, where: to download it, to upload it, to upload under it
    ("alice", KEY): (200, 200, 200),
    ("alice", "home/bob/k"): (403, 403, 403),
    ("boss", "home/bob/k"): (200, 200, 200),
    ("unsharing", KEY): (403, 403, 403),
    ("only-sharing", KEY): (403, 403, 403),
    ("sharing-writes", KEY): (403, 200, 200),
    # A prefix is for those who may it all.
    ("one-segment", KEY): (403, 200, 403),
}


@both
@pytest.mark.parametrize(("who", "key"), MAKERS)
@pytest.mark.gen_test
async def test_to_share_takes_the_right_to_share_and_the_right_itself(
    bucket: Bucket, share: Share, who: str, key: str
) -> None:
    headers = bearer(api_key(who))
    answers = [
        await share.ask(key, headers),
        await share.ask(key, headers, method="PUT"),
        await share.ask(key + "/", headers, method="PUT"),
    ]
    assert tuple(answer.status for answer in answers) == MAKERS[who, key]
    assert {answer.body for answer in answers if answer.status == 403} <= {NOT_ALLOWED}


@pytest.mark.gen_test
async def test_a_stranger_makes_no_link(share: Share) -> None:
    assert (await share.ask(KEY, {})).status == 401


WRONG: Mapping[str, Mapping[str, object]] = {
    "another method": {"method": "DELETE"},
    "a method in small letters": {"method": "get"},
    "no time": {"expires": 0},
    "a time before": {"expires": -1},
    "a time that is no number": {"expires": "tomorrow"},
    "a time of other digits": {"expires": "٣"},
    "too long a time": {"expires": 31 * 86_400},
    "a very long time": {"expires": "9" * 400},
    "a size for a download": {"max_size": 10},
    "types for a download": {"types": "text/plain"},
    "uses of a download": {"uses": 1},
    "no uses": {"uses": 0, "method": "PUT"},
    "half a use": {"uses": 0.5, "method": "PUT"},
    "no size": {"max_size": 0, "method": "PUT"},
    "what is no type": {"types": "pdf", "method": "PUT"},
    "every type": {"types": "*/*", "method": "PUT"},
    "a type with a quote": {"types": 'a/"b', "method": "PUT"},
}


@pytest.mark.parametrize("query", WRONG.values(), ids=WRONG)
@pytest.mark.gen_test
async def test_a_link_that_means_nothing_is_not_made(call: Call, share: Share, query: Mapping[str, object]) -> None:
    answer = await share.ask(KEY, ALICE, **query)
    assert (answer.status, answer.headers["X-Error-Code"]) == (400, "bad_request")
    assert (await call("GET", "/links", headers=ALICE)).json == {"links": []}


@pytest.mark.gen_test
async def test_a_link_to_download_is_for_one_object(share: Share) -> None:
    answer = await share.ask(INBOX)
    assert (answer.status, answer.detail) == (400, "A link to download is for one object; this path is a prefix.")


@pytest.mark.gen_test
async def test_a_post_that_asks_for_no_link_stores_nothing(call: Call, bucket: Bucket) -> None:
    answer = await call("POST", f"/files/{bucket.name}/{KEY}", body=b"new", headers=ALICE)
    assert (answer.status, answer.headers["Allow"], bucket.stored()) == (405, "GET, HEAD, PUT, DELETE", [])
    answer = await call("POST", f"/files/{bucket.name}/{KEY}?share", body=b"new", headers=ALICE)
    assert (answer.status, bucket.stored()) == (400, [])


@pytest.mark.gen_test
async def test_a_link_can_be_for_what_is_not_there_yet(call: Call, bucket: Bucket, share: Share) -> None:
    link = await share(KEY)
    assert (await call("GET", link.target)).status == 404
    bucket.put(KEY, DATA)
    assert (await call("GET", link.target)).body == DATA


@pytest.mark.gen_test
async def test_two_links_for_the_same_are_two_links(call: Call, bucket: Bucket, share: Share) -> None:
    bucket.put(KEY, DATA)
    one, two = await share(KEY), await share(KEY)
    assert one.id != two.id
    assert (await call("DELETE", f"/links/{one.id}", headers=ALICE)).status == 204
    assert (await call("GET", one.target)).status == 401
    assert (await call("GET", two.target)).status == 200


# The links one has made.


@both
@pytest.mark.gen_test
async def test_ones_own_links_are_listed_with_what_they_are_for(
    call: Call, bucket: Bucket, share: Share, clock: Clock
) -> None:
    began = int(clock.now)
    first = await share(KEY, expires=1000)
    clock.now += 10
    second = await share(INBOX, method="PUT", uses=2, expires=100)
    others = await share("home/bob/k", BOB)
    await put(call, second.on(f"/files/{bucket.name}/{INBOX}k"))
    assert (await call("DELETE", f"/links/{first.id}", headers=ALICE)).status == 204
    answer = await call("GET", "/links", headers=ALICE)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")

    def at(seconds: int) -> str:
        return datetime.fromtimestamp(began + seconds, UTC).isoformat()

    both = {"bucket": bucket.name}
    newest = {"id": second.id, "method": "PUT", "key": INBOX, "created": at(10), "expires": at(110)}
    oldest = {"id": first.id, "method": "GET", "key": KEY, "created": at(0), "expires": at(1000)}
    assert answer.json["links"] == [
        both | newest | {"uses": 1, "uses_allowed": 2, "revoked": False},
        both | oldest | {"uses": 0, "uses_allowed": None, "revoked": True},
    ]
    # The secret was told once.
    for link in (first, second):
        assert link.token.encode() not in answer.body
        assert link.token.rpartition(".")[2].encode() not in answer.body
    assert [row["id"] for row in (await call("GET", "/links/", headers=BOB)).json["links"]] == [others.id]
    clock.now += 200
    assert [row["id"] for row in (await call("GET", "/links", headers=ALICE)).json["links"]] == [first.id]


@pytest.mark.gen_test
async def test_anothers_link_is_as_good_as_none_to_revoke(call: Call, bucket: Bucket, share: Share) -> None:
    bucket.put(KEY, DATA)
    link = await share(KEY)
    theirs = await call("DELETE", f"/links/{link.id}", headers=BOB)
    nobodys = await call("DELETE", f"/links/{'0' * 24}", headers=BOB)
    assert theirs.status == nobodys.status == 404
    assert theirs.body == nobodys.body == b'{"detail":"Not found."}'
    assert (await call("DELETE", f"/links/{link.id}")).status == 401
    assert (await call("GET", link.target)).body == DATA
    # Who may share the same may end it.
    assert (await call("DELETE", f"/links/{link.id}", headers=BOSS)).status == 204
    assert (await call("GET", link.target)).status == 401


@pytest.mark.gen_test
async def test_to_revoke_twice_is_to_revoke_once(call: Call, share: Share) -> None:
    link = await share(KEY)
    for _ in range(2):
        assert (await call("DELETE", f"/links/{link.id}", headers=ALICE)).status == 204


@pytest.mark.gen_test
async def test_a_link_that_is_revoked_in_the_middle_of_an_upload_stores_no_other(
    call: Call, port: int, bucket: Bucket, share: Share, uses: Used
) -> None:
    link = await share(INBOX, method="PUT", uses=5)

    async def is_taken() -> bool:
        return await uses(link) == 1

    async with connect(port) as wire:
        await wire.request("PUT", link.on(f"/files/{bucket.name}/{INBOX}k"), "Content-Length: 4", body=b"ab")
        await until(is_taken)
        assert (await call("DELETE", f"/links/{link.id}", headers=ALICE)).status == 204
        assert (await put(call, link.on(f"/files/{bucket.name}/{INBOX}l"))).status == 401
        # What had begun goes on.
        await wire.send(b"cd")
        assert (await wire.answer()).status == 200
    assert bucket.stored() == [INBOX + "k"]


# The URL, and the log.


@pytest.mark.gen_test
async def test_without_a_public_url_the_link_is_for_the_host_the_client_named(port: int, bucket: Bucket) -> None:
    async with connect(port) as wire:
        credential = ALICE["Authorization"]
        await wire.send(
            f"POST /files/{bucket.name}/{KEY}?share HTTP/1.1\r\nHost: files.example:8443\r\n"
            f"Authorization: {credential}\r\n\r\n".encode()
        )
        assert Shared(await wire.answer()).url.startswith(f"http://files.example:8443/files/{bucket.name}/{KEY}?link=")


class TestWithAPublicUrl:
    """A service that knows how clients reach it."""

    @pytest.fixture
    def access(self, access: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**access, "public_url": "https://files.example/s3"}

    @pytest.mark.gen_test
    async def test_the_link_is_for_it_whatever_the_client_says(self, share: Share, bucket: Bucket) -> None:
        link = await share(KEY, {**ALICE, "Host": "evil.example", "X-Forwarded-Host": "evil.example"})
        assert link.url == f"https://files.example/s3/files/{bucket.name}/{KEY}?link={link.token}"


class TestWithoutLinks:
    """A service that has no ledger."""

    @pytest.fixture
    def access(self, guard: AccessGuard) -> Mapping[str, Any]:
        return {"guard": guard}

    @pytest.mark.gen_test
    async def test_no_link_is_made_and_none_is_good(self, call: Call, bucket: Bucket, share: Share) -> None:
        bucket.put(KEY, DATA)
        for answer in (
            await share.ask(KEY),
            await call("GET", "/links", headers=ALICE),
            await call("DELETE", "/links/x", headers=ALICE),
        ):
            assert (answer.status, answer.detail) == (403, "Links are not configured.")
        answer = await call("GET", f"/files/{bucket.name}/{KEY}?link=x")
        assert (answer.status, answer.body) == (401, REFUSED)


@pytest.mark.gen_test
async def test_no_log_line_holds_a_token_or_a_key(
    call: Call,
    port: int,
    bucket: Bucket,
    faulty: FaultyStore,
    share: Share,
    world: World,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    bucket.put(KEY, DATA)
    links = [
        await share(KEY),
        await share(KEY, method="PUT", max_size=LIMIT),
        await share(INBOX, method="PUT", uses=1),
        await share(KEY, BOSS),
    ]
    for link in links:
        await call("GET", link.target, headers={"Accept": "text/html"})
        await call("HEAD", link.target, headers=ALICE)
        await put(call, link.target)
        await put(call, link.target, b"x" * (LIMIT + 1))
        await call("DELETE", link.target)
        await call("FOO", link.target)
        await call("POST", link.on("/files"), body=form(File(b"x")), headers=FORM_HEADER)
        await call("POST", link.on("/files"), body=b"no form", headers=FORM_HEADER)
        await call("GET", link.on("/nowhere"))
        await call("GET", link.on("/links"))
        await call("GET", link.on(f"/files/{bucket.name}/%zz"))
        await exchange(port, "GET", link.target, "Content-Length: 5, 6", body=b"hello")
        faulty.fail("open", StoreRefused(reason="AccessDenied"))
        faulty.fail("put", StoreRefused(reason="AccessDenied"))
        await call("GET", link.target)
        await put(call, link.target)
        async with connect(port) as wire:
            await wire.request("PUT", link.target, "Content-Length: 100", body=b"x")
            wire.reset()
        async with connect(port) as wire:
            await wire.request("GET", link.target + " x")
            await wire.rest()
    await is_revoked(world, links[0])
    await issuer_left(world, links[1])
    for link in links:
        await call("GET", link.target)
    lines = "".join(JsonFormatter().format(record) + str(record.__dict__) for record in caplog.records)
    assert all(link.id in lines for link in links)
    for link in links:
        assert link.token not in lines
        assert link.token.rpartition(".")[2] not in lines
    for name in ("alice", "boss"):
        assert api_key(name) not in lines
