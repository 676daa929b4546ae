"""Tokens of OpenID Connect issuers: JSON Web Tokens (RFC 7519, RFC 8725), verified against the issuer's keys."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jwt

from s3proxy.access.credentials import Refused
from s3proxy.access.identity import GroupRules, Identity, identity
from s3proxy.access.key_set import Fetch, KeySet, fetch
from s3proxy.access.recent import Recent

REMEMBERED = 60.0
"""Seconds for which a token that was verified need not be verified again; never beyond its end."""

SIZE = 4_096
"""Tokens remembered, by hash; about 400 bytes each."""

_OPTIONS: Any = {"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRules:
    """Which tokens of an issuer are taken and what they say. `leeway` is in seconds."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    name_claim: str = "sub"
    groups_claim: str | None = None
    groups: GroupRules = field(default_factory=GroupRules)
    leeway: float = 30.0


class Issuers:
    """The keys of all issuers that were ever configured. They outlive a change of the access file."""

    def __init__(self, *, fetch: Fetch = fetch, clock: Callable[[], float] = time.monotonic) -> None:
        # One that hangs must not keep the others waiting, so there is a thread or two to spare.
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="issuer")
        self._fetch = fetch
        self._clock = clock
        self._sets: dict[str, KeySet] = {}

    def key_set(self, issuer: str) -> KeySet:
        """The keys of an issuer, none of them fetched before they are needed."""
        if issuer not in self._sets:
            self._sets[issuer] = KeySet(issuer, self._pool, fetch=self._fetch, clock=self._clock)
        return self._sets[issuer]

    def close(self) -> None:
        """Begin no further fetch."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class TokenVerifier:
    """Tells whose a token is, under the rules of one access file. Made anew, with nothing remembered, for the next."""

    def __init__(
        self, rules: Sequence[IssuerRules], issuers: Issuers, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = {rule.issuer: rule for rule in rules}
        self._issuers = issuers
        self._recent: Recent[Identity] = Recent(SIZE, clock)

    async def identify(self, token: str) -> Identity:
        """Who holds the token. Raises `Refused`, or `AccessUnavailable` when the issuer's keys are not to be had."""
        digest = hashlib.sha256(token.encode()).digest()
        known = self._recent.get(digest)
        if known is not None:
            return known
        rules, claims = await self._verify(token)
        found = read_claims(claims, rules)
        left = int(claims["exp"]) + rules.leeway - time.time()
        self._recent.put(digest, found, min(left, REMEMBERED))
        return found

    async def _verify(self, token: str) -> tuple[IssuerRules, Mapping[str, Any]]:
        try:
            # Unverified, to learn whose keys to ask for; all is decoded once more with the signature.
            parts = jwt.decode_complete(token, options={"verify_signature": False})
            rules = self._rules[parts["payload"]["iss"]]
            algorithm, kid = parts["header"]["alg"], parts["header"].get("kid", "")
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise Refused("malformed token, or of another issuer") from None
        if algorithm not in rules.algorithms:
            raise Refused("token signed by an algorithm that is not allowed")
        key = await self._issuers.key_set(rules.issuer).find(kid, algorithm)
        if key is None:
            raise Refused("token signed by a key the issuer does not have")
        try:
            return rules, jwt.decode(
                token,
                key,
                algorithms=list(rules.algorithms),
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=rules.leeway,
                options=_OPTIONS,
            )
        except jwt.PyJWTError as fault:
            raise Refused(_reason(fault)) from None


def _reason(fault: jwt.PyJWTError) -> str:
    reasons = {
        jwt.ExpiredSignatureError: "token expired",
        jwt.ImmatureSignatureError: "token not yet valid",
        jwt.InvalidAudienceError: "token for another audience",
        jwt.MissingRequiredClaimError: "token without a claim it must have",
        jwt.InvalidSignatureError: "token with a wrong signature",
    }
    return next((reason for kind, reason in reasons.items() if isinstance(fault, kind)), "token not valid")


def read_claims(claims: Mapping[str, Any], rules: IssuerRules) -> Identity:
    """Name and groups as verified claims have them. Raises `Refused` when the name cannot be one here."""
    theirs = claim(claims, rules.groups_claim) if rules.groups_claim else ()
    if isinstance(theirs, str):
        theirs = theirs.split()
    named = [group for group in theirs if isinstance(group, str)] if isinstance(theirs, list) else []
    return identity(claim(claims, rules.name_claim), named, rules.groups)


def claim(claims: Mapping[str, Any], path: str) -> object:
    """The claim of that very name, which may hold dots, or else the one the dotted path leads to; None without."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found
