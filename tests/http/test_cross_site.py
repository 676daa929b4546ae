"""Pages of other sites: those that may call the service, and those that make a browser send what nobody meant to."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from s3proxy.access.policy import Via
from s3proxy.protocol.origins import Origins
from tests.access.people import password_hash
from tests.http.doors import api_key, bearer, guard_of, principal
from tests.http.place import Bucket, Call

SHOP, EVIL = "https://shop.example", "https://evil.example"
BASIC = {"Authorization": "Basic " + base64.b64encode(b"alice:pa:ss w\xc3\xb6rd").decode()}


@pytest.fixture
def access(tmp_path: Path) -> Mapping[str, Any]:
    guard = guard_of(
        tmp_path,
        principal("alice", "read,write,list,delete photos/**", extra=f'password = "{password_hash()}"'),
        '[proxy]\naddresses = ["127.0.0.1"]\nheader = "X-Remote-User"\ndefault_groups = ["staff"]\n',
        '[groups.staff]\ngrants = [{ allow = ["read", "write"], on = "photos/**" }]\n',
    )
    return {"guard": guard, "origins": Origins(frozenset({SHOP}))}


@pytest.mark.gen_test
async def test_a_listed_site_is_told_in_a_preflight_what_it_may_send(call: Call, bucket: Bucket) -> None:
    asked = {
        "Origin": SHOP,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, x-amz-meta-a",
    }
    answer = await call("OPTIONS", "/files/photos/k", headers=asked)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, PUT, DELETE"
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization, x-amz-meta-a"
    assert answer.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.gen_test
async def test_another_site_is_told_nothing(call: Call, bucket: Bucket) -> None:
    asked = {"Origin": EVIL, "Access-Control-Request-Method": "PUT"}
    answer = await call("OPTIONS", "/files/photos/k", headers=asked)
    assert answer.status == 401
    assert not [name for name in answer.headers if name.startswith("Access-Control")]


@pytest.mark.gen_test
async def test_answers_and_errors_can_be_read_by_a_listed_site_only(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"hello")
    for target, status in (("/files/photos/k", 200), ("/files/photos/none", 404), ("/files/other-bucket/k", 403)):
        answer = await call("GET", target, headers={**bearer(api_key("alice")), "Origin": SHOP})
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
        assert "Origin" in ",".join(answer.headers.get_list("Vary"))
        answer = await call("GET", target, headers={**bearer(api_key("alice")), "Origin": EVIL})
        assert answer.status == status
        assert "Access-Control-Allow-Origin" not in answer.headers


FORGED = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize("credential", [BASIC, {"X-Remote-User": "carol"}], ids=["password", "proxy"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST ?share"])
@pytest.mark.gen_test
async def test_what_a_browser_adds_by_itself_serves_no_other_site(
    call: Call, bucket: Bucket, credential: Mapping[str, str], method: str
) -> None:
    bucket.put("k", b"hello")
    method, _, query = method.partition(" ")
    body = b"" if method != "DELETE" else None
    answer = await call(method, f"/files/photos/k{query}", body=body, headers={**credential, **FORGED})
    assert (answer.status, answer.headers["X-Error-Code"]) == (403, "forbidden")
    assert bucket.data("k") == b"hello"


@pytest.mark.gen_test
async def test_the_service_s_own_page_may_use_a_remembered_password(call: Call, bucket: Bucket, base_url: str) -> None:
    answer = await call("PUT", "/files/photos/k", body=b"x", headers={**BASIC, "Sec-Fetch-Site": "same-origin"})
    assert answer.status == 200
    answer = await call("PUT", "/files/photos/k", body=b"x", headers={**BASIC, "Origin": base_url})
    assert answer.status == 200


@pytest.mark.gen_test
async def test_a_key_that_a_page_must_add_itself_cannot_be_forged(call: Call, bucket: Bucket) -> None:
    answer = await call("PUT", "/files/photos/k", body=b"x", headers={**bearer(api_key("alice")), **FORGED})
    assert answer.status == 200


@pytest.mark.gen_test
async def test_what_one_may_see_is_not_cached_for_the_next(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"hello")
    answer = await call("GET", "/files/photos/k", headers=bearer(api_key("alice")))
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Authorization, X-Api-Key" in answer.headers.get_list("Vary")
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_only_what_browsers_add_by_themselves_is_ambient() -> None:
    assert {via for via in Via if via.ambient} == {Via.PASSWORD, Via.PROXY}
