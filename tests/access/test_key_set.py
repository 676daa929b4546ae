"""An issuer's keys: fetched over real HTTP, off the event loop, not too often, and kept when the issuer is down."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.access.key_set import FRESH, INTERVAL, MAX_SIZE, STALE, KeySet, check_url, fetch, parse
from s3proxy.errors import AccessUnavailable
from tests.access.issuer import Issuer, jwk, private_key
from tests.access.people import Clock, listening


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads to fetch in."""
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_keys_are_found_by_id_and_algorithm(issuer: Issuer, pool: ThreadPoolExecutor) -> None:
    async def main() -> None:
        keys = KeySet(issuer.url, pool)
        found = await keys.find("one", "ES256")
        assert found is not None
        assert found.key_id == "one"
        assert await keys.find("one", "RS256") is None
        assert await keys.find("two", "ES256") is None
        assert keys.fetches == 2  # Once for want of any, once because it may be new.

    asyncio.run(main())


def test_a_new_key_is_fetched_when_it_is_first_named(issuer: Issuer, pool: ThreadPoolExecutor) -> None:
    async def main() -> None:
        clock = Clock()
        keys = KeySet(issuer.url, pool, clock=clock)
        assert await keys.find("one", "ES256")
        issuer.keys = [jwk("two", number=2)]
        assert await keys.find("two", "ES256")
        assert await keys.find("one", "ES256") is None
        assert keys.fetches == 2

    asyncio.run(main())


def test_a_removed_key_is_gone_when_the_set_is_no_longer_fresh(issuer: Issuer, pool: ThreadPoolExecutor) -> None:
    async def main() -> None:
        clock = Clock()
        keys = KeySet(issuer.url, pool, clock=clock)
        assert await keys.find("one", "ES256")
        issuer.keys = [jwk("two", number=2)]
        clock.now += FRESH - 1
        assert await keys.find("one", "ES256")
        clock.now += 1
        assert await keys.find("one", "ES256") is None

    asyncio.run(main())


def test_a_flood_of_unknown_keys_asks_the_issuer_once_in_ten_seconds(issuer: Issuer, pool: ThreadPoolExecutor) -> None:
    async def main() -> None:
        clock = Clock()
        keys = KeySet(issuer.url, pool, clock=clock)
        for second in range(30):
            found = await asyncio.gather(*(keys.find(f"{second}-{number}", "ES256") for number in range(50)))
            assert found == [None] * 50
            clock.now += 1
        assert keys.fetches == 1 + 3  # The first was for want of any.
        assert issuer.gets["/keys"] == 1 + 3

    asyncio.run(main())


def test_while_the_issuer_is_down_the_last_keys_serve_for_a_day(issuer: Issuer, pool: ThreadPoolExecutor) -> None:
    async def main() -> None:
        clock = Clock()
        keys = KeySet(issuer.url, pool, clock=clock)
        assert await keys.find("one", "ES256")
        issuer.down = True
        with listening() as records:
            clock.now += STALE - 1
            assert await keys.find("one", "ES256")
            assert [line.levelname for line in records.lines] == ["WARNING"]
        with pytest.raises(AccessUnavailable):
            await keys.find("new", "ES256")  # It may be one that the issuer has by now.
        clock.now += 1
        with pytest.raises(AccessUnavailable):
            await keys.find("one", "ES256")
        issuer.down = False
        clock.now += INTERVAL
        assert await keys.find("one", "ES256")
        assert await keys.find("new", "ES256") is None

    asyncio.run(main())


def test_without_any_keys_nothing_can_be_decided(issuer: Issuer, pool: ThreadPoolExecutor) -> None:
    async def main() -> None:
        issuer.down = True
        keys = KeySet(issuer.url, pool, clock=Clock())
        for _ in range(3):
            with pytest.raises(AccessUnavailable):
                await keys.find("one", "ES256")
        assert keys.fetches == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "says",
    [
        {"issuer": "https://other.example.org"},
        {"issuer": None},
        {"jwks_uri": "http://keys.example.org/"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"jwks_uri": 3},
    ],
    ids=str,
)
def test_a_discovery_document_that_points_elsewhere_is_not_believed(
    issuer: Issuer, pool: ThreadPoolExecutor, says: dict[str, Any]
) -> None:
    issuer.says = says

    async def main() -> None:
        with pytest.raises(AccessUnavailable):
            await KeySet(issuer.url, pool).find("one", "ES256")

    asyncio.run(main())


