"""Tokens: taken from issuers that are named, for us, now, signed as allowed; anything else is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.access.credentials import Refused
from s3proxy.access.identity import GroupRules, Identity
from s3proxy.access.key_set import INTERVAL
from s3proxy.access.oidc import REMEMBERED, IssuerRules, Issuers, TokenVerifier, claim, read_claims
from s3proxy.errors import AccessUnavailable
from tests.access.issuer import AUDIENCE, Issuer, jwk, private_key
from tests.access.people import Clock

GROUPS = GroupRules(named={"s3-admins": "staff"}, default=("guests",))
CAROL = Identity("carol", ("guests",))


def rules_of(issuer: str, **members: Any) -> IssuerRules:
    usual: dict[str, Any] = {"audience": AUDIENCE, "algorithms": ("ES256", "RS256"), "leeway": 5.0, "groups": GROUPS}
    return IssuerRules(issuer=issuer, **(usual | members))


def identify(issuer: Issuer, *tokens: str, **members: Any) -> list[Identity | str]:
    """Who holds each of the tokens, or why it is refused."""

    async def main() -> list[Identity | str]:
        verifier = TokenVerifier([rules_of(issuer.url, **members)], Issuers())
        return [await one(verifier, token) for token in tokens]

    return asyncio.run(main())


async def one(verifier: TokenVerifier, token: str) -> Identity | str:
    try:
        return await verifier.identify(token)
    except Refused as refusal:
        return str(refusal)


def segment(document: object) -> str:
    octets = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def test_a_good_token_is_its_subjects(issuer: Issuer) -> None:
    assert identify(issuer, issuer.token()) == [CAROL]


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES384", "ES512", "EdDSA"])
def test_each_algorithm_that_is_allowed_is_verified(issuer: Issuer, algorithm: str) -> None:
    issuer.keys = [jwk("k", algorithm)]
    token = issuer.token("k", algorithm)
    assert identify(issuer, token, algorithms=(algorithm,)) == [CAROL]
    assert identify(issuer, token, algorithms=("ES256",)) == ["token signed by an algorithm that is not allowed"]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1}, "token expired"),
        ({"exp": None}, "token without a claim it must have"),
        ({"exp": "soon"}, "token not valid"),
        ({"exp": True}, "token expired"),
        ({"nbf": 2**40}, "token not yet valid"),
        ({"iat": 2**40}, "token not yet valid"),
        ({"aud": "other"}, "token for another audience"),
        ({"aud": ["other"]}, "token for another audience"),
        ({"aud": None}, "token without a claim it must have"),
        ({"aud": {"s3proxy": 1}}, "token for another audience"),
        ({"sub": None}, "a name that is missing or cannot be one here"),
        ({"sub": "a/b"}, "a name that is missing or cannot be one here"),
        ({"sub": ".."}, "a name that is missing or cannot be one here"),
        ({"sub": "\ud800"}, "a name that is missing or cannot be one here"),
        ({"iss": "https://other.example.org"}, "malformed token, or of another issuer"),
        ({"iss": None}, "malformed token, or of another issuer"),
    ],
    ids=str,
)
def test_a_token_that_is_not_for_us_now_is_refused(issuer: Issuer, claims: dict[str, Any], reason: str) -> None:
    assert identify(issuer, issuer.token(**claims)) == [reason]


def test_the_leeway_is_for_clocks_that_differ(issuer: Issuer) -> None:
    now = int(time.time())
    late, early = issuer.token(exp=now - 20), issuer.token(nbf=now + 20)
    assert identify(issuer, late, early, leeway=30.0) == [CAROL, CAROL]
    assert identify(issuer, late, early, leeway=0.0) == ["token expired", "token not yet valid"]


def test_a_list_of_audiences_may_hold_ours(issuer: Issuer) -> None:
    assert identify(issuer, issuer.token(aud=["other", AUDIENCE])) == [CAROL]


def test_a_token_without_a_signature_is_refused(issuer: Issuer) -> None:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    unsigned = f"{segment({'alg': 'none', 'kid': 'one'})}.{segment(claims)}."
    stripped = issuer.token().rpartition(".")[0] + "."
    refusals = identify(issuer, unsigned, stripped)
    assert refusals == ["token signed by an algorithm that is not allowed", "token with a wrong signature"]


@pytest.mark.parametrize("algorithm", ["HS256", "hs256", "none", "None", "", "RS256", "ES384"])
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_public_key_is_no_shared_secret(issuer: Issuer, algorithm: str, encoding: Encoding) -> None:
    public = private_key().public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    signed = f"{segment({'alg': algorithm, 'kid': 'one', 'typ': 'JWT'})}.{segment(claims)}"
    token = f"{signed}.{segment(hmac.digest(public, signed.encode(), hashlib.sha256))}"
    (refusal,) = identify(issuer, token)
    assert isinstance(refusal, str)


def test_a_key_in_the_token_itself_is_not_used(issuer: Issuer) -> None:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    own = {"jwk": jwk("one", number=9), "jku": "https://evil.example.org", "kid": "one"}
    token = jwt.encode(claims, private_key(number=9), "ES256", headers=own)
    assert identify(issuer, token) == ["token with a wrong signature"]


def test_a_token_that_names_no_key_is_verified_by_the_only_one(issuer: Issuer) -> None:
    assert identify(issuer, issuer.token(kid=None)) == [CAROL]
    issuer.keys = [jwk("a"), jwk("b", number=2)]
    assert identify(issuer, issuer.token(kid=None)) == ["token signed by a key the issuer does not have"]


def test_short_rsa_keys_are_not_trusted(issuer: Issuer) -> None:
    weak = {"kty": "RSA", "kid": "weak", "n": segment(((1 << 1_023) | 1).to_bytes(128, "big")), "e": "AQAB"}
    issuer.keys = [weak]
    signed = f"{segment({'alg': 'RS256', 'kid': 'weak'})}.{segment({'iss': issuer.url})}"
    (refusal,) = identify(issuer, f"{signed}.{segment(b'x' * 128)}")
    assert isinstance(refusal, str)


def test_one_flipped_bit_is_never_accepted(issuer: Issuer) -> None:
    token = issuer.token()

    async def main() -> None:
        verifier = TokenVerifier([rules_of(issuer.url)], Issuers(clock=Clock()))
        assert await verifier.identify(token) == CAROL
        for position in range(len(token)):
            for bit in range(7):
                octets = bytearray(token.encode())
                octets[position] ^= 1 << bit
                assert isinstance(await one(verifier, octets.decode()), str), (position, bit)

    asyncio.run(main())


def test_keys_rotate_without_a_refusal(issuer: Issuer) -> None:
    async def main() -> None:
        clock = Clock()
        verifier = TokenVerifier([rules_of(issuer.url)], Issuers(clock=clock), clock)
        assert await verifier.identify(issuer.token("one")) == CAROL
        issuer.keys = [jwk("one"), jwk("two", number=2)]
        clock.now += INTERVAL
        assert await verifier.identify(issuer.token("two", number=2)) == CAROL
        assert await verifier.identify(issuer.token("one", jti="another")) == CAROL
        issuer.keys = [jwk("two", number=2)]
        clock.now += 300
        assert await one(verifier, issuer.token("one")) == "token signed by a key the issuer does not have"
        assert await verifier.identify(issuer.token("two", number=2)) == CAROL

    asyncio.run(main())


class Counting:
    """Counts the signatures that are really verified."""

    def __init__(self) -> None:
        self.count = 0
        self._decode = jwt.decode

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.count += 1
        return self._decode(*arguments, **named)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """How many signatures were verified."""
    counting = Counting()
    monkeypatch.setattr(jwt, "decode", counting)
    return counting


@pytest.mark.parametrize(
    ("ends_in", "remembered"),
    [(600, REMEMBERED), (20, 50), (-5, 25)],
    ids=["a minute at most", "not beyond its end", "nor beyond the leeway"],
)
def test_a_known_token_is_not_verified_again_for_a_while(
    issuer: Issuer, verified: Counting, ends_in: int, remembered: float
) -> None:
    async def main() -> None:
        clock = Clock()
        verifier = TokenVerifier([rules_of(issuer.url, leeway=30.0)], Issuers(clock=clock), clock)
        token = issuer.token(exp=int(time.time()) + ends_in)
        for _ in range(3):
            assert await verifier.identify(token) == CAROL
        assert verified.count == 1
        clock.now += remembered - 10  # A token's end is by the wall clock, which goes on meanwhile.
        assert await verifier.identify(token) == CAROL
        assert verified.count == 1
        clock.now += 10
        await one(verifier, token)
        assert verified.count == 2

    asyncio.run(main())


def test_of_several_issuers_each_is_asked_for_its_own(issuer: Issuer) -> None:
    other = Issuer()
    other.keys = [jwk("one", number=7)]

    async def main() -> None:
        verifier = TokenVerifier([rules_of(issuer.url), rules_of(other.url)], Issuers())
        assert await verifier.identify(issuer.token()) == CAROL
        assert await verifier.identify(other.token(number=7)) == CAROL
        assert await one(verifier, other.token(number=0)) == "token with a wrong signature"
        assert await one(verifier, issuer.token(iss=other.url)) == "token with a wrong signature"

    try:
        asyncio.run(main())
    finally:
        other.close()


def test_an_issuer_that_is_down_is_nobodys_refusal(issuer: Issuer) -> None:
    issuer.down = True
    with pytest.raises(AccessUnavailable):
        identify(issuer, issuer.token())


@pytest.mark.parametrize(
    ("groups", "ours"),
    [
        (["s3-admins"], ("guests", "staff")),
        ("users s3-admins", ("guests", "staff")),
        (["s3-admins", "s3-admins", "guests", 3, None, ["s3-admins"]], ("guests", "staff")),
        (["staff"], ("guests",)),
        ([], ("guests",)),
        (None, ("guests",)),
        (3, ("guests",)),
        ({"s3-admins": True}, ("guests",)),
    ],
    ids=str,
)
def test_groups_are_a_list_or_words_and_mean_what_the_file_says(groups: object, ours: tuple[str, ...]) -> None:
    rules = rules_of("https://id", groups_claim="roles")
    assert read_claims({"sub": "carol", "roles": groups}, rules).groups == ours


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("sub", "carol"),
        ("realm.roles", ["a"]),
        ("https://example.org/name", "dotted"),
        ("realm.gone", None),
        ("sub.x", None),
        ("gone", None),
        ("", None),
        ("..", None),
    ],
)
def test_a_claim_is_found_by_its_name_or_its_path(path: str, found: object) -> None:
    claims = {"sub": "carol", "realm": {"roles": ["a"]}, "https://example.org/name": "dotted"}
    assert claim(claims, path) == found


SEGMENTS = st.one_of(
    st.binary(max_size=40).map(segment),
    st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "iss", "exp", "aud", "sub", "zip"]),
        st.none()
        | st.booleans()
        | st.floats()
        | st.lists(st.text(max_size=3))
        | st.sampled_from(["ES256", "https://id"]),
    ).map(segment),
    st.text("abc=-_ .é", max_size=10),
)


@given(st.lists(SEGMENTS, max_size=5).map(".".join) | st.text(max_size=60).filter(lambda text: text.isprintable()))
@settings(deadline=None)
def test_any_text_is_refused(text: str) -> None:
    async def main() -> None:
        known: Any = {"issuer": "https://id", "jwks_uri": "https://id/k", "keys": [jwk("one")]}
        verifier = TokenVerifier([rules_of("https://id")], Issuers(fetch=lambda _: known))
        with pytest.raises(Refused):
            await verifier.identify(text)

    asyncio.run(main())
