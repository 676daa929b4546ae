"""The trusted proxy's header: believed because of who holds the connection, and of nothing in the request."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.access.credentials import Refused
from s3proxy.access.identity import GroupRules, Identity
from s3proxy.access.policy import NAME
from s3proxy.access.proxy import ProxyRules, identify
from tests.access.people import caller

PEER = "10.1.2.3"
RULES = ProxyRules(
    networks=(ip_network("10.0.0.0/8"), ip_network("::1/128")),
    header="X-Remote-User",
    groups_header="X-Remote-Groups",
    groups=GroupRules(named={"wheel": "staff", "users": "guests"}, default=("all",)),
)


@pytest.mark.parametrize("peer", [PEER, "::1", "::ffff:10.1.2.3"])
def test_a_trusted_peer_is_believed(peer: str) -> None:
    known = identify(caller(("x-remote-user", "carol"), peer=peer), RULES)
    assert known == Identity("carol", ("all",))


@pytest.mark.parametrize("peer", ["11.1.2.3", "::2", "", "unix", "10.1.2.3, 1.1.1.1", "10.1.2", "::ffff:11.1.2.3"])
def test_from_others_the_header_is_not_even_read(peer: str) -> None:
    for name in ("carol", "", "\xff"):
        assert identify(caller(("X-Remote-User", name), peer=peer, address=PEER), RULES) is None


def test_groups_are_translated_and_unknown_ones_give_nothing() -> None:
    headers = ("X-Remote-User", "carol"), ("X-Remote-Groups", "users, staff,wheel ,wheel,,x")
    assert identify(caller(*headers, peer=PEER), RULES) == Identity("carol", ("all", "guests", "staff"))


def test_a_proxy_that_says_nothing_names_nobody() -> None:
    assert identify(caller(("X-Remote-Groups", "wheel"), peer=PEER), RULES) is None


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Remote-User", "carol"), ("X-Remote-User", "carol")],
        [("X-Remote-User", "carol"), ("X-Remote-Groups", "a"), ("X-Remote-Groups", "b")],
        [("X-Remote-User", "")],
        [("X-Remote-User", "carol,dave")],
        [("X-Remote-User", "a/b")],
        [("X-Remote-User", "..")],
        [("X-Remote-User", "c\xe1rol")],
        [("X-Remote-User", "x" * 8_192)],
    ],
    ids=lambda headers: str(headers)[:60],
)
def test_a_header_that_came_twice_or_holds_no_name_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Refused):
        identify(caller(*headers, peer=PEER), RULES)


@given(st.binary(max_size=40), st.binary(max_size=40))
@settings(deadline=None)
def test_any_bytes_are_a_name_or_refused(name: bytes, groups: bytes) -> None:
    headers = ("X-Remote-User", name.decode("latin-1")), ("X-Remote-Groups", groups.decode("latin-1"))
    try:
        known = identify(caller(*headers, peer=PEER), RULES)
    except Refused:
        return
    assert known is not None
    assert NAME.fullmatch(known.name)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_any_peer_is_trusted_or_not(peer: str) -> None:
    assert RULES.trusts(peer) in (True, False)