def test_a_redirect_is_not_followed(issuer: Issuer, pool: ThreadPoolExecutor) -> None:
    issuer.says = {"jwks_uri": f"{issuer.url}/moved"}

    async def main() -> None:
        with pytest.raises(AccessUnavailable):
            await KeySet(issuer.url, pool).find("one", "ES256")

    asyncio.run(main())
    assert issuer.gets["/moved"] == 1
    assert issuer.gets["/keys"] == 0


def test_an_answer_without_end_is_not_read_to_its_end(issuer: Issuer) -> None:
    issuer.says = {"padding": "x" * MAX_SIZE}
    with pytest.raises(ValueError, match="too long"):
        fetch(f"{issuer.url}/.well-known/openid-configuration")


def test_the_issuer_is_asked_in_a_thread_and_a_client_that_leaves_stops_nothing(pool: ThreadPoolExecutor) -> None:
    answer, asked, threads = threading.Event(), threading.Event(), set()

    def slow(url: str) -> Any:
        threads.add(threading.current_thread())
        asked.set()
        answer.wait(10)
        if url.endswith("/keys"):
            return {"keys": [jwk("one")]}
        return {"issuer": "https://id", "jwks_uri": "https://id/keys"}

    async def main() -> None:
        keys = KeySet("https://id", pool, fetch=slow)
        impatient = asyncio.create_task(keys.find("one", "ES256"))
        patient = asyncio.create_task(keys.find("one", "ES256"))
        await asyncio.to_thread(asked.wait, 10)
        impatient.cancel()
        await asyncio.wait([impatient])
        answer.set()
        assert await patient
        assert keys.fetches == 1

    asyncio.run(main())
    assert threading.main_thread() not in threads


def test_a_key_verifies_only_what_its_type_fits() -> None:
    keys = parse({"keys": [jwk("ec"), jwk("p384", "ES384"), jwk("rsa", "RS256"), jwk("ed", "EdDSA")]})
    fitting = {kid: {algorithm for name, algorithm in keys if name == kid} for kid, _ in keys if kid}
    assert fitting == {
        "ec": {"ES256"},
        "p384": {"ES384"},
        "rsa": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
        "ed": {"EdDSA"},
    }


def test_a_key_that_names_its_algorithm_verifies_no_other() -> None:
    assert {algorithm for _, algorithm in parse({"keys": [jwk("a", "RS256", alg="PS256")]})} == {"PS256"}
    assert parse({"keys": [jwk("a", alg="RS256"), jwk("b", alg="HS256"), jwk("c", alg="none")]}) == {}


def test_keys_of_no_use_are_left_out() -> None:
    useless: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
        jwk("encrypts", use="enc"),
        json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(private_key())) | {"kid": "private"},
        jwk("broken", x="!"),
        {"kty": "RSA", "kid": "empty"},
        {"kty": ["RSA"]},
        {},
        None,
        "key",
    ]
    assert {kid for kid, _ in parse({"keys": [*useless, jwk("good")]})} == {"good", ""}


def test_a_token_without_a_key_id_needs_a_key_set_without_a_choice() -> None:
    assert ("", "ES256") in parse({"keys": [jwk(None), jwk("r", "RS256")]})
    assert ("", "ES256") not in parse({"keys": [jwk("a"), jwk("b", number=2)]})


@pytest.mark.parametrize("url", ["https://id.example.org", "https://id:8443/a", "http://127.0.0.1:1", "http://[::1]/"])
def test_an_issuer_is_asked_by_https_or_on_this_machine(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "http://id.example.org",
        "http://127.0.0.1.example.org",
        "http://localhost@evil.example.org",
        "https://user@id",
        "https://id/#x",
        "ftp://localhost/",
        "file:///etc/passwd",
        "data:,{}",
        "http://[::1",
    ],
)
def test_any_other_url_is_not(url: str) -> None:
    with pytest.raises(ValueError, match=r"https|IPv6"):
        check_url(url)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(["kty", "crv", "kid", "alg", "use", "x", "y", "n", "e"])


@given(st.lists(st.dictionaries(MEMBERS, JSON | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB"]))))
@settings(deadline=None)
def test_any_key_is_parsed_or_left_out(entries: list[dict[str, Any]]) -> None:
    parse({"keys": entries})


@given(JSON)
@settings(deadline=None)
def test_any_document_is_the_issuers_fault(document: Any) -> None:
    json.dumps(document)

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            keys = KeySet("https://id", pool, fetch=lambda _: document)
            with pytest.raises(AccessUnavailable):
                await keys.find("one", "ES256")

    with listening():
        asyncio.run(main())
