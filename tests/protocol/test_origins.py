"""CORS answers, and telling a forged request from a page's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from s3proxy.protocol.origins import Origins

SHOP = "https://shop.example"
NONE, ONE, ALL = Origins(), Origins(frozenset({SHOP})), Origins(frozenset({"*"}))
METHODS = "GET, HEAD, PUT"


def headers(**values: str) -> HTTPHeaders:
    return HTTPHeaders({name.replace("_", "-"): value for name, value in values.items()})


def test_without_listed_sites_an_answer_says_nothing_about_them() -> None:
    assert NONE.headers(SHOP) == {}
    assert not NONE.allows(SHOP)


def test_a_listed_site_may_read_and_caches_keep_its_answer_apart() -> None:
    answer = ONE.headers(SHOP)
    assert answer["Access-Control-Allow-Origin"] == SHOP
    assert answer["Vary"] == "Origin"
    assert "ETag" in answer["Access-Control-Expose-Headers"]


def test_another_site_may_not_and_caches_learn_that_it_depends() -> None:
    assert ONE.headers("https://evil.example") == {"Vary": "Origin"}


@pytest.mark.parametrize("origin", ["", "null", "https://shop.example.evil", "http://shop.example", "https://shop"])
def test_an_origin_is_compared_whole(origin: str) -> None:
    assert not ONE.allows(origin)


def test_a_star_is_every_site_and_never_with_credentials() -> None:
    answer = ALL.headers("https://any.example")
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer


def test_a_preflight_of_a_listed_site_is_told_methods_headers_and_for_how_long() -> None:
    asked = headers(
        Origin=SHOP, Access_Control_Request_Method="PUT", Access_Control_Request_Headers="authorization,x-amz-meta-a"
    )
    assert ONE.preflight(asked, METHODS) == {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": "authorization,x-amz-meta-a",
        "Access-Control-Max-Age": "600",
    }


@pytest.mark.parametrize(
    "asked",
    [
        headers(Origin="https://evil.example", Access_Control_Request_Method="PUT"),
        headers(Origin=SHOP),
        headers(Origin=SHOP, Access_Control_Request_Method="DELETE"),
        headers(Access_Control_Request_Method="PUT"),
    ],
    ids=["another site", "no preflight", "a method there is not", "no origin"],
)
def test_other_preflights_are_refused(asked: HTTPHeaders) -> None:
    assert ONE.preflight(asked, METHODS) is None


@pytest.mark.parametrize(
    ("request_headers", "forged"),
    [
        (headers(Host="files.example"), False),
        (headers(Host="files.example", Origin="https://files.example"), False),
        (headers(Host="files.example:8443", Origin="https://files.example:8443"), False),
        (headers(Host="files.example", Origin="https://evil.example"), True),
        (headers(Host="files.example", Origin="null"), True),
        (headers(Host="files.example", Origin=SHOP), False),
        (headers(Host="files.example", Sec_Fetch_Site="same-origin"), False),
        (headers(Host="files.example", Sec_Fetch_Site="none"), False),
        (headers(Host="files.example", Sec_Fetch_Site="cross-site"), True),
        (headers(Host="files.example", Sec_Fetch_Site="same-site"), True),
        (headers(Host="inner:8000", Origin="https://files.example", Sec_Fetch_Site="same-origin"), False),
    ],
)
def test_a_request_is_forged_when_a_browser_says_another_site_sent_it(
    request_headers: HTTPHeaders, forged: bool
) -> None:
    assert ONE.forged(request_headers) is forged


def test_a_star_does_not_let_other_sites_use_a_remembered_password() -> None:
    assert ALL.forged(headers(Host="files.example", Origin="https://evil.example", Sec_Fetch_Site="cross-site"))


@given(st.text())
def test_any_origin_gets_an_answer(origin: str) -> None:
    for origins in (NONE, ONE, ALL):
        assert isinstance(origins.headers(origin), dict)
        assert origins.forged({"Origin": origin, "Host": "files.example"}) in (True, False)
