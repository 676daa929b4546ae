"""`GET /files/BUCKET/`: a page of a bucket, for programs and for people (design 2.2)."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from tornado.escape import xhtml_unescape

from s3proxy.errors import StoreRefused
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import Bucket, Call, both

HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_bucket_is_listed_in_order(call: Call, bucket: Bucket, slash: str) -> None:
    etags = {key: bucket.put(key, b"x" * size) for size, key in enumerate(["b", "a/2", "a/1", "é"])}
    answer = await call("GET", f"/files/{bucket.name}{slash}")
    assert answer.status == 200
    listing = answer.json
    assert {name: listing[name] for name in ("bucket", "prefix", "delimiter", "prefixes", "cursor")} == {
        "bucket": bucket.name,
        "prefix": "",
        "delimiter": "",
        "prefixes": [],
        "cursor": None,
    }
    assert [(row["key"], row["size"], row["etag"]) for row in listing["objects"]] == [
        ("a/1", 2, etags["a/1"]),
        ("a/2", 1, etags["a/2"]),
        ("b", 0, etags["b"]),
        ("é", 3, etags["é"]),
    ]
    assert all(row["last_modified"].endswith("+00:00") for row in listing["objects"])


@both
@pytest.mark.gen_test
async def test_an_empty_bucket_is_an_empty_list_and_a_missing_one_404(call: Call, bucket: Bucket) -> None:
    answer = await call("GET", f"/files/{bucket.name}/")
    assert (answer.status, answer.json["objects"]) == (200, [])
    answer = await call("GET", "/files/no-such-bucket/")
    assert (answer.status, answer.body) == (404, b'{"detail":"Bucket no-such-bucket does not exist."}')


async def all_pages(call: Call, target: str) -> list[str]:
    """The keys and prefixes of every page, by cursor."""
    names: list[str] = []
    cursor = ""
    while True:
        answer = await call("GET", target + cursor)
        assert answer.status == 200
        names += [row["key"] for row in answer.json["objects"]] + answer.json["prefixes"]
        if answer.json["cursor"] is None:
            return names
        cursor = f"&cursor={quote(answer.json['cursor'], safe='')}"


@pytest.mark.gen_test
async def test_more_than_a_thousand_keys_come_page_by_page(call: Call, bucket: Bucket) -> None:
    keys = [f"{number:05}" for number in range(2501)]
    for key in keys:
        bucket.put(key, b"")
    first = await call("GET", "/files/photos/")
    assert len(first.json["objects"]) == 1000
    assert await all_pages(call, "/files/photos/?limit=1000") == keys
    assert await all_pages(call, "/files/photos/?limit=999999") == keys


@both
@pytest.mark.gen_test
async def test_pages_of_any_size_hold_everything_once(call: Call, bucket: Bucket) -> None:
    keys = ["a", "b/1", "b/2", "b+c d&e", "c"]
    for key in keys:
        bucket.put(key, b"")
    for limit in (1, 2, 5, 6):
        assert await all_pages(call, f"/files/{bucket.name}/?limit={limit}") == sorted(keys)
        names = await all_pages(call, f"/files/{bucket.name}/?delimiter=/&limit={limit}")
        assert sorted(names) == ["a", "b+c d&e", "b/", "c"]


@both
@pytest.mark.gen_test
async def test_a_prefix_and_a_delimiter_make_folders(call: Call, bucket: Bucket) -> None:
    for key in ("top", "in/a", "in/b c", "in/deep/x", "in/deep/y", "in/deeper/z"):
        bucket.put(key, b"")
    listing = (await call("GET", f"/files/{bucket.name}/?prefix=in/&delimiter=/")).json
    assert [row["key"] for row in listing["objects"]] == ["in/a", "in/b c"]
    assert listing["prefixes"] == ["in/deep/", "in/deeper/"]
    listing = (await call("GET", f"/files/{bucket.name}/?prefix=in/b%20")).json
    assert [row["key"] for row in listing["objects"]] == ["in/b c"]
    assert (await call("GET", f"/files/{bucket.name}/?prefix=nothing")).json["objects"] == []


@pytest.mark.gen_test
@pytest.mark.parametrize("limit", ["0", "-1", "a", "1.5", "", "%31%30%30%30%30%30%30", "٣", "1&limit=2"])
async def test_a_limit_that_is_no_number_is_400(call: Call, memory: MemoryStore, limit: str) -> None:
    answer = await call("GET", f"/files/photos/?limit={quote(limit, safe='%&=')}")
    assert (answer.status, answer.headers["X-Error-Code"]) == (400, "bad_request")
    assert not memory.calls


@pytest.mark.gen_test
async def test_a_cursor_of_no_listing_is_400(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"")
    answer = await call("GET", "/files/photos/?cursor=nonsense")
    assert (answer.status, answer.headers["X-Error-Code"]) == (400, "bad_request")


@pytest.mark.gen_test
@pytest.mark.parametrize("argument", ["prefix", "delimiter", "cursor", "limit"])
async def test_bytes_that_are_no_utf8_are_400(call: Call, memory: MemoryStore, argument: str) -> None:
    assert (await call("GET", f"/files/photos/?{argument}=%FF")).status == 400
    assert not memory.calls


@pytest.mark.gen_test
async def test_a_refusal_by_s3_is_not_the_clients_403(call: Call, faulty: FaultyStore) -> None:
    faulty.fail("list", StoreRefused(reason="AccessDenied"))
    answer = await call("GET", "/files/photos/")
    assert (answer.status, answer.headers["X-Error-Code"]) == (502, "store_refused")


@pytest.mark.gen_test
async def test_head_of_a_listing_has_no_rows(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"")
    answer = await call("HEAD", "/files/photos/")
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"", "application/json")


# The page for people


@pytest.mark.gen_test
async def test_who_accepts_html_gets_a_page_with_folders_and_links(call: Call, bucket: Bucket) -> None:
    for key in ("a b.txt", "in/1", "in/2"):
        bucket.put(key, b"hello")
    answer = await call("GET", "/files/photos/", headers=HTML)
    page = answer.body.decode()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["Vary"] == "Accept"
    assert '<a href="/files/photos/a%20b.txt">a b.txt</a>' in page
    assert ">in/</a>" in page
    assert ">1</a>" not in page


@pytest.mark.gen_test
async def test_a_program_that_accepts_anything_gets_json(call: Call, bucket: Bucket) -> None:
    for accept in ("*/*", "application/json", ""):
        answer = await call("GET", "/files/photos/", headers={"Accept": accept})
        assert answer.headers["Content-Type"] == "application/json"


NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a'b&amp;c", "javascript:alert(1)", "100%25?#x"]


@pytest.mark.gen_test
async def test_no_name_breaks_out_of_the_page(call: Call, bucket: Bucket) -> None:
    for name in NAMES:
        bucket.put(name, b"object")
        bucket.put(f"{name}/inside", b"object")
    for target in ("/files/photos/", "/files/photos/?delimiter=", f"/files/photos/?prefix={quote(NAMES[0])}/"):
        answer = await call("GET", target, headers=HTML)
        page = answer.body.decode()
        assert answer.status == 200
        assert "<script" not in page
        assert "<img" not in page
        assert 'href="javascript' not in page
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def links(page: str) -> dict[str, str]:
    """Where each link of the page leads, by its text."""
    pieces = [piece.partition('">') for piece in page.split('<a href="')[1:]]
    return {xhtml_unescape(text.partition("</a>")[0]): xhtml_unescape(target) for target, _, text in pieces}


@pytest.mark.gen_test
async def test_every_link_of_the_page_leads_to_its_object(call: Call, bucket: Bucket) -> None:
    for name in NAMES:
        bucket.put(name, name.encode())
    found = links((await call("GET", "/files/photos/?delimiter=", headers=HTML)).body.decode())
    assert sorted(found) == sorted(NAMES)
    for name, target in found.items():
        assert (await call("GET", target)).body == name.encode()


@pytest.mark.gen_test
async def test_people_find_the_way_down_and_up_and_on(call: Call, bucket: Bucket) -> None:
    for key in ("in/deep/1", "in/deep/2", "in/3", "top"):
        bucket.put(key, b"")
    top = links((await call("GET", "/files/photos/", headers=HTML)).body.decode())
    inside = links((await call("GET", top["in/"], headers=HTML)).body.decode())
    deep = links((await call("GET", inside["deep/"], headers=HTML)).body.decode())
    assert set(deep) == {"..", "1", "2"}
    assert links((await call("GET", deep[".."], headers=HTML)).body.decode()) == inside
    assert links((await call("GET", inside[".."], headers=HTML)).body.decode()) == top
    first = links((await call("GET", "/files/photos/?delimiter=/&limit=1", headers=HTML)).body.decode())
    assert set(first) == {"in/", "Next page"}
    assert "top" in links((await call("GET", first["Next page"], headers=HTML)).body.decode())
