"""Who may do what, end to end: principals, actions and keys over HTTP, against a real S3 client and moto.

The table says for each key what each principal may do; everything it does not say is refused, and leaves the bucket as
it was. Keys are written as they stand in the request target.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from s3proxy.access.access_guard import AccessGuard
from s3proxy.service import Service
from tests.http.doors import api_key, bearer, guard_of, principal, without_ids
from tests.http.place import Bucket, Call, both
from tests.http.wire import Answer, connect, until

KEYS: Mapping[str, Mapping[str, str]] = {
    # r read, w write, d delete, s share
    "home/alice/a.txt": {"alice": "rwds", "auditor": "r", "admin": "rwds"},
    "home/alice/deep/er/b.txt": {"alice": "rwds", "auditor": "r", "admin": "rwds"},
    "home/alice/%C3%BC%20b+c.txt": {"alice": "rwds", "auditor": "r", "admin": "rwds"},
    # Other spellings of the first.
    "home/alice%2Fa.txt": {"alice": "rwds", "auditor": "r", "admin": "rwds"},
    "home/%61lice/a.txt": {"alice": "rwds", "auditor": "r", "admin": "rwds"},
    "%68ome%2F%61lice%2Fa.txt": {"alice": "rwds", "auditor": "r", "admin": "rwds"},
    # What only looks like alice's.
    "home/bob/a.txt": {"auditor": "r", "admin": "rwds"},
    "home/bob%2Falice%2Fa.txt": {"auditor": "r", "admin": "rwds"},
    "home/alicex/a.txt": {"auditor": "r", "admin": "rwds"},
    "home/alice": {"auditor": "r", "admin": "rwds"},
    "home/ALICE/a.txt": {"auditor": "r", "admin": "rwds"},
    "home//alice/a.txt": {"auditor": "r", "admin": "rwds"},
    "/home/alice/a.txt": {"auditor": "r", "admin": "rwds"},
    "home/%2561lice/a.txt": {"auditor": "r", "admin": "rwds"},
    "home/alice%252Fa.txt": {"auditor": "r", "admin": "rwds"},
    "home/alice%5C..%5Cbob/a.txt": {"auditor": "r", "admin": "rwds"},
    "home/%7Bprincipal%7D/a.txt": {"auditor": "r", "admin": "rwds"},
    "home/*/a.txt": {"auditor": "r", "admin": "rwds"},
    # A star does not cross a slash.
    "public/a.txt": {"alice": "r", "auditor": "r", "admin": "rwds"},
    "public/deep/b.txt": {"auditor": "r", "admin": "rwds"},
    "public/deep%2Fb.txt": {"auditor": "r", "admin": "rwds"},
    # Where one may leave things and not look at them.
    "inbox/x": {"dropbox": "w", "auditor": "r", "admin": "rwds"},
    "inbox/deep/x": {"dropbox": "w", "auditor": "r", "admin": "rwds"},
    "outbox/x": {"auditor": "r", "admin": "rwds"},
}

MEANINGLESS = (
    "home/alice/../bob/a.txt",
    "home/alice/%2e%2e/bob/a.txt",
    "home/alice/.%2E/bob/a.txt",
    "home/alice/..%2Fbob%2Fa.txt",
    "home/bob/..%2falice/a.txt",
    "home/alice/./a.txt",
    "home/alice/..",
    "home/alice/%00",
    "home/alice/a%0d%0aX-Evil:%201",
    "home/alice/%ff",
    "home/alice/%",
    "home/alice/" + "x" * 1100,
)
"""No key at all: 400 for everyone who may come in."""

LISTS: Mapping[str, set[str]] = {
    "": {"auditor", "admin"},
    "home/": {"auditor", "admin"},
    "home/alice": {"auditor", "admin"},
    "home/alice/": {"alice", "auditor", "admin"},
    "home/alice/deep": {"alice", "auditor", "admin"},
    "home/alicex": {"auditor", "admin"},
    "public/": {"auditor", "admin"},
    "inbox/": {"auditor", "admin"},
}

STRANGERS = {"nobody at all": {}, "a wrong key": bearer(api_key("mallory"))}
KNOWN = ("alice", "auditor", "dropbox", "idle", "admin")
CONTENT = b"the secret content of "
NEW = b"put there by the test"


@pytest.fixture
def guard(bucket: Bucket, tmp_path: Path) -> AccessGuard:
    return guard_of(
        tmp_path,
        principal(
            "alice",
            f"read,write,list,delete,share {bucket.name}/home/{{principal}}/**",
            f"read,list {bucket.name}/public/*",
        ),
        principal("auditor", f"read,list {bucket.name}/**"),
        principal("dropbox", f"write {bucket.name}/inbox/**"),
        principal("idle"),
        principal("admin", "read,write,list,delete,share */**"),
    )


@pytest.fixture
def access(guard: AccessGuard) -> Mapping[str, Any]:
    return {"guard": guard}


def decoded(target: str) -> str:
    return unquote(target)


async def attempt(call: Call, bucket: Bucket, target: str, action: str, headers: Mapping[str, str]) -> Answer:
    path = f"/files/{bucket.name}/{target}"
    match action:
        case "GET" | "HEAD" | "DELETE":
            return await call(action, path, headers=headers)
        case "PUT":
            return await call("PUT", path, body=NEW, headers=headers)
        case "share":
            return await call("POST", path + "?share", headers=headers)
    query = f"bucket_name={bucket.name}&object_name={quote(decoded(target), safe='')}"
    if action == "GET by query":
        return await call("GET", f"/files?{query}", headers=headers)
    form = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("bucket_name", bucket.name), ("object_name", decoded(target)))
    )
    form += '--b\r\nContent-Disposition: form-data; name="file_request"; filename="f"\r\n\r\n'
    body = form.encode() + NEW + b"\r\n--b--\r\n"
    content = {"Content-Type": "multipart/form-data; boundary=b"}
    return await call("POST", "/files", body=body, headers={**headers, **content})


ACTIONS = {
    "GET": "r",
    "HEAD": "r",
    "GET by query": "r",
    "share": "s",
    "PUT": "w",
    "POST of a form": "w",
    "DELETE": "d",
}


def combinations() -> int:
    return len(KEYS) * len(ACTIONS) * (len(KNOWN) + len(STRANGERS))


def test_the_table_has_at_least_two_hundred_combinations() -> None:
    assert combinations() > 200


@pytest.mark.parametrize("backend", ["moto"], indirect=True)
@pytest.mark.parametrize("who", KNOWN)
@pytest.mark.gen_test
async def test_a_principal_may_what_the_table_says_and_nothing_else(call: Call, bucket: Bucket, who: str) -> None:
    contents = {decoded(target): CONTENT + target.encode() for target in KEYS}
    for key, content in contents.items():
        bucket.put(key, content)
    for target, allowed in KEYS.items():
        key = decoded(target)
        for action, letter in ACTIONS.items():
            answer = await attempt(call, bucket, target, action, bearer(api_key(who)))
            case = (who, action, target, answer.status, answer.body[:80])
            if letter in allowed.get(who, ""):
                if letter in "wd":
                    assert bucket.data(key) == (NEW if letter == "w" else None), case
                    bucket.put(key, contents[key])
                # No links are configured in this file: whoever may share is told so, after the decision.
                expected = {"DELETE": 204, "share": 403}.get(action, 200)
                assert answer.status == expected, case
                if action == "share":
                    assert answer.json["detail"] == "Links are not configured.", case
            else:
                assert answer.status == 403, case
                assert CONTENT not in answer.body, case
                if action != "HEAD":
                    assert answer.body == b'{"detail":"Not allowed."}', case
    assert {key: bucket.data(key) for key in bucket.stored()} == contents


@pytest.mark.parametrize("backend", ["moto"], indirect=True)
@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.gen_test
async def test_a_stranger_is_asked_who_they_are_whatever_they_want(call: Call, bucket: Bucket, stranger: str) -> None:
    for target in KEYS:
        bucket.put(decoded(target), CONTENT)
    answers = set()
    for target in [*KEYS, *MEANINGLESS[:2]]:
        for action in ACTIONS:
            answer = await attempt(call, bucket, target, action, STRANGERS[stranger])
            # A guessed key is throttled after a while; the answer is a refusal all the same.
            assert answer.status == 401 or (stranger == "a wrong key" and answer.status == 429), (action, target)
            answers.add((answer.status, answer.body if action != "HEAD" else b""))
            if answer.status == 401:
                assert answer.headers["WWW-Authenticate"]
    assert all(bucket.data(decoded(target)) == CONTENT for target in KEYS)
    assert len(answers) <= 2 if stranger == "nobody at all" else len(answers) <= 4


@pytest.mark.parametrize("who", ["alice", "admin", "idle"])
@pytest.mark.parametrize("target", MEANINGLESS)
@pytest.mark.gen_test
async def test_what_has_two_meanings_is_no_key_for_anyone(call: Call, bucket: Bucket, who: str, target: str) -> None:
    bucket.put("home/bob/a.txt", CONTENT)
    bucket.put("home/alice/a.txt", CONTENT)
    for action in ("GET", "HEAD", "PUT", "DELETE", "share"):
        answer = await attempt(call, bucket, target, action, bearer(api_key(who)))
        assert answer.status == 400, (action, answer.status)
    assert sorted(bucket.stored()) == ["home/alice/a.txt", "home/bob/a.txt"]


@pytest.mark.parametrize("backend", ["moto"], indirect=True)
@pytest.mark.parametrize("who", KNOWN)
@pytest.mark.gen_test
async def test_a_listing_shows_only_what_one_may_list_all_of(call: Call, bucket: Bucket, who: str) -> None:
    for target in KEYS:
        bucket.put(decoded(target), b"x")
    for prefix, allowed in LISTS.items():
        for delimiter in ("", "/"):
            query = f"?prefix={quote(prefix)}&delimiter={delimiter}"
            answer = await call("GET", f"/files/{bucket.name}/{query}", headers=bearer(api_key(who)))
            assert answer.status == (200 if who in allowed else 403), (who, prefix)
            if answer.status == 200:
                assert all(row["key"].startswith(prefix) for row in answer.json["objects"])
    for prefix in ("home/alice/../bob/", "home/alice/..", "home/alice/%00"):
        answer = await call("GET", f"/files/{bucket.name}/?prefix={prefix}", headers=bearer(api_key(who)))
        assert answer.status == 400, prefix


@both
@pytest.mark.gen_test
async def test_another_bucket_is_another_bucket(call: Call, bucket: Bucket) -> None:
    for name in ("another-bucket", bucket.name + "x", bucket.name[:-1]):
        for who in ("alice", "auditor", "dropbox", "idle"):
            answer = await call("GET", f"/files/{name}/home/alice/a.txt", headers=bearer(api_key(who)))
            assert answer.status == 403
            answer = await call("GET", f"/files/{name}/", headers=bearer(api_key(who)))
            assert answer.status == 403


@both
@pytest.mark.gen_test
async def test_a_refusal_is_the_same_whether_or_not_there_is_something(call: Call, bucket: Bucket) -> None:
    bucket.put("home/bob/there", CONTENT)
    for action in ACTIONS:
        answers = [
            await attempt(call, bucket, f"home/bob/{name}", action, bearer(api_key("alice")))
            for name in ("there", "not-there")
        ]
        assert answers[0].status == answers[1].status == 403
        assert answers[0].body == answers[1].body
        assert without_ids(answers[0].headers) == without_ids(answers[1].headers)


@pytest.mark.gen_test
async def test_who_is_not_let_in_is_told_so_before_a_body_is_sent(port: int, bucket: Bucket) -> None:
    credentials = ("X-Api-Key: s3p_wrong", f"X-Api-Key: {api_key('idle')}")
    for credential, status in zip(credentials, (401, 403), strict=True):
        async with connect(port) as wire:
            headers = (credential, "Content-Length: 1000000000", "Expect: 100-continue")
            await wire.request("PUT", f"/files/{bucket.name}/home/alice/a.txt", *headers)
            assert (await wire.answer()).status == status  # And no 100 before it.
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_rights_that_end_during_an_upload_end_with_the_next_request(
    port: int, bucket: Bucket, service: Service, guard: AccessGuard, tmp_path: Path
) -> None:
    target, credential = f"/files/{bucket.name}/home/alice/a.txt", f"X-Api-Key: {api_key('alice')}"
    async with connect(port) as wire:
        await wire.request("PUT", target, credential, "Content-Length: 4", body=b"ab")
        await until(lambda: service.traffic.transfers == 1)
        guard.policy = guard_of(tmp_path, principal("auditor", "read */**")).policy
        await wire.send(b"cd")
        assert (await wire.answer()).status == 200
        await wire.request("GET", target, credential)
        assert (await wire.answer()).status == 401


METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO")
ROUTES = ("/", "/files", "/files/", "/files/b-b/", "/files/b-b/k", "/links", "/links/abc", "/readyz", "/nowhere", "/..")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.gen_test
async def test_no_method_of_any_route_is_left_unguarded(call: Call, bucket: Bucket, route: str) -> None:
    for method in METHODS:
        body = b"x" if method in ("PUT", "POST", "PATCH") else None
        answer = await call(method, route, body=body)
        assert answer.status in (401, 405), (method, answer.status)
        if answer.status == 405:
            assert method in ("TRACE", "FOO", "PATCH"), method


@pytest.mark.gen_test
async def test_the_process_says_that_it_lives_to_everyone(call: Call) -> None:
    assert (await call("GET", "/healthz")).status == 200
    assert (await call("HEAD", "/healthz")).status == 200
