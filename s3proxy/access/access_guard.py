"""The guard that goes by an access file. Apart from `guard`, since an open service need not load what it takes."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable

from s3proxy.access import api_key, credentials, password, proxy
from s3proxy.access.credentials import ApiKey, Caller, Credential, Password, Refused, Token
from s3proxy.access.guard import BASIC, BEARER
from s3proxy.access.identity import Identity
from s3proxy.access.key_set import Fetch, fetch
from s3proxy.access.oidc import Issuers, TokenVerifier
from s3proxy.access.password import PasswordVerifier
from s3proxy.access.policy import Principal, Via
from s3proxy.access.snapshot import Policy
from s3proxy.access.throttle import Throttle
from s3proxy.errors import Unauthorized

logger = logging.getLogger(__name__)

KNOWN = 4_096
"""Principals whose rights are kept at hand, for as long as the policy is in force."""


class AccessGuard:
    """Lets in whom the access file knows or whom it trusts somebody to vouch for. Made for one event loop.

    Holds what was verified a short while ago (`PasswordVerifier`, `TokenVerifier`), the issuers' keys, and a number for
    each address that failed (`Throttle`): together some megabytes at the most, and no credential.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        fetch: Fetch = fetch,
        throttle: Throttle | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._throttle = throttle or Throttle(clock=clock)
        self._passwords = PasswordVerifier(clock=clock)
        self._issuers = Issuers(fetch=fetch, clock=clock)
        self.policy = policy

    @property
    def policy(self) -> Policy:
        """The policy in force. Setting it forgets the tokens that were verified under the one before."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._resolved = functools.lru_cache(maxsize=KNOWN)(policy.resolve)
        self._tokens = TokenVerifier(policy.issuers, self._issuers, self._clock)
        some_hash = next(iter(policy.passwords.values()), None)
        self._decoy = some_hash and password.decoy(some_hash)

    @property
    def challenge(self) -> str:
        """Basic first where there are keys or passwords, for browsers that look no further; Bearer always."""
        return f"{BASIC}, {BEARER}" if self._policy.keys or self._policy.passwords else BEARER

    async def identify(self, caller: Caller) -> Principal:
        """See `Guard.identify`. Keys and tokens, which nobody can guess, are verified even for a throttled address."""
        try:
            principal = await self._identify(caller)
        except Refused as refusal:
            self._throttle.fail(caller.address)
            fields = {"reason": str(refusal), "address": caller.address}
            logger.info("credential refused", extra={"fields": fields})
            raise Unauthorized from refusal
        if principal is None:
            # Browsers and curl ask first without any; that is no failure.
            raise Unauthorized from Refused("no credential")
        return principal

    async def close(self) -> None:
        """Begin no further verification or fetch."""
        self._passwords.close()
        self._issuers.close()

    async def _identify(self, caller: Caller) -> Principal | None:
        policy = self._policy
        trusted = policy.proxy is not None and policy.proxy.trusts(caller.peer)
        credential = credentials.read(caller, foreign=trusted)
        if credential is not None:
            return await self._verify(credential, caller.address)
        vouched = policy.proxy and proxy.identify(caller, policy.proxy)
        return self._vouched(vouched, Via.PROXY) if vouched else None

    async def _verify(self, credential: Credential, address: str) -> Principal:
        match credential:
            case ApiKey():
                return self._key(credential)
            case Password():
                self._throttle.check(address)
                return await self._password(credential)
            case Token():
                return self._vouched(await self._tokens.identify(credential.text), Via.OIDC)

    def _key(self, credential: ApiKey) -> Principal:
        record = api_key.find(self._policy.keys, credential.text)
        if record is None:
            raise Refused("unknown API key")
        if record.expires is not None and record.expires <= self._wall_clock():
            raise Refused(f"expired API key of {record.principal}")
        if credential.name not in (None, record.principal):
            raise Refused("API key under another name")
        return self._resolve(record.principal, Via.KEY)

    async def _password(self, credential: Password) -> Principal:
        hashed = self._policy.passwords.get(credential.name)
        tried = hashed or self._decoy
        fits = tried is not None and await self._passwords.fits(tried, credential.text)
        # The file may have changed meanwhile; what counts is what it says now.
        if not fits or hashed is None or self._policy.passwords.get(credential.name) != hashed:
            raise Refused("wrong name or password")
        return self._resolve(credential.name, Via.PASSWORD)

    def _vouched(self, identity: Identity, via: Via) -> Principal:
        return self._resolve(identity.name, via, identity.groups)

    def _resolve(self, name: str, via: Via, groups: tuple[str, ...] = ()) -> Principal:
        principal = self._resolved(name, via, groups)
        if principal is None:
            raise Refused(f"{via} may not show this name")
        return principal
